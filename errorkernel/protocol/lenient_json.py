"""Lenient decoding of common JSON mistakes (byte order mark, lone surrogates).

It is tried only on what the strict decoder has refused, so valid JSON costs nothing more.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")
BOM = b"\xef\xbb\xbf"
UNREADABLE = (msgspec.DecodeError, RecursionError, OverflowError, ValueError)
"""What a decoder raises for bytes that it cannot read."""

# Up to the next surrogate that stands alone, or to the end. Escapes are taken one by one, so that the second of two
# backslashes begins none, and a pair of surrogates at once. Possessive, and matching wherever it starts: linear.
_TO_LONE = re.compile(
    rb"((?:[^\\]++|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F][0-9a-fA-F]{2}).)*+)"
    rb"(\\u....|\\?\Z)",
    re.DOTALL,
)


def decode(decoder: Callable[[bytes], T], data: bytes) -> T:
    """What ``decoder`` reads in ``data``, mended if need be. Raises what it raises."""
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
    """``data`` without a byte order mark, and with U+FFFD for each surrogate that stands alone.

    Such are what Python's ``json.dumps`` makes of a file name that is not UTF-8 (``surrogateescape``).
    """
    return _TO_LONE.sub(_replaced, data.removeprefix(BOM))


def _replaced(part: re.Match[bytes]) -> bytes:
    return part[1] + rb"\ufffd" if len(part[2]) > 1 else part[0]
