"""The failed message, back to the operator: given to its process once more, or dropped.

The message in progress stays on its incident. Once the question has ended, whatever its end was, it can be sent to the
node again; the node takes each such command once. Every step is one transaction with its audit row.
"""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from errorkernel.core import values
from errorkernel.core.ids import uuid7
from errorkernel.core.incident import ENDED
from errorkernel.core.sentences import Sentence as _
from errorkernel.core.values import Message, OutcomeState
from errorkernel.models import DeadLetter, Incident, Requeue
from errorkernel.store import audit, incidents
from errorkernel.store.incidents import OutcomeResult
from errorkernel.store.owed import owe
from errorkernel.store.still import process_of_message
from errorkernel.wire import commands, subjects

REPEAT_AFTER = timedelta(seconds=10)
"""A command that a node has not acknowledged for so long is offered to it by sync as well."""
_CUT = re.compile(r" … \[\d+ bytes cut\]\Z")
_UNDER_WAY = _("The message is on its way to the process already.")
State = Requeue.State


class Wish(StrEnum):
    """What an operator can want of a failed message."""

    REQUEUE = "requeue"
    DROP = "drop"


class CannotRequeue(Exception):
    """The message cannot be sent again or dropped now; the message is one sentence for whoever asked."""


def dispose(
    incident_id: UUID,
    wish: Wish,
    *,
    by: str,
    now: datetime,
    user: AbstractBaseUser | None = None,
    reason: str = "",
    request_id: str = "",
    origin: str = "",
) -> Requeue:
    """Send the incident's message to its process again, or drop it.

    The same ``request_id`` by the same person again returns what it made, unless something else was wanted then.
    Raises CannotRequeue, Incident.DoesNotExist.
    """
    try:
        with transaction.atomic():
            incident = incidents.with_relations().get(pk=incident_id)
            if request_id and (known := incident.requeues.filter(request_id=request_id, by=by).first()):
                if (known.state == State.DROPPED) is not (wish is Wish.DROP):
                    raise CannotRequeue(_("This request_id has done something else with the message."))
                return known
            _check(incident, wish)
            last = incident.requeues.order_by("-created_at").values_list("state", flat=True).first()
            row = _begin(incident, wish, by=by, reason=reason, request_id=request_id, now=now)
            after = {"message": row.state, "command": str(row.pk)}
            target = f"incident:{incident.pk}"
            audit.record(
                audit.entry(
                    by, wish, target, now=now, reason=reason, before={"message": last}, after=after, user=user,
                    origin=origin,
                )
            )  # fmt: skip
            incidents.number_change([incident.pk])
    except IntegrityError:
        raise CannotRequeue(_UNDER_WAY) from None
    return row


def _begin(incident: Incident, wish: Wish, *, by: str, reason: str, request_id: str, now: datetime) -> Requeue:
    """The row, what is owed to the node for it, and the word on the dead letter that the message may have become."""
    sends = wish is Wish.REQUEUE
    row = Requeue.objects.create(
        id=uuid7(),
        incident=incident,
        state=State.SENT if sends else State.DROPPED,
        by=by,
        reason=reason,
        request_id=request_id,
        created_at=now,
        ended_at=None if sends else now,
    )
    if sends:
        _owe(row, incident, now)
    letter = DeadLetter.State.SENT if sends else DeadLetter.State.DROPPED
    DeadLetter.objects.filter(incident=incident, state=DeadLetter.State.KEPT).update(state=letter)
    return row


def _check(incident: Incident, wish: Wish) -> None:
    """Raises CannotRequeue."""
    if not incident.message:
        raise CannotRequeue(_("The process did not say what it was working on."))
    if incident.state not in ENDED:
        raise CannotRequeue(_("Its process still has the message: answer the question first."))
    last = incident.requeues.order_by("-created_at").first()
    if last and last.state == State.DROPPED:
        raise CannotRequeue(_("The message was dropped."))
    if last and last.state in Requeue.UNDER_WAY:
        raise CannotRequeue(_UNDER_WAY)
    if wish is Wish.REQUEUE and not subjects.is_node_name(incident.node.name):
        raise CannotRequeue(_("This node takes no commands of ours."))
    if wish is Wish.REQUEUE and _CUT.search(incident.message.get("data", "")):
        raise CannotRequeue(_("Only a part of the message is known here: it was cut when it was reported."))


def _owe(row: Requeue, incident: Incident, now: datetime) -> None:
    subject = subjects.command(incident.node.name, row.pk)
    owe(subject, commands.encode(as_value(row, incident)), msg_id=str(row.pk), now=now)


def as_value(row: Requeue, incident: Incident) -> values.Requeue:
    """The row as it goes over the wire."""
    return values.Requeue(
        id=row.pk,
        process=process_of_message(incident),
        message=Message(**(incident.message or {})),
        by=row.by,
        at=row.created_at,
        incident=incident.pk,
        reason=row.reason,
    )


def mark_sent(command_ids: list[UUID], *, now: datetime) -> list[UUID]:
    """The broker has these; returns their incidents. Called by the outbox inside its transaction."""
    sent = Requeue.objects.filter(pk__in=command_ids, sent_at__isnull=True)
    if incident_ids := list(sent.values_list("incident_id", flat=True)):
        sent.update(sent_at=now)
        incidents.number_change(incident_ids)
    return incident_ids


def mark_received(command_id: UUID, *, now: datetime) -> list[UUID]:
    """The node has it in its journal; returns the incident, if that was news."""
    with transaction.atomic():
        if not Requeue.objects.filter(pk=command_id, state=State.SENT).update(state=State.RECEIVED, received_at=now):
            return []
        [incident_id] = Requeue.objects.filter(pk=command_id).values_list("incident_id", flat=True)
        _audit("system", "deliver message", incident_id, State.SENT, State.RECEIVED, now)
        incidents.number_change([incident_id])
    return [incident_id]


def record_outcome(node: str, outcome: values.Outcome, *, now: datetime) -> tuple[OutcomeResult, UUID | None]:
    """Take in what became of a command, and its incident where that was news. Repeated reports change nothing."""
    row = Requeue.objects.filter(pk=outcome.incident, incident__node__name=node).first()
    if row is None:
        return OutcomeResult.UNKNOWN, None
    # In the order in which it goes through them: one that is received just now is met in the one or the other.
    for before in Requeue.UNDER_WAY:
        if _end(node, row, outcome, before, now=now):
            return OutcomeResult.CHANGED, row.incident_id
    return OutcomeResult.IGNORED, None


def _end(node: str, row: Requeue, outcome: values.Outcome, before: Requeue.State, *, now: datetime) -> bool:
    """False where the command is in another state than ``before``."""
    after = State.APPLIED if outcome.state is OutcomeState.APPLIED else State.FAILED
    with transaction.atomic():
        standing = Requeue.objects.filter(pk=row.pk, state=before)
        if not standing.update(state=after, ended_at=now, detail=outcome.detail):
            return False
        _audit(f"node:{node}", "take message", row.incident_id, before, after, now, outcome.detail)
        incidents.number_change([row.incident_id])
    return True


def is_of(node: str, command_id: UUID) -> bool:
    """Whether there is such a command for the node."""
    return Requeue.objects.filter(pk=command_id, incident__node__name=node).exclude(state=State.DROPPED).exists()


def under_way(node: str, *, limit: int = 100) -> list[values.Requeue]:
    """Commands of the node that have not ended, oldest first."""
    return _as_values(_under_way(node), limit)


def to_offer(node: str, *, now: datetime, limit: int = 100) -> list[UUID]:
    """Commands of the node that may have got lost, for the sync's reply: in another order each time, since not all may
    fit into it, and those that did before are not to stand before the others for ever."""
    old = _under_way(node).filter(created_at__lte=now - REPEAT_AFTER)
    return list(old.order_by("?").values_list("pk", flat=True)[:limit])


def read(command_ids: Collection[UUID]) -> list[values.Requeue]:
    """These, oldest first; without those that have ended meanwhile."""
    return _as_values(Requeue.objects.filter(pk__in=command_ids, state__in=Requeue.UNDER_WAY), len(command_ids))


def _under_way(node: str) -> QuerySet[Requeue]:
    return Requeue.objects.filter(incident__node__name=node, state__in=Requeue.UNDER_WAY)


def _as_values(rows: QuerySet[Requeue], limit: int) -> list[values.Requeue]:
    found = rows.select_related("incident__process", "incident__node").order_by("created_at")[:limit]
    return [as_value(row, row.incident) for row in found]


def _audit(
    actor: str,
    verb: str,
    incident_id: UUID,
    before: Requeue.State,
    after: Requeue.State,
    now: datetime,
    reason: str = "",
) -> None:
    audit.record(
        audit.entry(
            actor,
            verb,
            f"incident:{incident_id}",
            now=now,
            reason=reason,
            before={"message": before.value},
            after={"message": after.value},
        )
    )
