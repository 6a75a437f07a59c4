"""Commands to nodes (``ek.cmd.<node>.<id>``), JSON ⇄ values.

There is one command, ``requeue``: handle this message again. A node rejects an unknown command.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from errorkernel.domain.values import Message, Requeue
from errorkernel.protocol.errors import ProtocolError
from errorkernel.protocol.message import MessagePayload

VERSION = 1
REQUEUE = "requeue"


class _Command(msgspec.Struct):
    v: int
    do: str
    id: UUID
    process: str
    message: MessagePayload
    by: str
    at: datetime
    incident: UUID | None = None
    reason: str = ""


_decoder = msgspec.json.Decoder(_Command)


def body(command: Requeue) -> dict[str, Any]:
    """The command as a payload, or within a sync reply."""
    message = {key: value for key, value in msgspec.structs.asdict(command.message).items() if value}
    return {"v": VERSION, "do": REQUEUE, **msgspec.structs.asdict(command), "message": message}


def encode(command: Requeue) -> bytes:
    return msgspec.json.encode(body(command))


def decode(data: bytes) -> Requeue:
    """Bytes of one command → Requeue. Raises ProtocolError."""
    try:
        raw = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise ProtocolError("wrong_shape", str(exc)) from None
    if raw.v != VERSION or raw.do != REQUEUE:
        raise ProtocolError("unknown_command", f"The command {raw.do!r} of version {raw.v} is not known here.")
    at = raw.at if raw.at.tzinfo else raw.at.replace(tzinfo=UTC)
    fields = {name: str(value) for name, value in msgspec.structs.asdict(raw.message).items() if value is not None}
    message = Message(**fields)
    return Requeue(
        id=raw.id, process=raw.process, message=message, by=raw.by, at=at, incident=raw.incident, reason=raw.reason
    )
