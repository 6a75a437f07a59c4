"""Invariants of decisions by rules, as pure functions of the evidence."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from errorkernel.ops.chaos.evidence import Evidence, RecordedDecision, Rule
from errorkernel.ops.chaos.ledger import Entry

STORM_WINDOW = timedelta(seconds=50)
"""The product's is 60 s, counted from the evaluation, which may be later than the recorded time after a pause."""


def not_its_own(decision: RecordedDecision, rule: Rule | None, journaled: Entry | None) -> str:
    """Violations in a decision by a rule; empty: none."""
    if rule is None:
        return f"decided ({decision.action}) by {decision.by}, which is no rule"
    if rule.action != decision.action:
        return f"decided ({decision.action}) by {decision.by}, whose action is {rule.action}"
    if journaled is not None and journaled["method"] != rule.method:
        return f"decided by {decision.by}, which matches {rule.method}, not {journaled['method']}"
    return ""


def rules_keep_within_bounds(evidence: Evidence) -> list[str]:
    """14. A rule keeps its limits, and each of its decisions is counted."""
    broken = []
    decisions: Counter[str] = Counter()
    times: dict[tuple[str, int | None], list[datetime]] = defaultdict(list)
    for incident in evidence.incidents.values():
        if incident.decision and incident.decision.by.startswith("rule:"):
            decisions[incident.decision.by] += 1
            times[incident.decision.by, incident.decision.rule_revision].append(incident.decision.decided_at)
    for rule in evidence.rules.values():
        name = f"rule:{rule.id}"
        if rule.action != "escalate" and rule.uses != decisions[name]:
            broken.append(f"{name} made {decisions[name]} decisions; {rule.uses} were counted")
        if rule.max_uses is not None and decisions[name] > rule.max_uses:
            broken.append(f"{name} made {decisions[name]} decisions; {rule.max_uses} are allowed")
        for (by, revision), moments in times.items():
            in_order = sorted(moments)
            pairs = zip(in_order, in_order[rule.storm_limit :], strict=False) if by == name else ()
            if any(last - first < STORM_WINDOW for first, last in pairs):
                broken.append(f"{name} revision {revision} made over {rule.storm_limit} decisions in a minute")
    return broken
