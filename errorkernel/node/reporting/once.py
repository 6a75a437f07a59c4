"""One failure, one event: the first of ``reports``, log records and hooks that sees an exception reports it.

The mark is an attribute of the exception, so it exists as long as the exception. An exception object that a program
keeps and raises repeatedly is reported once; ``kernel.error`` ignores the mark and reports it each time.
"""

import contextlib

_MARK = "__errorkernel_reported__"


def mark(error: object) -> None:
    """Mark this exception as reported."""
    if isinstance(error, BaseException):
        with contextlib.suppress(Exception):  # one that takes no attributes may be reported twice
            setattr(error, _MARK, True)


def is_marked(error: BaseException) -> bool:
    return _MARK in getattr(error, "__dict__", ())
