"""Turns log records into events. Nothing here raises for the contents of a record: faults become part of the event.

A record below ERROR becomes an info with the level of the record: a ``logging`` warning says that the program still
works, and an overflowing backlog drops infos first. ERROR and CRITICAL become errors.
"""

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from errorkernel.domain import crash_text
from errorkernel.domain.fingerprint.masks import mask
from errorkernel.domain.values import EventType, Level
from errorkernel.node.integrations import structured_logs
from errorkernel.node.reporting import tracebacks
from errorkernel.node.reporting.event_builder import EventDraft, describe, process_name

PROCESS, MESSAGE, FINGERPRINT = "ek_process", "ek_message", "ek_fingerprint"
"""Keys of ``extra`` for the event itself; all other keys become tags."""

_ABOUT_EVENT = frozenset({PROCESS, MESSAGE, FINGERPRINT})
_OWN = frozenset(vars(logging.makeLogRecord({}))) | _ABOUT_EVENT | {
    "message", "asctime", "taskName", structured_logs.FIELDS,
}  # fmt: skip
_TRACE = "Traceback (most recent call last):"
_PLACEHOLDER = re.compile(r"%(?:\(\w*\))?[-#0 +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z%]")
_WORD = re.compile(r"[^\W\d_]{3}")
_CAUSE_AT_END = re.compile(r"[:=>–—-]\s*[\"'(\[]?%(?:\(\w*\))?[sra][\"')\].!]*\s*$")
_CAUSES_MAX = 8
_CAUSE_CHARS = 200
_LEVELS = (
    (logging.CRITICAL, Level.CRITICAL),
    (logging.ERROR, Level.ERROR),
    (logging.WARNING, Level.WARNING),
    (logging.INFO, Level.INFO),
)


def normalize(record: logging.LogRecord) -> logging.LogRecord:
    """The logged message, exception and tags, also where structlog or loguru made the record."""
    try:
        return structured_logs.normalize(record)
    except Exception:
        return record


def type_of(record: logging.LogRecord) -> EventType:
    return EventType.ERROR if record.levelno >= logging.ERROR else EventType.INFO


def exception_of(record: logging.LogRecord) -> BaseException | None:
    """The exception of the record, if any."""
    found = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return found if isinstance(found, BaseException) else None


def process_of(record: logging.LogRecord) -> str:
    """The process that ``extra`` names, or an empty string."""
    try:
        return process_name(safe_str(_own(record, PROCESS) or ""))
    except ValueError:
        return ""


def draft_of(record: logging.LogRecord) -> EventDraft:
    """Draft the event, in the thread of the caller: arguments may change later, and frames must not be kept."""
    text, fault = _text(record)
    exc = exception_of(record)
    text, shown_trace = (text, "") if exc else _split_trace(record, text)
    details: dict[str, Any] = {
        "level": next((level for number, level in _LEVELS if record.levelno >= number), Level.DEBUG),
        "kind": fault or (type(exc).__name__ if exc else crash_text.read(shown_trace).kind if shown_trace else ""),
        "stack": shown_trace or _stack(record, exc),
        "occurred_at": datetime.fromtimestamp(record.created, UTC),
        "tags": _tags(record),
        "fingerprint": _fingerprint(record, exc),
    }
    if given := _own(record, MESSAGE):
        try:
            return describe(text, {**details, "message": given})
        except Exception as failure:
            details["tags"] = {MESSAGE: f"cannot be used: {safe_str(failure)}", **details["tags"]}
    return describe(text, details)


def safe_str(value: Any) -> str:
    """``str(value)``; never raises."""
    try:
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    except Exception as failure:
        return f"({type(value).__name__} cannot be shown: {type(failure).__name__})"


def _text(record: logging.LogRecord) -> tuple[str, str]:
    """The text, and the kind of the fault, if the record cannot be formatted."""
    try:
        return str(record.getMessage()), ""
    except Exception as failure:
        where = f"{record.pathname}:{record.lineno}"
        return (
            f"A log record of {where} cannot be formatted ({safe_str(failure)}): {safe_str(record.msg)}",
            "BadLogRecord",
        )


def _stack(record: logging.LogRecord, exc: BaseException | None) -> str:
    parts = []
    if exc is not None:
        try:
            parts.append(tracebacks.render(exc))
        except Exception as failure:
            parts.append(f"(the traceback cannot be shown: {type(failure).__name__})")
    if record.stack_info:
        parts.append(safe_str(record.stack_info))
    return "\n".join(parts)


def _split_trace(record: logging.LogRecord, text: str) -> tuple[str, str]:
    """The text, and the trace of an exception that is there as text alone (``QueueHandler`` appends it)."""
    head, found, rest = text.partition(f"\n{_TRACE}")
    if found:
        return head, f"{_TRACE}{rest}"
    return text, safe_str(getattr(record, "exc_text", None) or "").strip()


def _own(record: logging.LogRecord, name: str) -> Any:
    """What ``extra`` says about the event itself, or a field of structlog or loguru."""
    fields = getattr(record, structured_logs.FIELDS, None) or {}
    return fields.get(name) or getattr(record, name, None)


def _tags(record: logging.LogRecord) -> dict[str, str]:
    extra = {safe_str(name): safe_str(value) for name, value in list(vars(record).items()) if name not in _OWN}
    fields = getattr(record, structured_logs.FIELDS, None) or {}
    more = {safe_str(name): safe_str(value) for name, value in fields.items() if name not in _ABOUT_EVENT}
    return {"logger": safe_str(record.name), **extra, **more}


def _fingerprint(record: logging.LogRecord, exc: BaseException | None) -> list[str]:
    if given := _own(record, FINGERPRINT):
        return (
            [safe_str(given)]
            if isinstance(given, str) or not hasattr(given, "__iter__")
            else [safe_str(p) for p in given]
        )
    # Records with the same text before formatting are the same, unless that text leaves the cause to its arguments.
    if record.args and isinstance(record.msg, str):
        kind = [type(exc).__name__] if exc else []
        return [safe_str(record.name), record.msg, *kind, *_causes(record.msg, record.args)]
    if causes := structured_logs.causes_of(record):
        kind = [type(exc).__name__] if exc else []
        return [safe_str(record.name), mask(safe_str(record.msg)), *kind, *map(_cause, causes)]
    return []


def _causes(template: str, args: Any) -> list[str]:
    """The arguments that say what went wrong, masked.

    Exceptions; all of ``"%s"``; the last of ``"job %s failed: %s"``.
    """
    values = list(args.values()) if isinstance(args, Mapping) else list(args)
    is_generic = not _WORD.search(_PLACEHOLDER.sub("", template))
    last = len(values) - 1 if _CAUSE_AT_END.search(template) else -1
    causes = []
    for number, value in enumerate(values[:_CAUSES_MAX]):
        if isinstance(value, BaseException) or is_generic or number == last:
            causes.append(_cause(value))
    return causes


def _cause(value: Any) -> str:
    return f"{type(value).__name__}: {_masked(value)}" if isinstance(value, BaseException) else _masked(value)


def _masked(value: Any) -> str:
    return mask(safe_str(value))[:_CAUSE_CHARS]
