"""A stored event as it travels: from the transaction to the browsers and the API, without the ORM."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import QuerySet

from errorkernel.models import ErrorEvent

TEXT_CHARS = 2000
DATA_CHARS = 200
"""On the live page a row shows one line, and the event's page shows all: so much of long texts is sent to it."""


class EventRow(msgspec.Struct):
    """One row of the stream. ``problem`` is a primary key, and ``whole`` that of the problem it is merged into, or the
    same; ``incident`` is set for ``action`` events alone."""

    seq: int
    id: UUID
    type: str
    level: str
    node: str
    process: str
    incarnation: int | None
    kind: str
    text: str
    message: dict[str, Any] | None
    occurred_at: datetime | None
    received_at: datetime
    problem: int
    whole: int
    incident: UUID | None
    repeat: int
    relay_from_node: str = ""

    @classmethod
    def from_model(cls, event: ErrorEvent) -> "EventRow":
        """An event of ``stored``; any other costs three queries."""
        return cls(
            seq=event.seq,
            id=event.id,
            type=event.type,
            level=event.level,
            node=event.node.name,
            process=event.process.name,
            incarnation=event.incarnation,
            kind=event.kind,
            text=event.text,
            message=event.message,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            problem=event.problem_id,
            whole=event.problem.merged_into_id or event.problem_id,
            incident=event.id if event.type == "action" else None,
            repeat=event.repeat,
            relay_from_node=event.relay_from_node,
        )

    def shortened(self) -> "EventRow":
        """The row with the beginnings of its long texts."""
        message = self.message
        if message and len(message.get("data", "")) > DATA_CHARS:
            message = {**message, "data": message["data"][:DATA_CHARS]}
        return msgspec.structs.replace(self, text=self.text[:TEXT_CHARS], message=message)


def stored() -> QuerySet[ErrorEvent]:
    """Events with what their row shows; the stack can be 128 KiB and is left where it is."""
    found = ErrorEvent.objects.select_related("node", "process", "problem")
    return found.defer("stack", "tags", "problem__title", "problem__why", "problem__state_reason")
