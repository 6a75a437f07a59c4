"""Requests and responses about failed messages: requeued, dropped, kept as dead letters."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.models import DeadLetter, Requeue
from errorkernel.web.schemas.common import WriteRequest, of_row


class MessageRequest(WriteRequest):
    """Why something is done with a failed message."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] = ""


class MessageOperation(msgspec.Struct):
    """An operation on a failed message and its state. ``command``: its id at the node. ``incident`` is null for a dead
    letter without one."""

    command: UUID
    incident: UUID | None
    dead_letter: int | None
    state: str
    actor: str
    reason: str
    detail: str
    created_at: datetime
    sent_at: datetime | None
    received_at: datetime | None
    ended_at: datetime | None


class DeadLetterItem(msgspec.Struct):
    """A dead letter. ``incident``: the latest incident about it; ``done``: the operations on it, the latest last."""

    id: int
    node: str
    process: str
    problem: int
    incident: UUID | None
    seq: int
    message: dict[str, Any]
    failures: int
    state: str
    first_at: datetime
    last_at: datetime
    done: list[MessageOperation]


def message_operation(row: Requeue) -> MessageOperation:
    return of_row(MessageOperation, row, command=row.pk, incident=row.incident_id, dead_letter=row.dead_letter_id)


def dead_letter(row: DeadLetter) -> DeadLetterItem:
    """Use rows of ``dead_letters.listed``."""
    process = row.process
    return of_row(
        DeadLetterItem,
        row,
        node=process.node.name,
        process=process.name,
        problem=row.problem_id,
        incident=row.incident_id,
        done=[message_operation(requeue) for requeue in row.requeues.all()],
    )
