"""Log records of structlog and loguru, as ``logging`` would have made them: the message, its fields, its exception.

Both hand the rest of the program records whose message is not what was logged. structlog: a mapping
(``ProcessorFormatter.wrap_for_formatter``), or that mapping as JSON (``JSONRenderer``). loguru: its formatted line,
with the traceback below it, and the fields as one attribute.

Sources: https://www.structlog.org/en/stable/standard-library.html, https://loguru.readthedocs.io/en/stable/api/logger.html
"""

import ast
import copy
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

EVENT = "event"
FIELDS = "ek_fields"
"""Attribute of the record: its fields that cannot be attributes, since ``logging`` has one of that name."""
TEXT_MAX_CHARS = 65_536
_CAUSES = ("error", "err", "exc", "exception", "reason", "cause")
_RECORDED = frozenset({EVENT, "level", "logger", "timestamp", "exc_info", "exception", "stack", "stack_info"})
"""Fields of the record itself: no tags."""
_LOGURU_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| [A-Za-z]+ *\| [^\s|]*:[^\s|]*:\d+ - ")
"""loguru's default format."""
_TRACE = "\nTraceback (most recent call last):"


def normalize(record: logging.LogRecord) -> logging.LogRecord:
    """The record itself, or one with what was logged in its places. May raise for hostile contents."""
    if isinstance(getattr(record, "extra", None), Mapping):
        return _of_loguru(record)
    message, trace = record.msg, ""
    if isinstance(message, str):
        # ``QueueHandler`` has put the traceback below the message.
        message, found, rest = message.partition(_TRACE)
        trace = found.lstrip("\n") + rest
    fields = None if record.args else _mapping_of(message)
    return record if fields is None else _of_structlog(record, fields, trace)


def causes_of(record: logging.LogRecord) -> list[Any]:
    """Fields that say what went wrong: ``log.error("job failed", error="no route")`` is not every failed job."""
    fields = getattr(record, FIELDS, None) or {}
    return [fields[name] for name in _CAUSES if name in fields]


def _mapping_of(message: Any) -> Mapping[str, Any] | None:
    """The mapping, also as JSON, and as Python shows it (``QueueHandler`` makes a text of every message)."""
    if isinstance(message, str):
        if not (message.startswith("{") and EVENT in message and len(message) <= TEXT_MAX_CHARS):
            return None
        try:
            message = json.loads(message) if message.startswith('{"') else ast.literal_eval(message)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return message if isinstance(message, Mapping) and EVENT in message else None


def _of_structlog(record: logging.LogRecord, fields: Mapping[str, Any], trace: str) -> logging.LogRecord:
    found = _copy(record, fields[EVENT], {name: value for name, value in fields.items() if name not in _RECORDED})
    found.__dict__.pop("_logger", None)
    found.__dict__.pop("_name", None)
    if not record.exc_info:
        found.exc_info = _exc_info(fields.get("exc_info"))
    if not found.exc_info and not record.exc_text:
        found.exc_text = trace or _trace(fields.get("exception"))
    if not record.stack_info:
        found.stack_info = fields.get("stack")
    return found


def _of_loguru(record: logging.LogRecord) -> logging.LogRecord:
    text = _LOGURU_LINE.sub("", str(record.msg), count=1)
    if record.exc_info:
        # Ours is rendered from the exception: loguru's shows the values of variables.
        text = text.partition(_TRACE)[0]
    found = _copy(record, text.rstrip("\n"), getattr(record, "extra", {}))
    found.__dict__.pop("extra", None)
    if found.exc_text and not found.exc_text.strip():
        found.exc_text = None
    return found


def _copy(record: logging.LogRecord, message: Any, fields: Mapping[str, Any]) -> logging.LogRecord:
    found = copy.copy(record)
    found.msg, found.args = message, None
    setattr(found, FIELDS, dict(fields))
    return found


def _exc_info(given: Any) -> Any:
    if given is True:
        given = sys.exc_info()  # still in the thread of the caller
    if isinstance(given, BaseException):
        return (type(given), given, given.__traceback__)
    return given if isinstance(given, tuple) and len(given) == 3 and given[1] is not None else None


def _trace(given: Any) -> str | None:
    """``format_exc_info`` gives a text, ``dict_tracebacks`` a list: the outermost exception is first."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given or not isinstance(given[0], Mapping):
        return None
    lines = [_TRACE.strip()]
    for frame in given[0].get("frames") or ():
        lines.append(f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}')
    return "\n".join([*lines, f"{given[0].get('exc_type')}: {given[0].get('exc_value')}"])
