"""The one place where an incident changes its state.

Every change is a guarded update: ``… WHERE id = … AND state = <what the transition table allows>``. Zero rows mean
that another actor was first. The audit row of the change, and the outbox row of a decision, are written in the same
transaction (``counters.changing``).
"""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet

from errorkernel.bypasses import decision_queries
from errorkernel.bypasses.decision_queries import Standing
from errorkernel.domain import incident_state, values
from errorkernel.domain.ids import uuid7
from errorkernel.domain.incident_state import State, Step
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.values import Action, OnDeadline, OutcomeState
from errorkernel.models import AuditEntry, Counter, Decision, Incident, Rule
from errorkernel.protocol import json_codec, subjects
from errorkernel.store import incarnations, kernel_heartbeats, nodes
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.enqueue import enqueue


class AlreadyDecided(Exception):
    """Another actor decided first; ``decision`` is the decision that counts."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"{decision.actor} decided {decision.action} first.")
        self.decision = decision


class NotOpen(Exception):
    """The incident has ended without a decision, because its worker is gone. ``state``: how it ended."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The incident is {state}.")
        self.state = state


class OutcomeResult(Enum):
    CHANGED = "changed"
    APPLIED = "applied"
    """Changed, because the decision was applied."""
    IGNORED = "ignored"
    """Already known, or impossible by the transition table."""
    UNKNOWN = "unknown"
    """No such incident of that node (yet)."""


def decide(
    incident_id: UUID,
    action: Action,
    actor: Actor,
    *,
    reason: str = "",
    request_id: str = "",
    rule: Rule | None = None,
    approved_by: str = "",
) -> Decision:
    """Record the one decision. Persons, rules and deadlines all decide through this function.

    ``rule``: the one that decides. ``approved_by``: ``user:<name>`` of the second person who approved it. The same
    ``request_id`` from the same actor again returns the same decision. Raises AlreadyDecided, NotOpen or
    Incident.DoesNotExist.
    """
    # Before the transaction, because it delays all other writers.
    blocked = decision_queries.blocked_process(incident_id)
    decision = Decision(
        id=uuid7(),
        incident_id=incident_id,
        action=Action(action).value,
        actor=actor.id,
        rule=rule,
        rule_revision=rule.revision if rule else None,
        user_id=actor.user_id,
        approved_by=approved_by,
        reason=reason,
        request_id=request_id,
        decided_at=actor.at,
    )
    payload = json_codec.encode_decision(as_value(decision, blocked.incarnation))
    entry = _entry(decision, f"{blocked.process} on {blocked.node}", actor)
    with counters.changing():
        if _win(incident_id):
            decision.save(force_insert=True)
            enqueue(subjects.decision(blocked.node, incident_id), payload, msg_id=str(decision.pk), now=actor.at)
            audit.record(entry)
            number_change([incident_id])
            return decision
    return _lost(incident_id, actor, request_id)


def _entry(decision: Decision, process: str, actor: Actor) -> AuditEntry:
    after = {"state": State.DECIDED.value, "action": decision.action, "process": process}
    return audit.entry(
        actor,
        "decide",
        f"incident:{decision.incident_id}",
        reason=decision.reason,
        before={"state": State.OPEN.value},
        after=after
        | ({"rule": str(decision.rule)} if decision.rule else {})
        | ({"approved_by": decision.approved_by} if decision.approved_by else {}),
    )


def _win(incident_id: UUID) -> bool:
    """The conditional update that settles every race."""
    return decision_queries.move(incident_id, State.OPEN.value, State.DECIDED.value)


def _lost(incident_id: UUID, actor: Actor, request_id: str) -> Decision:
    incident = Incident.objects.get(pk=incident_id)
    decision = Decision.objects.filter(incident=incident).first()
    if decision is None:
        raise NotOpen(incident.state)
    if request_id and decision.request_id == request_id and decision.actor == actor.id:
        return decision
    raise AlreadyDecided(decision)


def record_outcome(node: str, outcome: values.Outcome, *, now: datetime) -> OutcomeResult:
    """Store the outcome that the node reports. Repeated, reordered or invented outcomes change nothing."""
    # Where the incident was decided or delivered between the read and the update, the outcome may still be valid, and
    # the node would not repeat it. A state never returns, so there are no more tries than states.
    for _ in State:
        found = decision_queries.standing(outcome.incident, node)
        if found is None:
            return OutcomeResult.UNKNOWN
        plausible = incident_state.plausible_outcome(outcome, found.incarnation)
        after = incident_state.after(State(found.state), incident_state.step_of(plausible.state))
        if after is None or _is_of_another_decision(plausible, found.decision):
            break
        if _end(node, plausible, found, after, now=now):
            return OutcomeResult.APPLIED if after is State.APPLIED else OutcomeResult.CHANGED
    return OutcomeResult.IGNORED


def _end(node: str, outcome: values.Outcome, found: Standing, after: State, *, now: datetime) -> bool:
    """Move the incident from the state ``found`` to ``after``; False where its state is another by now."""
    # For an incident that no decision has ended: it exists beside a decision only where that came too late.
    by_itself = outcome.by_itself if after in (State.WITHDRAWN, State.STALE) else None
    details = {"new_incarnation": outcome.new_incarnation} | ({"by_itself": by_itself.value} if by_itself else {})
    with counters.changing():
        if not decision_queries.end(outcome, before=found.state, after=after.value, by_itself=by_itself, now=now):
            return False
        audit.record(
            audit.entry(
                Actor.node(node, now),
                "outcome",
                f"incident:{outcome.incident}",
                reason=outcome.detail,
                before={"state": found.state},
                after={"state": after.value, **details},
            )
        )
        if after is State.APPLIED and found.action:
            incarnations.record_applied(outcome, found.process, found.incarnation, Action(found.action), now=now)
        elif by_itself is not None and outcome.new_incarnation is not None:
            incarnations.record_applied(outcome, found.process, found.incarnation, by_itself, now=now)
        number_change([outcome.incident])
    return True


def _is_of_another_decision(outcome: values.Outcome, decision: UUID | None) -> bool:
    """Whether the outcome belongs to another decision than the stored one, so that it must not be shown for it."""
    if outcome.decision_id is None or outcome.state is OutcomeState.WITHDRAWN:
        return False
    return decision != outcome.decision_id


def mark_delivered(incident_ids: Iterable[UUID], *, now: datetime) -> list[UUID]:
    """Mark the decisions as delivered to their nodes; returns the changed incidents."""
    changed: list[UUID] = []
    with counters.changing():
        for incident_id in incident_ids:
            waiting = Incident.objects.filter(pk=incident_id, state=State.DECIDED.value)
            if waiting.update(state=incident_state.after(State.DECIDED, Step.DELIVER), delivered_at=now):
                changed.append(incident_id)
        audit.record(
            *(
                audit.entry(
                    Actor.system(now),
                    "deliver",
                    f"incident:{incident_id}",
                    before={"state": State.DECIDED.value},
                    after={"state": State.DELIVERED.value},
                )
                for incident_id in changed
            )
        )
        number_change(changed)
    return changed


class DecisionState(NamedTuple):
    """An incident: the name of its node, its state, and its decision where there is one."""

    node: str
    state: State
    decision: values.Decision | None


def decision_states(incident_ids: list[UUID]) -> dict[UUID, DecisionState]:
    """Those of these that are stored, in two statements and without their texts."""
    stored = Incident.objects.filter(pk__in=incident_ids)
    rows = list(stored.values_list("pk", "node__name", "state", "incarnation"))
    decided = {decision.incident_id: decision for decision in Decision.objects.filter(incident_id__in=incident_ids)}
    return {
        incident_id: DecisionState(
            node,
            State(state),
            as_value(decided[incident_id], incarnation) if incident_id in decided else None,
        )
        for incident_id, node, state, incarnation in rows
    }


def decisions_for(node: str, incident_ids: Iterable[UUID]) -> tuple[list[values.Decision], list[UUID]]:
    """For the node's pending incidents: the existing decisions, and the ids that are unknown here."""
    wanted = list(incident_ids)
    # Read without the texts of the incidents, which can be megabytes.
    known = dict(Incident.objects.filter(pk__in=wanted, node__name=node).values_list("pk", "incarnation"))
    decided = Decision.objects.filter(incident_id__in=known.keys())
    decisions = [as_value(decision, known[decision.incident_id]) for decision in decided]
    return decisions, [incident_id for incident_id in wanted if incident_id not in known]


def as_value(decision: Decision, incarnation: int | None) -> values.Decision:
    """The row as it is sent to the node; ``incarnation``: the blocked one."""
    return values.Decision(
        incident=decision.incident_id,
        decision_id=decision.pk,
        action=Action(decision.action),
        by=decision.actor,
        decided_at=decision.decided_at,
        incarnation=incarnation,
        reason=decision.reason,
    )


def past_deadline(*, now: datetime, limit: int, held: bool = False) -> list[Incident]:
    """Pending incidents past their deadline that still need an action, longest overdue first. ``held``: deadlines are
    held, so the action is an escalation.

    An incident that a rule has escalated still gets the decision that is configured for its deadline.
    """
    due = Incident.objects.filter(state=State.OPEN.value, deadline_at__lte=now)
    not_escalated = Q(escalated_at__isnull=True)
    unmet = due.filter(not_escalated if held else not_escalated | ~Q(on_deadline=OnDeadline.ESCALATE.value))
    return list(unmet.order_by("deadline_at")[:limit])


def escalate(incident_id: UUID, actor: Actor, *, reason: str = "", rule: Rule | None = None) -> bool:
    """Mark an incident as escalated; it stays pending. False where it is marked already or no longer pending."""
    with counters.changing():
        marked = Incident.objects.filter(pk=incident_id, state=State.OPEN.value, escalated_at__isnull=True).update(
            escalated_at=actor.at
        )
        if marked:
            after = {"escalated_at": actor.at.isoformat()} | ({"rule": str(rule)} if rule else {})
            target, before = f"incident:{incident_id}", {"escalated_at": None}
            audit.record(audit.entry(actor, "escalate", target, reason=reason, before=before, after=after))
            number_change([incident_id])
    return bool(marked)


def note_missing_nodes(*, now: datetime, limit: int = 500) -> list[UUID]:
    """Mark pending incidents whose node became late or gone, or is back; returns the changed ones.

    While no kernel receives heartbeats, no node becomes late or gone."""
    changed: list[UUID] = []
    waiting = Incident.objects.filter(state=State.OPEN.value)
    missing = {Liveness.LATE, Liveness.GONE}
    for liveness in (
        Liveness
        if kernel_heartbeats.can_miss_nodes(now)
        else [liveness for liveness in Liveness if liveness not in missing]
    ):
        word = liveness.value if liveness in missing else ""
        other = waiting.filter(nodes.nodes_by_liveness(liveness, now, "node__")).exclude(node_missing=word)
        found = list(other.values_list("pk", flat=True)[:limit])
        if found:
            with counters.changing():
                marked = [
                    incident_id for incident_id in found if waiting.filter(pk=incident_id).update(node_missing=word)
                ]
                number_change(marked)
            changed += marked
    return changed


def meet_deadline(incident: Incident, *, now: datetime, held: bool = False) -> None:
    """Decide or escalate as configured for the deadline; while deadlines are ``held``, only escalate. Raises nothing
    where another actor was faster."""
    deadline = Actor("deadline", now)
    if held or incident.on_deadline == OnDeadline.ESCALATE.value:
        escalate(incident.pk, deadline, reason="The deadline passed while deadlines are held." if held else "")
        return
    try:
        decide(incident.pk, Action(incident.on_deadline), actor=Actor("deadline", now), reason="The deadline passed.")
    except (AlreadyDecided, NotOpen):
        pass


def number_change(incident_ids: list[UUID]) -> None:
    """Give these the next change numbers, within the transaction that changed them."""
    if not incident_ids:
        return
    counters.take(Counter.CHANGES, len(incident_ids))
    decision_queries.number_changes(incident_ids)


def changed_since(change: int, *, limit: int = 200) -> list[Incident]:
    """Incidents whose last change has a higher number, oldest change first."""
    return list(with_relations().filter(change__gt=change).order_by("change")[:limit])


def with_relations() -> QuerySet[Incident]:
    """Incidents with everything that their card shows."""
    return Incident.objects.select_related("node", "process", "problem", "decision__rule", "taken_by")


def decided_at(incident_id: UUID) -> datetime:
    """When the incident was decided. Raises Decision.DoesNotExist."""
    return Decision.objects.values_list("decided_at", flat=True).get(incident_id=incident_id)


class DecisionWait(NamedTuple):
    """``waited_s``: seconds that the process was blocked until the decision, as the pages show it."""

    action: str
    actor: str
    waited_s: float


def waits_of(incident_ids: Iterable[UUID]) -> list[DecisionWait]:
    """The decisions of these incidents, each with the time until it was made."""
    found = Decision.objects.filter(incident_id__in=list(incident_ids))
    rows = found.values_list(
        "action", "actor", "decided_at", "incident__raised_at", "incident__opened_at", "incident__node__clock_skew_s"
    )
    return [
        DecisionWait(
            action, actor, (decided_at - incident_state.blocked_since(raised_at, opened_at, skew_s)).total_seconds()
        )
        for action, actor, decided_at, raised_at, opened_at, skew_s in rows
    ]


def waiting_count() -> int:
    return Incident.objects.filter(state=State.OPEN.value).count()


def number_sent(decision_ids: list[UUID], *, now: datetime) -> list[UUID]:
    """Mark these decisions as sent to the broker; returns their incidents. Called by the outbox inside its
    transaction."""
    sent = Decision.objects.filter(pk__in=decision_ids, sent_at__isnull=True)
    if incident_ids := list(sent.values_list("incident_id", flat=True)):
        sent.update(sent_at=now)
        number_change(incident_ids)
    return incident_ids
