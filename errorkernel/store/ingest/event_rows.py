"""A stored event as a record for the live page and the API, without the ORM."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import QuerySet

from errorkernel.domain.releases import release_of
from errorkernel.models import ErrorEvent

TEXT_CHARS = 2000
DATA_CHARS = 200
"""The length to which long texts are cut for the live page, which shows one line of an event."""


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
    tags: dict[str, str] = {}

    @classmethod
    def of(cls, found: Any) -> "EventRow":
        """A row of ``stored``."""
        return cls(
            seq=found.seq,
            id=found.id,
            type=found.type,
            level=found.level,
            node=found.node__name,
            process=found.process_name or found.process__name,
            incarnation=found.incarnation,
            kind=found.kind,
            text=found.text,
            message=found.message,
            occurred_at=found.occurred_at,
            received_at=found.received_at,
            problem=found.problem_id,
            whole=found.problem__merged_into_id or found.problem_id,
            incident=found.id if found.type == "action" else None,
            repeat=found.repeat,
            relay_from_node=found.relay_from_node,
            tags=found.tags,
        )

    @property
    def release(self) -> str:
        return release_of(self.tags)

    def shortened(self) -> "EventRow":
        """The row with the beginnings of its long texts."""
        message = self.message
        if message and len(message.get("data", "")) > DATA_CHARS:
            message = {**message, "data": message["data"][:DATA_CHARS]}
        return msgspec.structs.replace(self, text=self.text[:TEXT_CHARS], message=message)


_COLUMNS = (
    *("seq", "id", "type", "level", "node__name", "process__name", "process_name", "incarnation", "kind", "text"),
    *("message", "occurred_at", "received_at", "problem_id", "problem__merged_into_id", "repeat", "relay_from_node"),
    *("cut", "tags", "node__family"),
)


def stored(*columns: str) -> QuerySet[ErrorEvent, Any]:
    """Events with what their row shows and what the API tells beside it, named as from ErrorEvent on.

    ``columns``: further ones. Values, not models: a page shows a hundred, and each would be four objects. The stack
    can be 128 KiB and is left where it is."""
    return ErrorEvent.objects.values_list(*_COLUMNS, *columns, named=True)
