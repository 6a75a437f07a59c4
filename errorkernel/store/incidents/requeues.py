"""What an operator does with a failed message: requeue it to its process, drop it, or keep it as a dead letter.

The message in progress is stored with its incident. Once the incident has ended, the message can be sent to the node
again; the node accepts each such command once. A dead letter without an incident is requeued and dropped directly.
Every step is one transaction with its audit row.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Q, QuerySet

from errorkernel.domain import values
from errorkernel.domain.ids import uuid7
from errorkernel.domain.incident_state import ENDED
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.values import Message, OutcomeState
from errorkernel.models import DeadLetter, Incident, Process, Requeue
from errorkernel.protocol import commands, subjects
from errorkernel.store.incidents import dead_letters, decisions
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.incidents.quarantined_processes import process_of_message
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.enqueue import enqueue

REPEAT_AFTER = timedelta(seconds=10)
"""A command that a node has not acknowledged for this long is also offered in the reconciliation."""
_CUT = re.compile(r" … \[\d+ bytes cut\]\Z")
_UNDER_WAY = _("The message has already been requeued.")
State = Requeue.State


class Wish(StrEnum):
    """What an operator can do with a failed message."""

    REQUEUE = "requeue"
    DROP = "drop"
    DEAD_LETTER = "dead-letter"


_FIRST = {Wish.REQUEUE: State.SENT, Wish.DROP: State.DROPPED, Wish.DEAD_LETTER: State.KEPT}
_LETTER = {
    Wish.REQUEUE: DeadLetter.State.RESENT, Wish.DROP: DeadLetter.State.DROPPED, Wish.DEAD_LETTER: DeadLetter.State.KEPT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do with a message, and why.

    The same ``request_id`` of the same person again returns the first result, unless it was for another action.
    """

    wish: Wish
    reason: str = ""
    request_id: str = ""


class CannotRequeue(OperationRefused):
    """The operation is not possible with the message now; the text is one sentence for the person."""


def dispose(incident_id: UUID, wanted: Wanted, actor: Actor) -> Requeue:
    """Do ``wanted`` with the incident's message. Raises CannotRequeue, Incident.DoesNotExist."""
    with _once():
        # Serialises two people's requests: the second finds the result of the first.
        incident = decisions.with_relations().select_for_update(of=("self",)).get(pk=incident_id)
        return _dispose(_Failed(incident, incident.dead_letters.order_by("-id").first()), wanted, actor)


def dispose_of_letter(dead_letter_id: int, wanted: Wanted, actor: Actor) -> Requeue:
    """Do ``wanted`` with a dead letter, or where it has an incident, with the incident's message.

    Raises CannotRequeue, DeadLetter.DoesNotExist.
    """
    if incident_id := DeadLetter.objects.values_list("incident", flat=True).get(pk=dead_letter_id):
        return dispose(incident_id, wanted, actor)
    with _once():
        dead_letter = (
            DeadLetter.objects.select_for_update(of=("self",)).select_related("process__node").get(pk=dead_letter_id)
        )
        return _dispose(_Failed(None, dead_letter), wanted, actor)


@contextmanager
def _once() -> Iterator[None]:
    """One transaction; the database ensures that a message is not requeued twice at once."""
    try:
        with counters.changing():
            yield
    except IntegrityError:
        raise CannotRequeue(_UNDER_WAY, "already_requeued") from None


@dataclass(frozen=True, slots=True)
class _Failed:
    """A message that failed, by its incident, its dead letter, or both."""

    incident: Incident | None
    dead_letter: DeadLetter | None

    @property
    def _of(self) -> Any:
        return self.incident or self.dead_letter

    @property
    def message(self) -> dict[str, Any]:
        return self._of.message or {}

    @property
    def process(self) -> Process:
        found: Process = process_of_message(self.incident) if self.incident else self._of.process
        return found

    @property
    def past(self) -> QuerySet[Requeue]:
        """What was done with the message, newest first."""
        found: QuerySet[Requeue] = self._of.requeues.order_by("-created_at")
        return found


def _dispose(failed: _Failed, wanted: Wanted, actor: Actor) -> Requeue:
    request_id = wanted.request_id
    if request_id and (known := failed.past.filter(request_id=request_id, actor=actor.id).first()):
        if _wish_of(known) is not wanted.wish:
            raise CannotRequeue(
                _("This request_id was already used for another action on the message."),
                "request_id_reused",
                "request_id",
            )
        return known
    last = failed.past.first()
    _check(failed, last, wanted.wish)
    row = _begin(failed, wanted, actor)
    # A dead letter without an incident starts as kept.
    at_first = None if failed.incident else State.KEPT.value
    audit.record(
        audit.entry(
            actor, wanted.wish, _target(row), reason=wanted.reason,
            before={"message": last.state if last else at_first},
            after={"message": row.state, "command": str(row.pk)}
            | ({"dead_letter": row.dead_letter_id} if row.dead_letter_id else {}),
        )
    )  # fmt: skip
    decisions.number_change(_incidents([row.incident_id]))
    return row


def _wish_of(row: Requeue) -> Wish:
    return {State.DROPPED: Wish.DROP, State.KEPT: Wish.DEAD_LETTER}.get(State(row.state), Wish.REQUEUE)


def _begin(failed: _Failed, wanted: Wanted, actor: Actor) -> Requeue:
    """Create the row, enqueue the command for the node, and update the state of the dead letter."""
    wish, dead_letter = wanted.wish, failed.dead_letter
    sends = wish is Wish.REQUEUE
    if wish is Wish.DEAD_LETTER and failed.incident:
        dead_letter = dead_letters.keep_of(failed.incident, failed.process, now=actor.at)
    row = Requeue.objects.create(
        id=uuid7(),
        incident=failed.incident,
        dead_letter=dead_letter,
        state=_FIRST[wish],
        actor=actor.id,
        reason=wanted.reason,
        request_id=wanted.request_id,
        created_at=actor.at,
        ended_at=None if sends else actor.at,
    )
    if sends:
        subject = subjects.command(failed.process.node.name, row.pk)
        enqueue(subject, commands.encode(as_value(row)), msg_id=str(row.pk), now=actor.at)
    if dead_letter:
        DeadLetter.objects.filter(pk=dead_letter.pk).update(state=_LETTER[wish])
    return row


def _check(failed: _Failed, last: Requeue | None, wish: Wish) -> None:
    """Raises CannotRequeue."""
    if not failed.message:
        raise CannotRequeue(_("The process did not report its message in progress."), "no_message")
    if failed.incident and failed.incident.state not in ENDED:
        raise CannotRequeue(_("The process still has the message. Decide the incident first."), "message_in_use")
    if last and last.state == State.DROPPED:
        raise CannotRequeue(_("The message was dropped."), "message_dropped")
    if last and last.state in Requeue.UNDER_WAY:
        raise CannotRequeue(_UNDER_WAY, "already_requeued")
    kept = last and last.state == State.KEPT and last.dead_letter
    if wish is Wish.DEAD_LETTER and kept and kept.state == DeadLetter.State.KEPT:
        raise CannotRequeue(_("The message is already kept as a dead letter."), "already_kept")
    if wish is Wish.REQUEUE and not subjects.is_node_name(failed.process.node.name):
        raise CannotRequeue(_("This node does not accept commands."), "no_commands")
    if wish is Wish.REQUEUE and _CUT.search(failed.message.get("data", "")):
        raise CannotRequeue(
            _("The message was truncated when it was reported; only a part of it is stored."), "message_truncated"
        )


def as_value(row: Requeue) -> values.Requeue:
    """The row as it is sent to the node."""
    failed = _Failed(row.incident, row.dead_letter)
    return values.Requeue(
        id=row.pk,
        process=failed.process.name,
        message=Message(**failed.message),
        by=row.actor,
        at=row.created_at,
        incident=row.incident_id,
        reason=row.reason,
    )


def mark_sent(command_ids: list[UUID], *, now: datetime) -> list[UUID]:
    """Mark these commands as sent to the broker; returns their incidents. Called by the outbox inside its
    transaction."""
    sent = Requeue.objects.filter(pk__in=command_ids, sent_at__isnull=True)
    found = list(sent.values_list("incident_id", flat=True))
    if found:
        sent.update(sent_at=now)
        decisions.number_change(_incidents(found))
    return _incidents(found)


def mark_received(command_id: UUID, *, now: datetime) -> list[UUID]:
    """Mark the command as stored in the node's journal; returns its incident, if it has one and this changed it."""
    with counters.changing():
        if not Requeue.objects.filter(pk=command_id, state=State.SENT).update(state=State.RECEIVED, received_at=now):
            return []
        row = Requeue.objects.get(pk=command_id)
        _audit(Actor.system(now), "deliver message", row, State.SENT, State.RECEIVED)
        incident_ids = _incidents([row.incident_id])
        decisions.number_change(incident_ids)
    return incident_ids


def record_outcome(node: str, outcome: values.Outcome, *, now: datetime) -> tuple[OutcomeResult, UUID | None]:
    """Store the outcome of a command; also returns its incident, if it has one and this changed it.

    Repeated outcomes change nothing.
    """
    row = Requeue.objects.filter(_of_node(node), pk=outcome.incident).first()
    if row is None:
        return OutcomeResult.UNKNOWN, None
    # In the order of the states: a command that is received just now is found in one of them.
    for before in Requeue.UNDER_WAY:
        if _end(node, row, outcome, before, now=now):
            return OutcomeResult.CHANGED, row.incident_id
    return OutcomeResult.IGNORED, None


def _end(node: str, row: Requeue, outcome: values.Outcome, before: Requeue.State, *, now: datetime) -> bool:
    """False where the command is in another state than ``before``."""
    after = State.APPLIED if outcome.state is OutcomeState.APPLIED else State.FAILED
    with counters.changing():
        standing = Requeue.objects.filter(pk=row.pk, state=before)
        if not standing.update(state=after, ended_at=now, detail=outcome.detail):
            return False
        if after is State.FAILED and row.dead_letter_id:
            dead_letters.keep_again(row.dead_letter_id)
        _audit(Actor.node(node, now), "take message", row, before, after, outcome.detail)
        decisions.number_change(_incidents([row.incident_id]))
    return True


def is_of(node: str, command_id: UUID) -> bool:
    """Whether there is such a command for the node."""
    found = Requeue.objects.filter(_of_node(node), pk=command_id)
    return found.exclude(state__in=Requeue.NEVER_SENT).exists()


def states(node: str, command_ids: Collection[UUID]) -> dict[UUID, str]:
    """Command → state, of those that are commands for the node."""
    return dict(Requeue.objects.filter(_of_node(node), pk__in=command_ids).values_list("pk", "state"))


def under_way(node: str, *, limit: int = 100) -> list[values.Requeue]:
    """Commands of the node that have not ended, oldest first."""
    return _as_values(_under_way(node), limit)


def to_offer(node: str, *, now: datetime, limit: int = 100) -> list[UUID]:
    """Commands of the node that may have been lost, for the reply of the reconciliation; in random order, so that those
    that did not fit last time get their turn."""
    old = _under_way(node).filter(created_at__lte=now - REPEAT_AFTER)
    return list(old.order_by("?").values_list("pk", flat=True)[:limit])


def read(command_ids: Collection[UUID]) -> list[values.Requeue]:
    """The commands that have not ended, oldest first."""
    return _as_values(Requeue.objects.filter(pk__in=command_ids, state__in=Requeue.UNDER_WAY), len(command_ids))


def _under_way(node: str) -> QuerySet[Requeue]:
    return Requeue.objects.filter(_of_node(node), state__in=Requeue.UNDER_WAY)


def _as_values(rows: QuerySet[Requeue], limit: int) -> list[values.Requeue]:
    return [
        as_value(row)
        for row in rows.select_related("incident__process", "dead_letter__process").order_by("created_at")[:limit]
    ]


def _of_node(node: str) -> Q:
    return Q(incident__node__name=node) | Q(dead_letter__process__node__name=node)


def _incidents(ids: Iterable[UUID | None]) -> list[UUID]:
    """Without None: a dead letter may have no incident."""
    return [incident_id for incident_id in ids if incident_id]


def _target(row: Requeue) -> str:
    return f"incident:{row.incident_id}" if row.incident_id else f"dead-letter:{row.dead_letter_id}"


def _audit(
    actor: Actor, verb: str, row: Requeue, before: Requeue.State, after: Requeue.State, reason: str = ""
) -> None:
    audit.record(
        audit.entry(
            actor,
            verb,
            _target(row),
            reason=reason,
            before={"message": before.value},
            after={"message": after.value},
        )
    )
