"""The messages between a supervised process and its supervisor: JSON lines over a socket that the child inherits.

The child sends ``ReportEvent``, ``Continued`` and ``FailureReported``; the supervisor replies with ``EventAccepted``,
``EventRejected`` and ``DecisionReply``. ``number`` links a reply to its request, so several threads of the child may
send at once. ``FunctionCall`` comes first, to a child that is a Python function. Messages of a child are checked and
cut like any other event: it need not have been written by this package.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from errorkernel.domain.values import Action, EventType
from errorkernel.node.errors import NodeError
from errorkernel.node.reporting.event_builder import EventDraft, describe

FD = "STEWARD_WORKER_FD"
NODE = "STEWARD_WORKER_NODE"
PROCESS = "STEWARD_WORKER_PROCESS"
INCARNATION = "STEWARD_WORKER_INCARNATION"
MARK = "STEWARD_WORKER_MARK"
"""Inherited by all descendants of one incarnation: by it those that left its process group are found."""
LINE_MAX_BYTES = 4 * 1024 * 1024


class InvalidLine(NodeError):
    """A line that is not one of these messages."""


class _Line(msgspec.Struct, frozen=True, tag_field="message", tag=True):
    """One message; the field ``message`` holds the name of its class."""


class ReportEvent(_Line, frozen=True):
    """An event. Type ``action`` opens an incident, and the child waits for its ``DecisionReply``."""

    number: int
    type: EventType
    draft: Any
    """An ``EventDraft``; on the line an object with its fields."""


class Continued(_Line, frozen=True):
    """The child has received *continue* and goes on: only now is the decision applied."""

    number: int


class FailureReported(_Line, frozen=True):
    """The child is about to end, and has reported the reason itself."""


class EventAccepted(_Line, frozen=True):
    """The event is in the journal."""

    number: int
    id: UUID


class EventRejected(_Line, frozen=True):
    """The event could not be written."""

    number: int
    reason: str


class DecisionReply(_Line, frozen=True):
    """The decision on an incident of the child."""

    number: int
    action: Action


class FunctionCall(_Line, frozen=True):
    """``call``: pickled (function, args). ``preparation``: pickled, for ``multiprocessing`` to prepare a child with."""

    call: bytes
    preparation: bytes
    on_exception: str
    python_path: str | None


FromChild = ReportEvent | Continued | FailureReported
ToChild = EventAccepted | EventRejected | DecisionReply | FunctionCall

_FROM_CHILD: "msgspec.json.Decoder[FromChild]" = msgspec.json.Decoder(FromChild)
_TO_CHILD: "msgspec.json.Decoder[ToChild]" = msgspec.json.Decoder(ToChild)


def encode(message: FromChild | ToChild) -> bytes:
    """One line, with its end."""
    return msgspec.json.encode(message) + b"\n"


def decode_from_child(line: bytes) -> FromChild:
    """Raises InvalidLine."""
    try:
        message = _FROM_CHILD.decode(line)
        if isinstance(message, ReportEvent):
            return msgspec.structs.replace(message, draft=_draft(message.draft))
        return message
    except (
        msgspec.MsgspecError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as exc:
        raise InvalidLine(f"{line[:80]!r}: {type(exc).__name__}: {exc}") from exc


def decode_to_child(line: bytes) -> ToChild:
    """Raises InvalidLine."""
    try:
        return _TO_CHILD.decode(line)
    except msgspec.MsgspecError as exc:
        raise InvalidLine(f"{line[:80]!r}: {exc}") from exc


def _draft(raw: dict[str, Any]) -> EventDraft:
    details = {name: value for name, value in raw.items() if value is not None}
    text = str(details.pop("text"))
    if "occurred_at" in details:
        details["occurred_at"] = datetime.fromisoformat(details["occurred_at"])
    return describe(text, details)
