"""Builds events from a program's exception or text and its details.

Everything over its limit is cut here, before it is written, and marked as cut: no event is lost for its size. Nothing
here raises for the contents of an exception, only for wrong arguments (ValueError, TypeError).
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

from errorkernel.domain.limits import (
    DEADLINE_MAX_S,
    FINGERPRINT_PARTS_MAX,
    PROCESS_NAME_MAX_CHARS,
    SHORT_TEXT_MAX_CHARS,
    Limits,
)
from errorkernel.domain.values import Event, EventType, Level, Message, OnDeadline
from errorkernel.node.reporting import tracebacks

LIMITS = Limits()
_MARK_BYTES = 40


class Details(TypedDict, total=False):
    """The details of any event. ``message``: the message in progress, or a mapping with its fields."""

    level: Level | str
    message: Message | Mapping[str, Any] | None
    kind: str
    stack: str
    tags: Mapping[str, Any]
    fingerprint: Sequence[str]
    occurred_at: datetime
    relay_from_node: str


class AskDetails(Details, total=False):
    """The details of an incident. ``on_deadline``: the action ``deadline_s`` seconds after it was received."""

    deadline_s: float | None
    on_deadline: OnDeadline | str


_DETAILS = frozenset(AskDetails.__annotations__)


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event without identity, in plain values; a supervised child sends it to its supervisor in this form."""

    text: str
    kind: str = ""
    stack: str = ""
    level: Level | None = None
    message: Message | None = None
    tags: dict[str, str] = field(default_factory=dict)
    fingerprint: tuple[str, ...] = ()
    occurred_at: datetime | None = None
    relay_from_node: str = ""
    deadline_s: float | None = None
    on_deadline: OnDeadline = OnDeadline.ESCALATE


def describe(error: BaseException | str, details: Mapping[str, Any]) -> EventDraft:
    """Draft an event: take kind, text and stack from an exception, check the details, cut what is too long.

    ``details``: those of ``AskDetails``. Raises ValueError, TypeError.
    """
    if unknown := details.keys() - _DETAILS:
        raise TypeError(f"An event has no {', '.join(sorted(unknown))}.")
    text, kind, stack = _of_exception(error) if isinstance(error, BaseException) else (str(error), "", "")
    kind = details.get("kind") or kind
    level = details.get("level")
    deadline_s = details.get("deadline_s")
    if deadline_s is not None and not 0 < deadline_s <= DEADLINE_MAX_S:
        raise ValueError(f"A deadline is more than 0 and at most {DEADLINE_MAX_S} seconds.")
    occurred_at = details.get("occurred_at") or datetime.now(UTC)
    return EventDraft(
        text=cut(text or kind or "(no text)", LIMITS.text_bytes),
        kind=_short(kind),
        stack=cut_middle(details.get("stack") or stack, LIMITS.stack_bytes),
        level=Level(level) if level else None,
        message=_message(details.get("message")),
        tags=_tags(details.get("tags") or {}),
        fingerprint=tuple(_short(part) for part in list(details.get("fingerprint") or ())[:FINGERPRINT_PARTS_MAX]),
        # A time without zone is local time, as everywhere in Python.
        occurred_at=occurred_at.astimezone(UTC),
        relay_from_node=_short(details.get("relay_from_node") or ""),
        deadline_s=deadline_s,
        on_deadline=OnDeadline(details.get("on_deadline") or OnDeadline.ESCALATE),
    )


def build_event(draft: EventDraft, event_id: UUID, kind: EventType, process: str, incarnation: int) -> Event:
    """The draft as an event of ``process``."""
    default = Level.INFO if kind is EventType.INFO else Level.ERROR
    return Event(
        id=event_id,
        type=kind,
        level=draft.level or default,
        process=process,
        text=draft.text,
        kind=draft.kind,
        stack=draft.stack,
        incarnation=incarnation,
        message=draft.message,
        relay_from_node=draft.relay_from_node,
        occurred_at=draft.occurred_at,
        fingerprint=draft.fingerprint,
        tags=draft.tags,
        deadline_s=draft.deadline_s,
        on_deadline=draft.on_deadline,
    )


def process_name(name: str) -> str:
    """A process name within the contract's limits. Raises ValueError for a blank one."""
    name = _clean(name)[:PROCESS_NAME_MAX_CHARS]
    if not name.strip():
        raise ValueError(f"A process has a name of 1 to {PROCESS_NAME_MAX_CHARS} characters.")
    return name


def cut(text: str, limit_bytes: int) -> str:
    """At most ``limit_bytes`` of UTF-8; a mark at the end says how much was cut."""
    data = _encode(text)
    if len(data) <= limit_bytes:
        return data.decode()
    kept = max(0, limit_bytes - _MARK_BYTES)
    return f"{data[:kept].decode(errors='ignore')} … [{len(data) - kept} bytes cut]"


def cut_middle(text: str, limit_bytes: int) -> str:
    """As ``cut``, keeping both ends: a traceback starts with the place and ends with the error."""
    data = _encode(text)
    if len(data) <= limit_bytes:
        return data.decode()
    kept = max(0, limit_bytes - _MARK_BYTES)
    head, tail = data[: kept // 3], data[len(data) - (kept - kept // 3) :]
    mark = f"\n… [{len(data) - kept} bytes cut] …\n"
    return head.decode(errors="ignore") + mark + tail.decode(errors="ignore")


def _of_exception(error: BaseException) -> tuple[str, str, str]:
    text, stack = "", ""
    # The exception's own __str__ may fail, and so may objects in its frames.
    with contextlib.suppress(Exception):
        text = str(error)
    if error.__traceback__ or error.__cause__ or error.__context__:
        with contextlib.suppress(Exception):
            stack = tracebacks.render(error)
    return text, type(error).__name__, stack


def _message(given: Message | Mapping[str, Any] | None) -> Message | None:
    if given is None:
        return None
    names = Message.__struct_fields__
    raw = {name: getattr(given, name) for name in names} if isinstance(given, Message) else dict(given)
    unknown = raw.keys() - set(names)
    if unknown:
        raise TypeError(f"A message has no {', '.join(sorted(map(str, unknown)))}.")
    texts = {key: _text(value) for key, value in raw.items() if value is not None}
    data = cut(texts.pop("data", ""), LIMITS.data_bytes)
    return Message(**{key: _short(value) for key, value in texts.items()}, data=data)


def _tags(given: Mapping[str, Any]) -> dict[str, str]:
    pairs = list(given.items())[: LIMITS.tags]
    return {_clean(str(key))[: LIMITS.tag_chars]: _clean(_text(value))[: LIMITS.tag_chars] for key, value in pairs}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _short(text: str) -> str:
    return _clean(text)[:SHORT_TEXT_MAX_CHARS]


def _clean(text: str) -> str:
    return _encode(text).decode()


def _encode(text: str) -> bytes:
    # Lone surrogates (of file names that are not UTF-8) cannot be encoded; they are escaped.
    return text.encode("utf-8", "backslashreplace")
