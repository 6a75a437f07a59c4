"""The reconciliation (``ek.sync.<node>``), JSON ⇄ values.

The request has a node's open incidents and outcomes, the reply the decisions and commands that it is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec

from errorkernel.domain.limits import SYNC_MAX_BYTES
from errorkernel.domain.values import Decision, Requeue, SyncRequest
from errorkernel.protocol import batches, commands, json_codec
from errorkernel.protocol.batches import BatchLimits
from errorkernel.protocol.errors import ProtocolError

T = TypeVar("T")


class _OpenItem(msgspec.Struct):
    incident: UUID


class _Sync(msgspec.Struct):
    v: int = json_codec.VERSION
    # Decoded one by one: an unreadable item must not block the others.
    open: list[msgspec.Raw] | None = None
    outcomes: list[msgspec.Raw] | None = None


class _Batch(msgspec.Struct):
    events: Annotated[int, msgspec.Meta(ge=1)]
    bytes: Annotated[int, msgspec.Meta(ge=1)]


class _Reply(msgspec.Struct):
    decisions: list[msgspec.Raw]
    unknown: list[UUID] = []
    commands: list[msgspec.Raw] = []
    batch: _Batch | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as a node reads it. ``commands`` are still encoded; ``batch`` is None for a kernel that takes none."""

    decisions: list[Decision]
    unknown: list[UUID]
    commands: list[bytes]
    batch: BatchLimits | None


_open_decoder = msgspec.json.Decoder(UUID | _OpenItem)
_sync_decoder = msgspec.json.Decoder(_Sync)
_reply_decoder = msgspec.json.Decoder(_Reply)
_encoder = msgspec.json.Encoder()


def decode(data: bytes) -> SyncRequest:
    """Bytes of a sync request → SyncRequest with the readable items. Raises ProtocolError."""
    if len(data) > SYNC_MAX_BYTES:
        raise ProtocolError("too_big", f"The sync has {len(data)} bytes; {SYNC_MAX_BYTES} are allowed. Ask in parts.")
    raw = json_codec.decode(_sync_decoder.decode, data)
    json_codec.check_version(raw.v)
    unread: list[str] = []
    return SyncRequest(
        open=tuple(_readable(raw.open, _open_item, unread)),
        outcomes=tuple(_readable(raw.outcomes, json_codec.read_outcome, unread)),
        unread=tuple(unread),
    )


def _open_item(data: bytes) -> UUID:
    item = json_codec.decode(_open_decoder.decode, data)
    return item if isinstance(item, UUID) else item.incident


def _readable(items: list[msgspec.Raw] | None, read: Callable[[bytes], T], unread: list[str]) -> Iterator[T]:
    """The readable ``items``; reasons for the others are added to ``unread``."""
    for item in items or ():
        try:
            yield read(bytes(item))
        except ProtocolError as exc:
            unread.append(str(exc))


def encode(sync: SyncRequest) -> bytes:
    outcomes = [msgspec.Raw(json_codec.encode_outcome(outcome)) for outcome in sync.outcomes]
    return _encoder.encode({"v": json_codec.VERSION, "open": sync.open, "outcomes": outcomes})


def decode_reply(data: bytes) -> Answer:
    """Bytes of a sync reply → Answer. Raises ProtocolError, also where the kernel refused the request."""
    raw = json_codec.decode(_reply_decoder.decode, data)
    if raw.error:
        raise ProtocolError("refused", raw.error)
    return Answer(
        [json_codec.decode_decision(bytes(raw_decision)) for raw_decision in raw.decisions],
        raw.unknown,
        [bytes(raw_command) for raw_command in raw.commands],
        BatchLimits(raw.batch.events, raw.batch.bytes) if raw.batch else None,
    )


def encode_refusal(why: str) -> bytes:
    """The reply to an unreadable request."""
    return _encoder.encode({"v": json_codec.VERSION, "error": why, "decisions": []})


class SyncReply:
    """A reply to a sync of at most ``max_bytes``; an ``add_`` method returns False when the item does not fit.

    The rest follows with a later sync. *Unknown* incidents must fit: a node assumes that the kernel has all incidents
    that are not listed as unknown.
    """

    def __init__(self, max_bytes: int) -> None:
        self._decisions: list[msgspec.Raw] = []
        self._unknown: list[msgspec.Raw] = []
        self._commands: list[tuple[datetime, msgspec.Raw]] = []
        self._left = max_bytes - len(self.encode())

    def add_decision(self, decision: Decision) -> bool:
        return self._add(json_codec.encode_decision(decision), self._decisions.append)

    def add_unknown(self, incident: UUID) -> bool:
        return self._add(_encoder.encode(incident), self._unknown.append)

    def add_command(self, command: Requeue) -> bool:
        return self._add(commands.encode(command), lambda data: self._commands.append((command.at, data)))

    def encode(self) -> bytes:
        """The reply, with the commands in the order of their times."""
        ordered = [data for _, data in sorted(self._commands, key=lambda entry: entry[0])]
        return _encoder.encode(
            {
                "v": json_codec.VERSION,
                "decisions": self._decisions,
                "unknown": self._unknown,
                "commands": ordered,
                "batch": {"events": batches.LIMITS.events, "bytes": batches.LIMITS.bytes},
            }
        )

    def _add(self, data: bytes, append: Callable[[msgspec.Raw], None]) -> bool:
        if len(data) + 1 > self._left:
            return False
        self._left -= len(data) + 1  # and a comma
        append(msgspec.Raw(data))
        return True
