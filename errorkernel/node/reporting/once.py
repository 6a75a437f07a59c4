"""One failure, one report: of ``reports``, log records and hooks, the first that an exception meets tells it.

The mark is on the exception itself, so it goes when the exception goes. An object that a program keeps and raises again
and again is thereby told once; who wants it told each time says ``kernel.error``, which asks nobody.
"""

import contextlib

_MARK = "__errorkernel_reported__"


def mark(error: object) -> None:
    """This one has been reported."""
    if isinstance(error, BaseException):
        with contextlib.suppress(Exception):  # one that takes no attributes may be told twice
            setattr(error, _MARK, True)


def is_marked(error: BaseException) -> bool:
    return _MARK in getattr(error, "__dict__", ())
