"""The messages between a supervised process and its supervisor: JSON lines over a socket that the child inherits.

The child sends ``ReportEvent``, ``Continued`` and ``FailureReported``; the supervisor replies with ``EventAccepted``,
``EventRejected`` and ``DecisionReply``. ``number`` links a reply to its request, so several threads of the child may
send at once. ``FunctionCall`` comes first, to a child that is a Python function. What a child sends is checked and cut
like any other event: it need not have been written by this package.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from errorkernel.domain.values import Action, EventType, Message
from errorkernel.node.errors import NodeError
from errorkernel.node.reporting.event_builder import EventDraft, describe

T = TypeVar("T")

FD = "STEWARD_WORKER_FD"
NODE = "STEWARD_WORKER_NODE"
PROCESS = "STEWARD_WORKER_PROCESS"
INCARNATION = "STEWARD_WORKER_INCARNATION"
MARK = "STEWARD_WORKER_MARK"
"""Inherited by all descendants of one incarnation: by it those that left its process group are found."""
LINE_MAX_BYTES = 4 * 1024 * 1024


class InvalidLine(NodeError):
    """A line that is not one of these messages."""


@dataclass(frozen=True, slots=True)
class ReportEvent:
    """An event. Type ``action`` opens an incident, and the child waits for its ``DecisionReply``."""

    number: int
    type: EventType
    draft: EventDraft


@dataclass(frozen=True, slots=True)
class Continued:
    """The child has received *continue* and goes on: only now is the decision applied."""

    number: int


@dataclass(frozen=True, slots=True)
class FailureReported:
    """The child is about to end, and has reported the reason itself."""


@dataclass(frozen=True, slots=True)
class EventAccepted:
    """The event is in the journal."""

    number: int
    id: UUID


@dataclass(frozen=True, slots=True)
class EventRejected:
    """The event could not be written."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class DecisionReply:
    """The decision on an incident of the child."""

    number: int
    action: Action


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """``call``: pickled (function, args). ``preparation``: pickled, for ``multiprocessing`` to prepare a child with."""

    call: bytes
    preparation: bytes
    on_exception: str
    python_path: str | None


FromChild = ReportEvent | Continued | FailureReported
ToChild = EventAccepted | EventRejected | DecisionReply | FunctionCall

_NAMES = {
    ReportEvent: "report", Continued: "continued", FailureReported: "failure_reported", EventAccepted: "accepted",
    EventRejected: "rejected", DecisionReply: "decision", FunctionCall: "call",
}  # fmt: skip


def encode(message: FromChild | ToChild) -> bytes:
    """One line, with its end."""
    return json.dumps({"message": _NAMES[type(message)], **asdict(message)}, default=_plain).encode() + b"\n"


def decode_from_child(line: bytes) -> FromChild:
    """Raises InvalidLine."""
    return _decode(line, _FROM_CHILD)


def decode_to_child(line: bytes) -> ToChild:
    """Raises InvalidLine."""
    return _decode(line, _TO_CHILD)


def _plain(value: object) -> object:
    if isinstance(value, Message):
        return {name: getattr(value, name) for name in Message.__struct_fields__}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _decode(line: bytes, decoders: Mapping[str, Callable[[dict[str, Any]], T]]) -> T:
    try:
        raw = json.loads(line)
        return decoders[raw["message"]](raw)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise InvalidLine(f"{line[:80]!r}: {type(exc).__name__}: {exc}") from exc


def _draft(raw: dict[str, Any]) -> EventDraft:
    details = {name: value for name, value in raw.items() if value is not None}
    text = str(details.pop("text"))
    if "occurred_at" in details:
        details["occurred_at"] = datetime.fromisoformat(details["occurred_at"])
    return describe(text, details)


_FROM_CHILD: dict[str, Callable[[dict[str, Any]], FromChild]] = {
    "report": lambda raw: ReportEvent(int(raw["number"]), EventType(raw["type"]), _draft(raw["draft"])),
    "continued": lambda raw: Continued(int(raw["number"])),
    "failure_reported": lambda raw: FailureReported(),
}
_TO_CHILD: dict[str, Callable[[dict[str, Any]], ToChild]] = {
    "accepted": lambda raw: EventAccepted(int(raw["number"]), UUID(raw["id"])),
    "rejected": lambda raw: EventRejected(int(raw["number"]), str(raw["reason"])),
    "decision": lambda raw: DecisionReply(int(raw["number"]), Action(raw["action"])),
    "call": lambda raw: FunctionCall(
        base64.b64decode(raw["call"]),
        base64.b64decode(raw["preparation"]),
        str(raw["on_exception"]),
        raw["python_path"],
    ),
}
