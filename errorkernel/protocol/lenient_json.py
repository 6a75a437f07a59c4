"""Lenient decoding of common JSON mistakes (byte order mark, lone surrogates).

It is tried only after the strict decoder has failed, so valid JSON costs nothing more.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")
BOM = b"\xef\xbb\xbf"
UNREADABLE = (msgspec.DecodeError, RecursionError, OverflowError, ValueError)
"""Exceptions of a decoder for bytes that it cannot read."""

# Up to the next lone surrogate, or to the end. Escapes are matched one by one, so that the second of two backslashes
# begins none, and a surrogate pair at once. Possessive, and matching wherever it starts: linear.
_TO_LONE = re.compile(
    rb"((?:[^\\]++|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F][0-9a-fA-F]{2}).)*+)"
    rb"(\\u....|\\?\Z)",
    re.DOTALL,
)


def decode(decoder: Callable[[bytes], T], data: bytes) -> T:
    """Decode ``data``, repaired if necessary. Raises the exceptions of ``decoder``."""
    try:
        return decoder(data)
    except msgspec.ValidationError:
        raise
    except UNREADABLE:
        repaired = repair(data)
        if repaired == data:
            raise
        return decoder(repaired)


def repair(data: bytes) -> bytes:
    """``data`` without a byte order mark, and with U+FFFD for each lone surrogate.

    Python's ``json.dumps`` makes such surrogates of a file name that is not UTF-8 (``surrogateescape``).
    """
    return _TO_LONE.sub(_replaced, data.removeprefix(BOM))


def _replaced(part: re.Match[bytes]) -> bytes:
    return part[1] + rb"\ufffd" if len(part[2]) > 1 else part[0]
