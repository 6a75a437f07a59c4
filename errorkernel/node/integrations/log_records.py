"""Turns log records into events. Nothing here raises for the contents of a record: faults become part of the event.

A record below ERROR becomes an info with the level of the record: a ``logging`` warning says that the program still
works, and an overflowing backlog drops infos first. ERROR and CRITICAL become errors.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from errorkernel.domain.values import EventType, Level
from errorkernel.node.reporting import tracebacks
from errorkernel.node.reporting.event_builder import EventDraft, describe, process_name

PROCESS, MESSAGE, FINGERPRINT = "ek_process", "ek_message", "ek_fingerprint"
"""Keys of ``extra`` for the event itself; all other keys become tags."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", PROCESS, MESSAGE, FINGERPRINT}
_LEVELS = (
    (logging.CRITICAL, Level.CRITICAL),
    (logging.ERROR, Level.ERROR),
    (logging.WARNING, Level.WARNING),
    (logging.INFO, Level.INFO),
)


def type_of(record: logging.LogRecord) -> EventType:
    return EventType.ERROR if record.levelno >= logging.ERROR else EventType.INFO


def exception_of(record: logging.LogRecord) -> BaseException | None:
    """The exception of the record, if any."""
    found = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return found if isinstance(found, BaseException) else None


def process_of(record: logging.LogRecord) -> str:
    """The process that ``extra`` names, or an empty string."""
    try:
        return process_name(safe_str(getattr(record, PROCESS, "") or ""))
    except ValueError:
        return ""


def draft_of(record: logging.LogRecord) -> EventDraft:
    """Draft the event, in the thread of the caller: arguments may change later, and frames must not be kept."""
    text, fault = _text(record)
    exc = exception_of(record)
    details: dict[str, Any] = {
        "level": next((level for number, level in _LEVELS if record.levelno >= number), Level.DEBUG),
        "kind": fault or (type(exc).__name__ if exc else ""),
        "stack": _stack(record, exc),
        "occurred_at": datetime.fromtimestamp(record.created, UTC),
        "tags": _tags(record),
        "fingerprint": _fingerprint(record, exc),
    }
    if given := getattr(record, MESSAGE, None):
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


def _tags(record: logging.LogRecord) -> dict[str, str]:
    extra = {safe_str(name): safe_str(value) for name, value in list(vars(record).items()) if name not in _OWN}
    return {"logger": safe_str(record.name), **extra}


def _fingerprint(record: logging.LogRecord, exc: BaseException | None) -> list[str]:
    if given := getattr(record, FINGERPRINT, None):
        return (
            [safe_str(given)]
            if isinstance(given, str) or not hasattr(given, "__iter__")
            else [safe_str(p) for p in given]
        )
    # Records with the same text before formatting are the same.
    if record.args and isinstance(record.msg, str):
        return [safe_str(record.name), record.msg, *([type(exc).__name__] if exc else [])]
    return []
