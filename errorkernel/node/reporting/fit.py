"""Encodes an event within the size limit of the contract, however large it is."""

from typing import Any, TypeVar

from errorkernel.domain.values import Event, Message
from errorkernel.node.reporting.event_builder import LIMITS, cut, cut_middle
from errorkernel.protocol import json_codec

T = TypeVar("T", Event, Message)
_STEPS = 12


def fit(event: Event) -> bytes:
    """Encode an event; shorten its longest part until the whole is within the limit.

    Each part is within its own limit, but together, and with JSON escapes, they may exceed the limit of the event.
    """
    for _ in range(_STEPS):
        data = json_codec.encode_event(event)
        if len(data) <= LIMITS.event_bytes:
            return data
        event = _shorter(event)
    # Not reached by texts: halving the longest of three often enough leaves nothing to cut.
    return json_codec.encode_event(_with(event, text=cut(event.text, 1000), stack="", message=None, tags={}))


def _shorter(event: Event) -> Event:
    message = event.message or Message()
    sizes = {"stack": len(event.stack.encode()), "data": len(message.data.encode()), "text": len(event.text.encode())}
    longest = max(sizes, key=lambda name: sizes[name])
    half = sizes[longest] // 2
    if longest == "data":
        return _with(event, message=_with(message, data=cut(message.data, half)))
    if longest == "stack":
        return _with(event, stack=cut_middle(event.stack, half))
    return _with(event, text=cut(event.text, half))


def _with(value: T, **changes: Any) -> T:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return type(value)(**{**fields, **changes})
