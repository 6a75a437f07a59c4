"""What must hold of the answers that rules gave, as pure functions of the evidence."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from errorkernel.ops.chaos.evidence import Answer, Evidence, Rule
from errorkernel.ops.chaos.ledger import Entry

STORM_WINDOW = timedelta(seconds=50)
"""The product's is 60 s: by the time at which it looked, which a pause may lie behind."""


def not_its_own(answer: Answer, rule: Rule | None, journaled: Entry | None) -> str:
    """What is wrong with a rule's answer to a question; empty where nothing is."""
    if rule is None:
        return f"answered {answer.action} by {answer.by}, which is no rule"
    if rule.action != answer.action:
        return f"answered {answer.action} by {answer.by}, which says {rule.action}"
    if journaled is not None and journaled["method"] != rule.method:
        return f"answered by {answer.by}, which speaks to {rule.method}, not to {journaled['method']}"
    return ""


def rules_keep_within_bounds(evidence: Evidence) -> list[str]:
    """14. A rule answers as often as it may, and each of its answers is counted."""
    broken = []
    decisions: Counter[str] = Counter()
    times: dict[tuple[str, int | None], list[datetime]] = defaultdict(list)
    for incident in evidence.incidents.values():
        if incident.answer and incident.answer.by.startswith("rule:"):
            decisions[incident.answer.by] += 1
            times[incident.answer.by, incident.answer.rule_revision].append(incident.answer.decided_at)
    for rule in evidence.rules.values():
        name = f"rule:{rule.id}"
        if rule.action != "escalate" and rule.uses != decisions[name]:
            broken.append(f"{name} gave {decisions[name]} answers; {rule.uses} were counted")
        if rule.max_uses is not None and decisions[name] > rule.max_uses:
            broken.append(f"{name} gave {decisions[name]} answers; {rule.max_uses} are allowed")
        for (by, revision), moments in times.items():
            in_order = sorted(moments)
            pairs = zip(in_order, in_order[rule.storm_limit :], strict=False) if by == name else ()
            if any(last - first < STORM_WINDOW for first, last in pairs):
                broken.append(f"{name} revision {revision} gave over {rule.storm_limit} answers in a minute")
    return broken
