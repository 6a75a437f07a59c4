"""JSON of the contract (version 1) ⇄ values.

Decoding is strict about what identifies an event (version, id, type, process, text) and about types, forgiving about
everything else: unknown fields are ignored, over-long texts are cut and the cut is marked. The result is a value or a
ProtocolError for any bytes: no input of a node may stop the intake.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec

from errorkernel.domain import values
from errorkernel.domain.limits import (
    DEADLINE_MAX_S,
    DETAIL_MAX_BYTES,
    FINGERPRINT_PARTS_MAX,
    PROCESS_NAME_MAX_CHARS,
    Limits,
)
from errorkernel.protocol import lenient_json, times
from errorkernel.protocol.errors import ProtocolError, explain
from errorkernel.protocol.message import MessagePayload
from errorkernel.protocol.sanitize import plain, short, shorten

T = TypeVar("T")
VERSION = 1
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)

Incarnation = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Error(msgspec.Struct):
    text: str
    kind: str | None = None
    stack: str | None = None


class _Event(msgspec.Struct):
    v: int
    id: UUID
    type: values.EventType
    process: str
    error: _Error
    level: values.Level | None = None
    incarnation: Incarnation | None = None
    message: MessagePayload | None = None
    relay_from_node: str | None = None
    occurred_at: datetime | None = None
    fingerprint: list[str] | None = None
    tags: dict[str, str | int | float | bool | None] | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=DEADLINE_MAX_S)] | None = None
    on_deadline: values.OnDeadline | None = None


class EventHead(msgspec.Struct):
    """What tells where an event belongs before all of it is decoded. None of it is checked."""

    id: str
    type: str
    process: str


class _Outcome(msgspec.Struct):
    v: int
    incident: UUID
    state: values.OutcomeState
    decision_id: UUID | None = None
    incarnation: Incarnation | None = None
    new_incarnation: Incarnation | None = None
    detail: str | None = None
    at: datetime | None = None
    by_itself: values.Action | None = None


class _Decision(msgspec.Struct):
    v: int
    incident: UUID
    decision_id: UUID
    action: values.Action
    by: str
    decided_at: datetime
    incarnation: Incarnation | None = None
    reason: str | None = None


class _Process(msgspec.Struct):
    name: str | None = None
    process: str | None = None
    state: str | None = None
    incarnation: Incarnation | None = None
    pid: Incarnation | None = None
    since: datetime | None = None


class _Heartbeat(msgspec.Struct):
    v: int = VERSION
    version: str | None = None
    started_at: datetime | None = None
    at: datetime | None = None
    processes: list[_Process] | None = None
    backlog: Incarnation | None = None
    dropped: Incarnation | None = None
    dropped_infos: Incarnation | None = None
    dropped_errors: Incarnation | None = None
    refused: Incarnation | None = None


# One decoder per payload, made once: msgspec compiles the type's layout into it.
_event_decoder = msgspec.json.Decoder(_Event)
_head_decoder = msgspec.json.Decoder(EventHead)
_outcome_decoder = msgspec.json.Decoder(_Outcome)
_decision_decoder = msgspec.json.Decoder(_Decision)
_heartbeat_decoder = msgspec.json.Decoder(_Heartbeat)
_encoder = msgspec.json.Encoder()


def read_head(data: bytes) -> EventHead | None:
    """The head of an event that ``decode_event`` may accept; None where only all of it can tell."""
    try:
        head = _head_decoder.decode(data)
    except lenient_json.UNREADABLE:
        return None
    head.process = plain(head.process)
    return head


def decode_event(data: bytes, limits: Limits) -> values.Event:
    """Bytes of one event → Event. Raises ProtocolError."""
    if len(data) > limits.event_bytes:
        raise ProtocolError("too_big", f"The event has {len(data)} bytes; {limits.event_bytes} are allowed.")
    raw = decode(_event_decoder.decode, data)
    check_version(raw.v)
    if not 1 <= len(raw.process) <= PROCESS_NAME_MAX_CHARS or not raw.process.strip():
        raise ProtocolError("bad_process", f"A process name has 1 to {PROCESS_NAME_MAX_CHARS} characters.")
    cut: list[str] = []
    return values.Event(
        id=raw.id,
        type=raw.type,
        level=raw.level or (values.Level.INFO if raw.type is values.EventType.INFO else values.Level.ERROR),
        process=plain(raw.process),
        text=shorten(raw.error.text, limits.text_bytes, "text", cut),
        kind=short(raw.error.kind, "kind", cut),
        stack=shorten(raw.error.stack, limits.stack_bytes, "stack", cut),
        incarnation=raw.incarnation,
        message=_message(raw.message, limits, cut),
        relay_from_node=short(raw.relay_from_node, "relay_from_node", cut),
        occurred_at=_time(raw.occurred_at, "occurred_at", cut),
        fingerprint=_fingerprint(raw.fingerprint, cut),
        tags=_tags(raw.tags, limits, cut),
        deadline_s=raw.deadline_s,
        on_deadline=raw.on_deadline or values.OnDeadline.ESCALATE,
        cut=tuple(cut),
    )


def encode_event(event: values.Event) -> bytes:
    """Event → bytes of the contract; empty fields are left out."""
    message = event.message
    body: dict[str, Any] = {
        "v": VERSION,
        "id": event.id,
        "type": event.type,
        "level": event.level,
        "process": event.process,
        "incarnation": event.incarnation,
        "error": _filled(kind=event.kind, text=event.text, stack=event.stack) | {"text": event.text},
        "message": _filled(
            id=message.id,
            method=message.method,
            from_node=message.from_node,
            to_node=message.to_node,
            data=message.data,
        )
        if message
        else None,
        "relay_from_node": event.relay_from_node,
        "occurred_at": event.occurred_at,
        "fingerprint": event.fingerprint,
        "tags": event.tags,
        "deadline_s": event.deadline_s,
        "on_deadline": event.on_deadline if event.deadline_s is not None else None,
    }
    return _encoder.encode({key: value for key, value in body.items() if value not in (None, "", (), {})})


def decode_outcome(data: bytes, limits: Limits) -> values.Outcome:
    """Bytes of one outcome → Outcome. Raises ProtocolError."""
    if len(data) > limits.event_bytes:
        raise ProtocolError("too_big", f"The outcome has {len(data)} bytes; {limits.event_bytes} are allowed.")
    return read_outcome(data)


def read_outcome(data: bytes) -> values.Outcome:
    """``decode_outcome`` for data whose size is checked already. Raises ProtocolError."""
    return _outcome(decode(_outcome_decoder.decode, data))


def encode_outcome(outcome: values.Outcome) -> bytes:
    return _encoder.encode(
        {
            "v": VERSION,
            "incident": outcome.incident,
            "decision_id": outcome.decision_id,
            "state": outcome.state,
            "at": outcome.at,
            **_filled(
                incarnation=outcome.incarnation,
                new_incarnation=outcome.new_incarnation,
                detail=shorten(outcome.detail, DETAIL_MAX_BYTES, "detail", []),
                by_itself=outcome.by_itself,
            ),
        }
    )


def decode_decision(data: bytes) -> values.Decision:
    """Bytes of one decision → Decision. Raises ProtocolError."""
    return _decision(decode(_decision_decoder.decode, data))


def encode_decision(decision: values.Decision) -> bytes:
    return _encoder.encode(_decision_body(decision))


def decode_heartbeat(data: bytes) -> values.Heartbeat:
    """Bytes of a heartbeat → Heartbeat. Raises ProtocolError."""
    raw = decode(_heartbeat_decoder.decode, data)
    check_version(raw.v)
    processes = tuple(
        values.ProcessReport(
            name=plain(name),
            state=short(process.state),
            incarnation=process.incarnation,
            pid=process.pid,
            since=_time(process.since),
        )
        for process in raw.processes or ()
        if (name := process.name or process.process or "").strip() and len(name) <= PROCESS_NAME_MAX_CHARS
    )
    return values.Heartbeat(
        version=short(raw.version),
        started_at=_time(raw.started_at),
        at=_time(raw.at),
        processes=processes,
        backlog=raw.backlog,
        dropped=raw.dropped,
    )


def encode_heartbeat(heartbeat: values.Heartbeat) -> bytes:
    return _encoder.encode(
        {"v": VERSION} | {k: v for k, v in msgspec.structs.asdict(heartbeat).items() if v is not None}
    )


def decode(decoder: Callable[[bytes], T], data: bytes) -> T:
    """Decode any bytes with ``decoder``. Raises ProtocolError."""
    try:
        return _decode(decoder, data)
    except msgspec.ValidationError as exc:
        raise ProtocolError("wrong_shape", explain(exc)) from None
    except (*lenient_json.UNREADABLE, UnicodeDecodeError) as exc:
        raise ProtocolError("not_json", explain(exc)) from None


def _decode(decoder: Callable[[bytes], T], data: bytes) -> T:
    """Raises the exceptions of ``decoder``."""
    try:
        return lenient_json.decode(decoder, data)
    except msgspec.ValidationError:
        repaired = times.repair(lenient_json.repair(data))
        if repaired is None:
            raise
        return decoder(repaired)


def check_version(version: int) -> None:
    """Raises ProtocolError for another version."""
    if version != VERSION:
        raise ProtocolError("bad_version", f"Version {version} is not known; this kernel reads version {VERSION}.")


def _outcome(raw: _Outcome) -> values.Outcome:
    check_version(raw.v)
    return values.Outcome(
        incident=raw.incident,
        state=raw.state,
        decision_id=raw.decision_id,
        incarnation=raw.incarnation,
        new_incarnation=raw.new_incarnation,
        detail=shorten(raw.detail, DETAIL_MAX_BYTES, "detail", []),
        at=_time(raw.at),
        by_itself=raw.by_itself,
    )


def _decision(raw: _Decision) -> values.Decision:
    check_version(raw.v)
    decided_at = _time(raw.decided_at)
    if decided_at is None:
        raise ProtocolError("bad_time", f"The time {raw.decided_at.isoformat()} cannot be right.")
    return values.Decision(
        incident=raw.incident,
        decision_id=raw.decision_id,
        action=raw.action,
        by=raw.by,
        decided_at=decided_at,
        incarnation=raw.incarnation,
        reason=raw.reason or "",
    )


def _decision_body(decision: values.Decision) -> dict[str, Any]:
    return {"v": VERSION, **msgspec.structs.asdict(decision)}


def _message(raw: MessagePayload | None, limits: Limits, cut: list[str]) -> values.Message | None:
    if raw is None:
        return None
    return values.Message(
        id=short(None if raw.id is None else str(raw.id), "message.id", cut),
        method=short(raw.method, "message.method", cut),
        from_node=short(raw.from_node, "message.from_node", cut),
        to_node=short(raw.to_node, "message.to_node", cut),
        data=shorten(raw.data, limits.data_bytes, "message.data", cut),
    )


def _fingerprint(parts: list[str] | None, cut: list[str]) -> tuple[str, ...]:
    if not parts:
        return ()
    if len(parts) > FINGERPRINT_PARTS_MAX:
        cut.append("fingerprint")
    return tuple(short(part, "fingerprint", cut) for part in parts[:FINGERPRINT_PARTS_MAX])


def _tags(raw: dict[str, Any] | None, limits: Limits, cut: list[str]) -> dict[str, str]:
    if not raw:
        return {}
    tags: dict[str, str] = {}
    for key, value in raw.items():
        if len(tags) == limits.tags:
            cut.append("tags")
            break
        text = value if isinstance(value, str) else _encoder.encode(value).decode()
        if len(key) > limits.tag_chars or len(text) > limits.tag_chars:
            cut.append("tags")
        tags[plain(key[: limits.tag_chars])] = plain(text[: limits.tag_chars])
    return tags


def _time(moment: datetime | None, name: str = "", cut: list[str] | None = None) -> datetime | None:
    """Aware and in UTC; a time without a zone is taken as UTC. A time that no page can show is dropped and marked
    as cut: events of a node with a wrong clock must be stored."""
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if _EARLIEST <= moment < _LATEST:
        return moment.astimezone(UTC)
    if cut is not None:
        cut.append(name)
    return None


def _filled(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in (None, "")}
