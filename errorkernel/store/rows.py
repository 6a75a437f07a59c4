"""A stored event as it travels: from the transaction to the browsers and the API, without the ORM."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from errorkernel.models import ErrorEvent


class EventRow(msgspec.Struct):
    """One row of the stream. ``problem`` is a primary key; ``incident`` is set for ``action`` events alone."""

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
    incident: UUID | None
    repeat: int
    relay_from_node: str = ""

    @classmethod
    def from_model(cls, event: ErrorEvent) -> "EventRow":
        """Needs ``select_related("node", "process")``, or costs two queries."""
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
            incident=event.id if event.type == "action" else None,
            repeat=event.repeat,
            relay_from_node=event.relay_from_node,
        )
