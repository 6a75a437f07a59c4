"""What a supervised process and its supervisor say to each other: JSON lines over a socket that the child inherits.

The child speaks (``Say``, ``WentOn``, ``Told``), the supervisor answers (``Noted``, ``Refused``, ``Answer``);
``number`` ties an answer to what it answers, so that several threads of the child may speak at once. ``Work`` comes
first, to a child that is a Python function. Whatever comes from a child is checked and cut here like anything else
that is reported: it need not have been written by our own module.
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
from errorkernel.node.reporting.event_builder import Report, describe

T = TypeVar("T")

FD = "STEWARD_WORKER_FD"
NODE = "STEWARD_WORKER_NODE"
PROCESS = "STEWARD_WORKER_PROCESS"
INCARNATION = "STEWARD_WORKER_INCARNATION"
LIFE = "STEWARD_WORKER_LIFE"
"""A mark that all descendants of one incarnation inherit: by it those that left its process group are found."""
LINE_MAX_BYTES = 4 * 1024 * 1024


class Nonsense(NodeError):
    """A line that is none of these messages."""


@dataclass(frozen=True, slots=True)
class Say:
    """A report; of type ``action``, it is a question, and the child waits for its ``Answer``."""

    number: int
    type: EventType
    report: Report


@dataclass(frozen=True, slots=True)
class WentOn:
    """The child has the answer *continue* and goes on: only now has it been applied."""

    number: int


@dataclass(frozen=True, slots=True)
class Told:
    """The child is about to end for a reason that it has reported itself."""


@dataclass(frozen=True, slots=True)
class Noted:
    """The report is in the journal."""

    number: int
    id: UUID


@dataclass(frozen=True, slots=True)
class Refused:
    """The report could not be written down."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    action: Action


@dataclass(frozen=True, slots=True)
class Work:
    """``call``: pickled (function, args); ``preparation``: pickled, what ``multiprocessing`` prepares a child with."""

    call: bytes
    preparation: bytes
    on_exception: str
    python_path: str | None


FromChild = Say | WentOn | Told
ToChild = Noted | Refused | Answer | Work

_WORDS = {
    Say: "say", WentOn: "went_on", Told: "told", Noted: "noted", Refused: "refused", Answer: "answer", Work: "work",
}  # fmt: skip


def encode(message: FromChild | ToChild) -> bytes:
    """One line, with its end."""
    return json.dumps({"do": _WORDS[type(message)], **asdict(message)}, default=_plain).encode() + b"\n"


def decode_from_child(line: bytes) -> FromChild:
    """Raises Nonsense."""
    return _decode(line, _FROM_CHILD)


def decode_to_child(line: bytes) -> ToChild:
    """Raises Nonsense."""
    return _decode(line, _TO_CHILD)


def _plain(value: object) -> object:
    if isinstance(value, Message):
        return {name: getattr(value, name) for name in Message.__struct_fields__}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _decode(line: bytes, readers: Mapping[str, Callable[[dict[str, Any]], T]]) -> T:
    try:
        raw = json.loads(line)
        return readers[raw["do"]](raw)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        raise Nonsense(f"{line[:80]!r}: {type(exc).__name__}: {exc}") from exc


def _report(raw: dict[str, Any]) -> Report:
    details = {name: value for name, value in raw.items() if value is not None}
    text = str(details.pop("text"))
    if "occurred_at" in details:
        details["occurred_at"] = datetime.fromisoformat(details["occurred_at"])
    return describe(text, details)


_FROM_CHILD: dict[str, Callable[[dict[str, Any]], FromChild]] = {
    "say": lambda raw: Say(int(raw["number"]), EventType(raw["type"]), _report(raw["report"])),
    "went_on": lambda raw: WentOn(int(raw["number"])),
    "told": lambda raw: Told(),
}
_TO_CHILD: dict[str, Callable[[dict[str, Any]], ToChild]] = {
    "noted": lambda raw: Noted(int(raw["number"]), UUID(raw["id"])),
    "refused": lambda raw: Refused(int(raw["number"]), str(raw["reason"])),
    "answer": lambda raw: Answer(int(raw["number"]), Action(raw["action"])),
    "work": lambda raw: Work(
        base64.b64decode(raw["call"]),
        base64.b64decode(raw["preparation"]),
        str(raw["on_exception"]),
        raw["python_path"],
    ),
}
