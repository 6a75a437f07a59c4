"""Decodes the subset of CBOR that Steward messages use.

cbor2 supports shared references (and so cycles), regular expressions and decimals with exponents of billions, and
ignores trailing bytes. No message contains these, so the bytes are first checked without creating objects. Allowed are
integers, texts, bytes, lists, maps with text keys, true, false and null, all with explicit lengths.
"""

from typing import Any

import cbor2

from errorkernel.protocol.errors import ProtocolError

DEPTH_MAX = 32
ITEMS_MAX = 16_384

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_SIMPLE = {0xF4, 0xF5, 0xF6}
"""False, true and null."""


def decode(data: bytes) -> Any:
    """The one item in ``data``, whose length the caller bounds. Raises ProtocolError (``not_cbor``, ``too_…``)."""
    _look_over(data)
    try:
        return cbor2.loads(data, str_errors="replace", max_depth=DEPTH_MAX + 1, allow_indefinite=False)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise ProtocolError("not_cbor", str(exc)) from None


def encode(value: Any) -> bytes:
    return cbor2.dumps(value)


def _look_over(data: bytes) -> None:
    at, end, items = 0, len(data), 0
    # For each open list, the number of items to come; for a map, twice as many and a mark, because keys are checked.
    open_lists: list[int] = []
    open_maps: list[bool] = []
    left, in_map = 1, False
    while True:
        while left == 0:
            if not open_lists:
                if at != end:
                    raise ProtocolError("not_cbor", "Something follows the message.")
                return
            left, in_map = open_lists.pop(), open_maps.pop()
        major, number, at = _head(data, at, end)
        items += 1
        if in_map and left % 2 == 0 and major != _TEXT:
            raise ProtocolError("not_cbor", "A map has a key that is no text.")
        left -= 1
        if major in (_BYTES, _TEXT):
            at += number
            if at > end:
                raise _torn()
        elif major in (_LIST, _MAP):
            inside = number * (2 if major == _MAP else 1)
            # Each item has at least a byte.
            if inside > end - at:
                raise _torn()
            if items + inside > ITEMS_MAX:
                raise ProtocolError("too_many", f"The message holds more than {ITEMS_MAX} things.")
            if len(open_lists) == DEPTH_MAX:
                raise ProtocolError("too_deep", f"The message is nested more than {DEPTH_MAX} deep.")
            open_lists.append(left)
            open_maps.append(in_map)
            left, in_map = inside, major == _MAP


def _head(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(major type, number or length, start of its content)."""
    if at >= end:
        raise _torn()
    first = data[at]
    major, number = first >> 5, first & 31
    at += 1
    if major >= _TAG:
        if first not in _SIMPLE:
            raise ProtocolError(
                "not_cbor", f"Byte {first:#04x} begins a tag, a float or an unknown type: no message has one."
            )
        return major, 0, at
    if number < 24:
        return major, number, at
    size = 1 << number - 24
    if number > 27 or at + size > end:
        raise _torn()
    return major, int.from_bytes(data[at : at + size]), at + size


def _torn() -> ProtocolError:
    return ProtocolError("not_cbor", "The message is incomplete, or a length in it is wrong or not given in front.")
