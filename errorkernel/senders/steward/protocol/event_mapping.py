"""An error message of a Steward or ctrl node → an Event of ours.

``read`` decodes the payload of a subject, ``report`` maps an error message to an Event. Both are pure. The event's id
comes from the payload and the occurrence, so that a repeated message, from the node or the broker, is the same event.

FromNode is the only indication of the sender; the broker's permissions decide whether it is reliable.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC

import msgspec

from errorkernel.domain.ids import uuid7_of
from errorkernel.domain.limits import PROCESS_NAME_MAX_CHARS, SHORT_TEXT_MAX_CHARS, Limits
from errorkernel.domain.values import Event, Message
from errorkernel.protocol.errors import ProtocolError
from errorkernel.protocol.sanitize import plain, short, shorten
from errorkernel.senders.steward.protocol import message, text_parser, text_record
from errorkernel.senders.steward.protocol.dialect import Dialect, dialect_of
from errorkernel.senders.steward.protocol.envelope import MESSAGE_MAX_BYTES, Compression, Envelope, unpack
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.repeats import Sending
from errorkernel.senders.steward.protocol.subjects import is_reply_subject
from errorkernel.senders.steward.protocol.text_parser import Understood
from errorkernel.senders.steward.protocol.text_record import Record

NODE_NAME_MAX_CHARS = 64
UNNAMED_PROCESS = "(not named)"
"""The process of errors whose text names none."""
_EARLIEST, _LATEST = 1970, 2199


class Incoming(msgspec.Struct, frozen=True):
    """A received message. ``digest`` is of the payload; retransmissions have the same. ``form`` is for people."""

    subject: str
    message: StewardMessage
    dialect: Dialect | None
    digest: bytes
    form: str = ""

    @property
    def family(self) -> str:
        """``steward`` or ``ctrl``, by its subject."""
        return "steward" if self.subject.endswith((".EventACK", ".EventNACK")) else "ctrl"

    @property
    def wants_ack(self) -> bool:
        """Whether its node waits for an empty message on the reply subject. Other messages must not get one: all nodes
        share that subject, so another node would assume that its message was received."""
        return self.subject.endswith(".EventACK") or self.message.ack_timeout >= 1

    @property
    def sending(self) -> Sending:
        message = self.message
        return Sending(message.ack_timeout, message.retry_wait, message.retries, numbered=message.id != 0)


class Report(msgspec.Struct, frozen=True):
    """``understood`` holds what an Event has no field for: the guessed process, the repetitions, the node meant."""

    node: str
    event: Event
    understood: Understood
    incoming: Incoming


def read(subject: str, headers: Mapping[str, str], payload: bytes, *, max_bytes: int = MESSAGE_MAX_BYTES) -> Incoming:
    """A payload of a node → its message. Raises ProtocolError."""
    if is_reply_subject(subject):
        raise ProtocolError("bad_subject", "Acknowledgements are no messages.")
    if len(payload) > max_bytes:
        raise ProtocolError("too_big", f"The message has {len(payload)} bytes; {max_bytes} are allowed.")
    envelope = unpack(payload, headers, max_bytes)
    decoded = message.decode(envelope.body, envelope.format)
    dialect = dialect_of(subject, envelope, decoded)
    digest = hashlib.sha256(payload).digest()
    return Incoming(subject, decoded.message, dialect, digest, _form(envelope, decoded.layout))


def _form(envelope: Envelope, layout: str) -> str:
    packed = {Compression.ZSTD: ", zstd", Compression.GZIP: ", gzip", Compression.NONE: ""}[envelope.compression]
    return f"{layout or 'other fields'}, {envelope.format}{packed}"


def sender(message: StewardMessage) -> str:
    """The sender by FromNode. Raises ProtocolError (``bad_node``)."""
    node = message.from_node
    if not 1 <= len(node) <= NODE_NAME_MAX_CHARS or not node.isprintable() or not node.strip():
        raise ProtocolError("bad_node", f"A node name has 1 to {NODE_NAME_MAX_CHARS} printable characters.")
    return node


def report(incoming: Incoming, limits: Limits, *, occurrence: int = 0, nodes: frozenset[str] = frozenset()) -> Report:
    """An error message → the Event in it. ``occurrence`` distinguishes failures with the same bytes.

    ``nodes``: names of nodes to mask in texts without a template. Raises ProtocolError (``bad_node``).
    """
    message = incoming.message
    node = sender(message)
    cut: list[str] = []
    # Bytes beyond the limit are not decoded; the addition is for the time and the names before the text.
    most = limits.text_bytes + 2 * SHORT_TEXT_MAX_CHARS
    record = text_record.parse(message.data[:most].decode("utf-8", "replace"))
    text = shorten(record.text, limits.text_bytes, "text", cut)
    if len(message.data) > most and not cut:
        cut.append("text")
    req = message.method.startswith("REQ")
    understood = text_parser.understand(text, node=node, req=req, nodes=nodes)
    event = Event(
        id=uuid7_of(_digest_of(incoming, occurrence), _milliseconds(record)),
        type=understood.type,
        level=understood.level,
        process=_process(understood),
        text=text,
        kind=understood.kind,
        message=_message(understood.message, limits, cut),
        relay_from_node=short(record.relay_node or message.relay_from_node, "relay_from_node", cut),
        occurred_at=record.local_time.replace(tzinfo=UTC) if _shown(record) and record.local_time else None,
        fingerprint=fingerprint(understood),
        tags=_tags(incoming, record, understood, limits),
        cut=tuple(cut),
    )
    return Report(node, event, understood, incoming)


def fingerprint(understood: Understood) -> tuple[str, ...]:
    """What an event of this text is grouped by."""
    return tuple(plain(part) for part in understood.fingerprint)


def _digest_of(incoming: Incoming, occurrence: int) -> bytes:
    if occurrence == 0:
        return incoming.digest
    return hashlib.sha256(incoming.digest + occurrence.to_bytes(8)).digest()


def _shown(record: Record) -> bool:
    return record.local_time is not None and _EARLIEST <= record.local_time.year <= _LATEST


def _milliseconds(record: Record) -> int:
    """Milliseconds by the node's clock, so that ids are roughly in order of time; 0 if the text has no time."""
    if record.local_time is None or not _shown(record):
        return 0
    return int(record.local_time.replace(tzinfo=UTC).timestamp()) * 1000


def _process(understood: Understood) -> str:
    guess = understood.process
    name = plain(guess.method[:PROCESS_NAME_MAX_CHARS]) if guess else ""
    return name if name.strip() else UNNAMED_PROCESS


def _message(found: Message | None, limits: Limits, cut: list[str]) -> Message | None:
    if found is None:
        return None
    return Message(
        id=short(found.id, "message.id", cut),
        method=short(found.method, "message.method", cut),
        from_node=short(found.from_node, "message.from_node", cut),
        to_node=short(found.to_node, "message.to_node", cut),
        data=shorten(found.data, limits.data_bytes, "message.data", cut),
    )


def _tags(incoming: Incoming, record: Record, understood: Understood, limits: Limits) -> dict[str, str]:
    """Tags that explain the other fields, to be read and searched."""
    guess = understood.process
    tags = {
        "source": incoming.family,
        "process": "named_in_text" if guess and guess.certain else "guessed_from_text" if guess else "not_named",
    }
    if guess and guess.alternatives:
        tags["process_or"] = ", ".join(guess.alternatives)
    if record.local_time is not None:
        # The node's local time is read as UTC, because a node does not send its time zone.
        tags["clock"] = "local time of the node, zone not known"
    if not understood.prefix:
        tags["prefix"] = "none"
    if understood.about and understood.about != incoming.message.from_node:
        tags["about_node"] = understood.about
    if record.node and record.node != incoming.message.from_node:
        tags["node_in_text"] = record.node
    return {key: plain(value[: limits.tag_chars]) for key, value in tags.items()}
