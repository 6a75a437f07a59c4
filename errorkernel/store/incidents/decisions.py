"""The one place where an incident changes its state.

Every change is a guarded update: ``… WHERE id = … AND state = <what the transition table allows>``. Zero rows means
that somebody else was first, who it was and however many processes there are. The change's audit row, and for a
decision its outbox row, are written in the same transaction (``counters.changing``).
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
    """Somebody else answered first; ``decision`` is the answer that stands."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"{decision.actor} answered {decision.action} first.")
        self.decision = decision


class NotOpen(Exception):
    """The incident no longer stands, without an answer: its worker is gone. ``state`` says how it ended."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The question is {state}.")
        self.state = state


class OutcomeResult(Enum):
    CHANGED = "changed"
    APPLIED = "applied"
    """The same: the decision has been obeyed."""
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
) -> Decision:
    """Record the one decision. Persons, rules and deadlines all decide through this function.

    ``rule``: the one that decides. The same ``request_id`` from the same actor again returns the same decision.
    Raises AlreadyDecided, NotOpen or Incident.DoesNotExist.
    """
    # Before the transaction, which holds up all others that write.
    blocked = decision_queries.blocked_process(incident_id)
    decision = Decision(
        id=uuid7(),
        incident_id=incident_id,
        action=Action(action).value,
        actor=actor.id,
        rule=rule,
        rule_revision=rule.revision if rule else None,
        user_id=actor.user_id,
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
        after=after | ({"rule": str(decision.rule)} if decision.rule else {}),
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
    """Take in what the node says it did. Redelivered, reordered or invented reports change nothing."""
    # Where it was answered or delivered between the look and the update, the outcome may still be right, and nobody
    # would send it again. A state never comes back, so there are no more tries than states.
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
    """Take the incident from how it was ``found`` to ``after``; False where it stands otherwise by now."""
    # Of an incident that nobody's decision has ended: it stands beside a decision only where that came too late.
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
            incarnations.obeyed(outcome, found.process, found.incarnation, Action(found.action), now=now)
        elif by_itself is not None and outcome.new_incarnation is not None:
            incarnations.obeyed(outcome, found.process, found.incarnation, by_itself, now=now)
        number_change([outcome.incident])
    return True


def _is_of_another_decision(outcome: values.Outcome, decision: UUID | None) -> bool:
    """An outcome of some other decision than the one that stands must not be shown as this one's."""
    if outcome.decision_id is None or outcome.state is OutcomeState.WITHDRAWN:
        return False
    return decision != outcome.decision_id


def mark_delivered(incident_ids: Iterable[UUID], *, now: datetime) -> list[UUID]:
    """The nodes have taken these decisions over; returns the incidents that this changed."""
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


def decision_for(node: str, incident_id: UUID) -> values.Decision | None:
    """The decision on the node's incident, if there is one yet. Raises Incident.DoesNotExist."""
    incident = Incident.objects.select_related("decision").get(pk=incident_id, node__name=node)
    decision: Decision | None = getattr(incident, "decision", None)
    return as_value(decision, incident.incarnation) if decision else None


def decisions_for(node: str, incident_ids: Iterable[UUID]) -> tuple[list[values.Decision], list[UUID]]:
    """For the node's open incidents: the decisions that exist, and the ids that are not known here at all."""
    wanted = list(incident_ids)
    # Read without the incidents themselves: of many, their texts are megabytes.
    known = dict(Incident.objects.filter(pk__in=wanted, node__name=node).values_list("pk", "incarnation"))
    decided = Decision.objects.filter(incident_id__in=known.keys())
    decisions = [as_value(decision, known[decision.incident_id]) for decision in decided]
    return decisions, [incident_id for incident_id in wanted if incident_id not in known]


def as_value(decision: Decision, incarnation: int | None) -> values.Decision:
    """The row as it goes over the wire; ``incarnation``: the one that asked."""
    return values.Decision(
        incident=decision.incident_id,
        decision_id=decision.pk,
        action=Action(decision.action),
        by=decision.actor,
        decided_at=decision.decided_at,
        incarnation=incarnation,
        reason=decision.reason,
    )


def past_deadline(*, now: datetime, limit: int) -> list[Incident]:
    """Open incidents whose deadline has passed and has yet to be met, longest overdue first.

    One that is escalated already, by a rule, still gets the answer that was configured for its deadline.
    """
    due = Incident.objects.filter(state=State.OPEN.value, deadline_at__lte=now)
    unmet = due.filter(Q(escalated_at__isnull=True) | ~Q(on_deadline=OnDeadline.ESCALATE.value))
    return list(unmet.order_by("deadline_at")[:limit])


def escalate(incident_id: UUID, actor: Actor, *, reason: str = "", rule: Rule | None = None) -> bool:
    """Mark an incident: it keeps waiting, and says so. False where it is marked already or no longer open."""
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
    """Mark open incidents whose node has become late or gone, or is back; returns those that this changed.

    While nobody could have heard a node, none becomes late or gone."""
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


def meet_deadline(incident: Incident, *, now: datetime) -> None:
    """Do what was configured for the deadline: answer, or escalate. Raises nothing where somebody was quicker."""
    deadline = Actor("deadline", now)
    if incident.on_deadline == OnDeadline.ESCALATE.value:
        escalate(incident.pk, deadline)
        return
    try:
        decide(incident.pk, Action(incident.on_deadline), actor=Actor("deadline", now), reason="The deadline passed.")
    except (AlreadyDecided, NotOpen):
        pass


def number_change(incident_ids: list[UUID]) -> None:
    """Give these the next numbers of change, within the transaction that changed them."""
    if not incident_ids:
        return
    counters.take(Counter.CHANGES, len(incident_ids))
    decision_queries.number_changes(incident_ids)


def changed_since(change: int, *, limit: int = 200) -> list[Incident]:
    """Incidents whose last change has a higher number, oldest change first."""
    return list(with_relations().filter(change__gt=change).order_by("change")[:limit])


def with_relations() -> QuerySet[Incident]:
    """Incidents with everything that their card shows."""
    return Incident.objects.select_related("node", "process", "problem", "decision__rule")


def decided_at(incident_id: UUID) -> datetime:
    """When the incident was answered. Raises Decision.DoesNotExist."""
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
    """The broker has these decisions; returns their incidents. Called by the outbox inside its transaction."""
    sent = Decision.objects.filter(pk__in=decision_ids, sent_at__isnull=True)
    if incident_ids := list(sent.values_list("incident_id", flat=True)):
        sent.update(sent_at=now)
        number_change(incident_ids)
    return incident_ids
