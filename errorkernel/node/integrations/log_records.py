"""A log record → a report. Nothing here raises for what a record holds: what cannot be shown is said to be so.

Below ERROR it becomes an info with the record's level: that is what ``logging`` means by a warning (it works as
expected, still), and a journal that overflows drops infos first. ERROR and CRITICAL become errors.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from errorkernel.domain.values import EventType, Level
from errorkernel.node.reporting import tracebacks
from errorkernel.node.reporting.event_builder import Report, describe, process_name

PROCESS, MESSAGE, FINGERPRINT = "ek_process", "ek_message", "ek_fingerprint"
"""What ``extra`` may say about the report itself; everything else in it becomes a tag."""

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
    """The one that it was logged with, if any."""
    found = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return found if isinstance(found, BaseException) else None


def process_of(record: logging.LogRecord) -> str:
    """The process that ``extra`` names, or nothing."""
    try:
        return process_name(shown(getattr(record, PROCESS, "") or ""))
    except ValueError:
        return ""


def report_of(record: logging.LogRecord) -> Report:
    """Taken at once, in the caller's thread: arguments may change, and frames must not be held."""
    text, wrong = _text(record)
    exc = exception_of(record)
    details: dict[str, Any] = {
        "level": next((level for number, level in _LEVELS if record.levelno >= number), Level.DEBUG),
        "kind": wrong or (type(exc).__name__ if exc else ""),
        "stack": _stack(record, exc),
        "occurred_at": datetime.fromtimestamp(record.created, UTC),
        "tags": _tags(record),
        "fingerprint": _fingerprint(record, exc),
    }
    if given := getattr(record, MESSAGE, None):
        try:
            return describe(text, {**details, "message": given})
        except Exception as failed:
            details["tags"] = {MESSAGE: f"cannot be used: {shown(failed)}", **details["tags"]}
    return describe(text, details)


def shown(value: Any) -> str:
    """``str(value)``, whatever its own code does."""
    try:
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    except Exception as failed:
        return f"({type(value).__name__} cannot be shown: {type(failed).__name__})"


def _text(record: logging.LogRecord) -> tuple[str, str]:
    """(text, the kind of what went wrong when it was made)"""
    try:
        return str(record.getMessage()), ""
    except Exception as failed:
        where = f"{record.pathname}:{record.lineno}"
        return f"A log record of {where} cannot be formatted ({shown(failed)}): {shown(record.msg)}", "BadLogRecord"


def _stack(record: logging.LogRecord, exc: BaseException | None) -> str:
    parts = []
    if exc is not None:
        try:
            parts.append(tracebacks.render(exc))
        except Exception as failed:
            parts.append(f"(the traceback cannot be shown: {type(failed).__name__})")
    if record.stack_info:
        parts.append(shown(record.stack_info))
    return "\n".join(parts)


def _tags(record: logging.LogRecord) -> dict[str, str]:
    extra = {shown(name): shown(value) for name, value in list(vars(record).items()) if name not in _OWN}
    return {"logger": shown(record.name), **extra}


def _fingerprint(record: logging.LogRecord, exc: BaseException | None) -> list[str]:
    if given := getattr(record, FINGERPRINT, None):
        return [shown(given)] if isinstance(given, str) or not hasattr(given, "__iter__") else [shown(p) for p in given]
    # With arguments, the text without them is what makes two records the same.
    if record.args and isinstance(record.msg, str):
        return [shown(record.name), record.msg, *([type(exc).__name__] if exc else [])]
    return []
