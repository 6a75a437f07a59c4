"""Evaluates the rules on pending incidents: each incident once, in the order in which they opened.

The incident is committed before any rule is evaluated, so after a crash in between it is pending and unevaluated, and
the next look finds it. A rule decides by the same conditional update as a person. The same transaction counts the use
of the rule, by an update that fails where the rule has changed, is used up or is suspended. So races between workers,
with a person, and with a change of the rule are harmless.

Each decision is its own transaction and call. The caller leaves the database free in between, so a storm of incidents
delays neither the intake nor a person's decision.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from errorkernel.bypasses import decision_queries
from errorkernel.domain import rule_policy
from errorkernel.domain.incident_state import State
from errorkernel.domain.rule_policy import STORM_WINDOW_S, IncidentFacts, RuleAction, RuleMatch
from errorkernel.domain.values import EventType
from errorkernel.models import AuditEntry, Counter, Decision, ErrorEvent, ErrorState, Incident, ProcessAction, Rule
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes

AT_ONCE = 50
"""Incidents that are read and evaluated together."""


@dataclass(slots=True)
class Look:
    """The matches of the next incidents, to be applied by ``step``, one after the other."""

    revision: int = 0
    unmatched: list[UUID] = field(default_factory=list)
    """Incidents that no rule matches, or that a suspended rule matches."""
    matched: deque[tuple[RuleMatch, Incident]] = field(default_factory=deque)
    without_rules: bool = False
    two_above: int = 0
    """Killing or stopping more than this at once needs an approval (0: never), so rules do not do it."""

    def __bool__(self) -> bool:
        """Whether there is something to apply."""
        return bool(self.unmatched or self.matched)


@dataclass(slots=True)
class Step:
    """``changed``: the incidents that a rule decided or escalated."""

    changed: list[UUID] = field(default_factory=list)


class RulesChanged(Exception):
    """The rules have changed since they were read: read them again."""


def look(*, now: datetime, two_above: int = 0) -> Look:
    """Evaluate the rules on the next unevaluated incidents. Empty where there are none."""
    if not decision_queries.any_unevaluated():
        return Look()
    revision, active = changes.load()
    found = Look(revision, two_above=two_above)
    unevaluated = Incident.objects.filter(rules_evaluated=False).order_by("seq")
    if not active:
        found.without_rules = True
        found.unmatched += unevaluated.values_list("pk", flat=True)[:AT_ONCE]
        return found
    for incident in unevaluated.select_related("node", "process", "problem")[:AT_ONCE]:
        match = _match(active, incident, now)
        if match is None or match.held:
            found.unmatched.append(incident.pk)
        else:
            found.matched.append((match, incident))
    return found


def step(found: Look, *, now: datetime) -> Step:
    """Apply the next match of ``found`` in one transaction; discard all of them where the rules have changed."""
    done = Step()
    try:
        if found.unmatched:
            unmatched, found.unmatched = found.unmatched, []
            _leave(unmatched, found.revision)
        elif found.matched:
            _carry_out(*found.matched.popleft(), found, now, done)
    except RulesChanged:
        found.unmatched.clear()
        found.matched.clear()
    return done


def _match(active: list[rule_policy.Rule], incident: Incident, now: datetime) -> RuleMatch | None:
    """The match; None without one, or where the incident is no longer pending."""
    return rule_policy.decide(active, facts_of(incident), now) if incident.state == State.OPEN.value else None


def facts_of(found: Incident | ErrorEvent) -> IncidentFacts:
    """The fields that rules use, of an incident or of the error of a node that opens none.

    Needs ``select_related("node", "process", "problem")``. ``consecutive`` of an error is that of its error state now.
    """
    if isinstance(found, Incident):
        consecutive, received_at, kind = found.consecutive, found.opened_at, EventType.ACTION.value
    else:
        state = ErrorState.objects.filter(process=found.process_id, problem=found.problem_id).first()
        consecutive, received_at, kind = state.consecutive if state else 0, found.received_at, found.type
    return IncidentFacts(
        id=found.pk if isinstance(found, Incident) else found.id,
        seq=found.seq,
        node=found.node.name,
        process=found.process.name if isinstance(found, Incident) else found.reported_process,
        kind=found.kind,
        text=found.text,
        level=found.level,
        message=found.message,
        problem=found.problem_id,
        whole=found.problem.merged_into_id or found.problem_id,
        fingerprint=found.problem.fingerprint,
        repeat=found.repeat,
        consecutive=consecutive,
        received_at=received_at,
        type=kind,
        release=found.release or "",
    )


def hold_rules(revision: int) -> None:
    """Lock all rules until the end of the transaction. Raises RulesChanged where their revision is another."""
    if counters.lock(Counter.RULES) != revision:
        raise RulesChanged


def _leave(incident_ids: list[UUID], revision: int) -> None:
    """Mark incidents as evaluated that stay pending for a person."""
    with transaction.atomic():
        hold_rules(revision)
        counters.hold(Counter.CHANGES)
        Incident.objects.filter(pk__in=incident_ids).update(rules_evaluated=True)


def _carry_out(match: RuleMatch, incident: Incident, found: Look, now: datetime, done: Step) -> None:
    """Apply one match. Raises RulesChanged, without a change, where the rules have changed."""
    suspended = False
    with transaction.atomic():
        hold_rules(found.revision)
        counters.hold(Counter.CHANGES)
        if not Incident.objects.filter(pk=incident.pk, state=State.OPEN.value, rules_evaluated=False).update(
            rules_evaluated=True
        ):
            return  # a person was faster, its worker is gone, or another kernel has evaluated it
        row = Rule.objects.get(pk=match.rule.id)
        if trouble := _trouble(row, incident, now, found.two_above):
            changes.suspend(row.pk, trouble, actor=Actor.system(now))
            why = f"The rule was suspended. {trouble}"
            decisions.escalate(incident.pk, actor=rule_actor(row, now), reason=why, rule=row)
            done.changed.append(incident.pk)
            suspended = True
        else:
            _apply(row, match, incident, now, done)
    if suspended:
        raise RulesChanged


def _apply(row: Rule, match: RuleMatch, incident: Incident, now: datetime, done: Step) -> None:
    action = match.rule.action
    if action.decision is None and _has_acted(row, incident):
        return
    if not count_use(match, now):
        raise RulesChanged  # used up or expired since it was read
    if action.decision is not None:
        decisions.decide(incident.pk, action.decision, actor=rule_actor(row, now), reason=row.reason, rule=row)
    elif action is RuleAction.ESCALATE:
        decisions.escalate(incident.pk, actor=rule_actor(row, now), reason=row.reason, rule=row)
    else:
        target, before, after = (
            f"incident:{incident.pk}",
            {"rules_evaluated": False},
            {"rules_evaluated": True, "rule": str(row)},
        )
        audit.record(audit.entry(rule_actor(row, now), "ask", target, reason=row.reason, before=before, after=after))
    done.changed.append(incident.pk)


def count_use(match: RuleMatch, now: datetime) -> bool:
    """Count a use of the rule as it was read; False where it has changed, is used up or has expired."""
    rule = Rule.objects.filter(pk=match.rule.id, revision=match.rule.revision, enabled=True, suspended_at=None)
    left = rule.filter(Q(max_uses=None) | Q(uses__lt=F("max_uses")), Q(expires_at=None) | Q(expires_at__gt=now))
    return bool(left.update(uses=F("uses") + 1, last_used_at=now))


def _has_acted(row: Rule, incident: Incident) -> bool:
    """Whether the rule left this incident to a person or escalated it before: a repeated evaluation must not count
    twice."""
    return AuditEntry.objects.filter(target=f"incident:{incident.pk}", actor=f"rule:{row.pk}").exists()


def _trouble(row: Rule, incident: Incident, now: datetime, two_above: int) -> str | None:
    """Why the rule must be suspended instead of deciding this incident; the decisions of its present revision count."""
    if RuleAction(row.action).decision is None:
        return None
    return storm(row, now, two_above) or rule_policy.loop(_in_a_row(row, incident), row.loop_limit)


def storm(row: Rule, now: datetime, two_above: int) -> str | None:
    """Why the rule must not make another decision or Steward/ctrl action now; or None."""
    stormy = rule_policy.storm(given_lately(row, now), row.storm_limit)
    if stormy or not RuleAction(row.action).ends:
        return stormy
    return rule_policy.too_many(_ended_lately(now), two_above)


def _ended_lately(now: datetime) -> int:
    """How many processes all rules, in any revision, have killed or stopped within the storm window."""
    since = now - timedelta(seconds=STORM_WINDOW_S)
    ends = [action.value for action in RuleAction if action.ends]
    made = Decision.objects.filter(rule__isnull=False, action__in=ends, decided_at__gt=since)
    return made.count() + ProcessAction.objects.filter(rule__isnull=False, created_at__gt=since).count()


def given_lately(row: Rule, now: datetime) -> int:
    """How often the present revision has decided, or acted on a Steward/ctrl node, within the storm window."""
    since = now - timedelta(seconds=STORM_WINDOW_S)
    made = Decision.objects.filter(rule=row, rule_revision=row.revision, decided_at__gt=since)
    actions = ProcessAction.objects.filter(rule=row, rule_revision=row.revision, created_at__gt=since)
    return made.count() + actions.count()


def _in_a_row(row: Rule, incident: Incident) -> int:
    """How many of the process's latest decisions in a row came from the rule, for the message that it fails on now."""
    if incident.consecutive <= row.loop_limit:
        return 0  # it has not failed on this message often enough for such a row of decisions
    before = Incident.objects.filter(process=incident.process_id, seq__lt=incident.seq).order_by("-seq")
    count = 0
    for earlier in before.select_related("decision")[: row.loop_limit]:
        decision: Decision | None = getattr(earlier, "decision", None)
        same = decision and decision.rule_id == row.pk and decision.rule_revision == row.revision
        if not same or earlier.problem_id != incident.problem_id or earlier.message != incident.message:
            break
        count += 1
    return count


def rule_actor(row: Rule, at: datetime) -> Actor:
    """The rule as the actor of what it does."""
    return Actor(f"rule:{row.pk}", at)
