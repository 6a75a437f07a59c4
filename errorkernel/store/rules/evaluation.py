"""Asking the rules about open incidents. Each incident is asked about once, in the order in which they opened.

The incident is stored and committed before any rule sees it, so a crash in between leaves it open and unjudged, and the
next look finds it. A rule's answer is the same conditional update as a person's, and in its transaction the rule's use
is counted by an update that fails where the rule has changed, is used up or is suspended: so two workers that race,
a person who is quicker, and a rule that is just being switched off are all harmless.

Each answer is a transaction and a call of its own: who calls lets others at the database in between, so a storm of
incidents keeps neither the intake nor a person's answer waiting.
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
from errorkernel.models import AuditEntry, Counter, Decision, Incident, ProcessAction, Rule
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes

AT_ONCE = 50
"""Incidents that are read and asked about together."""


@dataclass(slots=True)
class Look:
    """What the rules say to the next incidents, read together: to be carried out by ``step``, one after the other."""

    revision: int = 0
    silent: list[UUID] = field(default_factory=list)
    """No rule speaks to these, or a suspended one holds them."""
    speaking: deque[tuple[RuleMatch, Incident]] = field(default_factory=deque)
    without_rules: bool = False
    two_above: int = 0
    """To kill or stop more than this at once takes a second person (0: never), so rules do not."""

    def __bool__(self) -> bool:
        """There is something to carry out."""
        return bool(self.silent or self.speaking)


@dataclass(slots=True)
class Step:
    """``changed``: the incidents that a rule answered or escalated."""

    changed: list[UUID] = field(default_factory=list)


class RulesChanged(Exception):
    """The rules are no longer those that were judged by: read them again."""


def look(*, now: datetime, two_above: int = 0) -> Look:
    """Ask the rules about the next unjudged incidents. Empty where there are none."""
    if not decision_queries.any_unjudged():
        return Look()
    revision, active = changes.load()
    found = Look(revision, two_above=two_above)
    unjudged = Incident.objects.filter(rules_evaluated=False).order_by("seq")
    if not active:
        found.without_rules = True
        found.silent += unjudged.values_list("pk", flat=True)[:AT_ONCE]
        return found
    for incident in unjudged.select_related("node", "process", "problem")[:AT_ONCE]:
        verdict = _verdict(active, incident, now)
        if verdict is None or verdict.held:
            found.silent.append(incident.pk)
        else:
            found.speaking.append((verdict, incident))
    return found


def step(found: Look, *, now: datetime) -> Step:
    """One transaction of what ``found`` says; it forgets what is done, and everything where the rules have changed."""
    done = Step()
    try:
        if found.silent:
            silent, found.silent = found.silent, []
            _leave(silent, found.revision)
        elif found.speaking:
            _carry_out(*found.speaking.popleft(), found, now, done)
    except RulesChanged:
        found.silent.clear()
        found.speaking.clear()
    return done


def _verdict(active: list[rule_policy.Rule], incident: Incident, now: datetime) -> RuleMatch | None:
    """None also where nobody asks any more: a person was quicker than the first look."""
    return rule_policy.decide(active, facts_of(incident), now) if incident.state == State.OPEN.value else None


def facts_of(incident: Incident) -> IncidentFacts:
    """An incident as rules see it. Needs ``select_related("node", "process", "problem")``."""
    return IncidentFacts(
        id=incident.pk,
        seq=incident.seq,
        node=incident.node.name,
        process=incident.process.name,
        kind=incident.kind,
        text=incident.text,
        level=incident.level,
        message=incident.message,
        problem=incident.problem_id,
        whole=incident.problem.merged_into_id or incident.problem_id,
        fingerprint=incident.problem.fingerprint,
        repeat=incident.repeat,
        consecutive=incident.consecutive,
        received_at=incident.opened_at,
    )


def hold_rules(revision: int) -> None:
    """Until the end of the transaction nobody changes a rule. Raises RulesChanged where somebody has."""
    if counters.lock(Counter.RULES) != revision:
        raise RulesChanged


def _leave(incident_ids: list[UUID], revision: int) -> None:
    """No rule speaks to these, or a suspended one holds them: a person answers."""
    with transaction.atomic():
        hold_rules(revision)
        counters.hold(Counter.CHANGES)
        Incident.objects.filter(pk__in=incident_ids).update(rules_evaluated=True)


def _carry_out(verdict: RuleMatch, incident: Incident, found: Look, now: datetime, done: Step) -> None:
    """Raises RulesChanged, having changed nothing, where the rule's word is no longer what it was."""
    suspended = False
    with transaction.atomic():
        hold_rules(found.revision)
        counters.hold(Counter.CHANGES)
        if not Incident.objects.filter(pk=incident.pk, state=State.OPEN.value, rules_evaluated=False).update(
            rules_evaluated=True
        ):
            return  # a person was quicker, its worker is gone, or another kernel has judged it
        row = Rule.objects.get(pk=verdict.rule.id)
        if trouble := _trouble(row, incident, now, found.two_above):
            changes.suspend(row.pk, trouble, actor=Actor.system(now))
            why = f"The rule was suspended. {trouble}"
            decisions.escalate(incident.pk, actor=rule_actor(row, now), reason=why, rule=row)
            done.changed.append(incident.pk)
            suspended = True
        else:
            _apply_verdict(row, verdict, incident, now, done)
    if suspended:
        raise RulesChanged


def _apply_verdict(row: Rule, verdict: RuleMatch, incident: Incident, now: datetime, done: Step) -> None:
    action = verdict.rule.action
    if action.decision is None and _has_spoken(row, incident):
        return
    if not count_use(verdict, now):
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


def count_use(verdict: RuleMatch, now: datetime) -> bool:
    """One use more of the rule as it was read; False where it has changed, is used up or over."""
    rule = Rule.objects.filter(pk=verdict.rule.id, revision=verdict.rule.revision, enabled=True, suspended_at=None)
    left = rule.filter(Q(max_uses=None) | Q(uses__lt=F("max_uses")), Q(expires_at=None) | Q(expires_at__gt=now))
    return bool(left.update(uses=F("uses") + 1, last_used_at=now))


def _has_spoken(row: Rule, incident: Incident) -> bool:
    """It asked or escalated here before: that the rules are asked anew must not use it twice."""
    return AuditEntry.objects.filter(target=f"incident:{incident.pk}", actor=f"rule:{row.pk}").exists()


def _trouble(row: Rule, incident: Incident, now: datetime, two_above: int) -> str | None:
    """Why the rule must not answer this one but be suspended; the answers of its present revision count."""
    if RuleAction(row.action).decision is None:
        return None
    return storm(row, now, two_above) or rule_policy.loop(_in_a_row(row, incident), row.loop_limit)


def storm(row: Rule, now: datetime, two_above: int) -> str | None:
    """Why the rule must not give one more answer so soon, nor act on a node of Steward's; or None."""
    stormy = rule_policy.storm(given_lately(row, now), row.storm_limit)
    if stormy or not RuleAction(row.action).ends:
        return stormy
    return rule_policy.too_many(_ended_lately(now), two_above)


def _ended_lately(now: datetime) -> int:
    """How many processes all rules, in whatever revision, have killed or stopped in the time that a storm takes."""
    since = now - timedelta(seconds=STORM_WINDOW_S)
    ends = [action.value for action in RuleAction if action.ends]
    made = Decision.objects.filter(rule__isnull=False, action__in=ends, decided_at__gt=since)
    return made.count() + ProcessAction.objects.filter(rule__isnull=False, created_at__gt=since).count()


def given_lately(row: Rule, now: datetime) -> int:
    """How often the present revision has answered, or acted on a node of Steward's, in the time that a storm takes."""
    since = now - timedelta(seconds=STORM_WINDOW_S)
    made = Decision.objects.filter(rule=row, rule_revision=row.revision, decided_at__gt=since)
    actions = ProcessAction.objects.filter(rule=row, rule_revision=row.revision, created_at__gt=since)
    return made.count() + actions.count()


def _in_a_row(row: Rule, incident: Incident) -> int:
    """How often the rule was the last to answer this process, always on the message that it fails on now."""
    if incident.consecutive <= row.loop_limit:
        return 0  # it has not failed on this message often enough for the answers to be in a row
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
