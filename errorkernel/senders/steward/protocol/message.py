"""A message of Steward or ctrl: bytes ⇄ value, in each of its formats and layouts.

Decoding any bytes gives a StewardMessage or raises ProtocolError. An encoded message has exactly the elements of its
layout: in CBOR a node requires its own number of elements.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import cbor, gob
from errorkernel.senders.steward.protocol.envelope import Format
from errorkernel.senders.steward.protocol.layout import (
    ATTRIBUTES,
    FAMILY_ELEMENT,
    KEYS,
    LAYOUT_OF_FIELDS,
    LAYOUTS,
    STEWARD,
    StewardMessage,
)

PREVIOUS_MAX = 8
"""Nesting of a message and the messages that it replies to; two occur in practice."""

_MESSAGE, _NODES, _STRINGS, _INTS = range(64, 68)
_KINDS = {
    "ToNodes": _NODES,
    "MethodArgs": _STRINGS,
    "ReplyMethodArgs": _STRINGS,
    "MethodInstructions": _STRINGS,
    "ReplyMethodInstructions": _STRINGS,
    "Schedule": _INTS,
    "PreviousMessage": _MESSAGE,
    "Data": gob.BYTES,
    "ArgSignature": gob.BYTES,
    "IsReply": gob.BOOL,
    "IsSubPublishedMsg": gob.BOOL,
    "UseDetectedShell": gob.BOOL,
    **dict.fromkeys(("ID", "ACKTimeout", "RetryWait", "Retries", "ReplyACKTimeout", "ReplyRetries"), gob.INT),
    **dict.fromkeys(("MethodTimeout", "ReplyMethodTimeout"), gob.INT),
}
"""Types of the fields in gob; fields that are not listed are texts."""
_SLICES: dict[int, gob.Type] = {
    _NODES: gob.Slice("[]Node", gob.STRING),
    _STRINGS: gob.Slice("[]string", gob.STRING),
    _INTS: gob.Slice("[]int", gob.INT),
}

_from_json = msgspec.json.Decoder(StewardMessage)
_to_json = msgspec.json.Encoder()


class Decoded(msgspec.Struct, frozen=True):
    """``layout`` is a name of LAYOUTS; empty for a set of named fields that none of them has."""

    message: StewardMessage
    layout: str


def decode(data: bytes, form: Format) -> Decoded:
    """Unpacked bytes → message. Raises ProtocolError (``unknown_layout``, ``wrong_shape``, ``not_…``, …)."""
    try:
        if form is Format.GOB:
            return _decode_gob(data)
        if form is Format.CBOR:
            return _decode_cbor(data)
        return Decoded(_json(data), "")
    except msgspec.ValidationError as exc:
        raise ProtocolError("wrong_shape", str(exc)) from None


def encode(message: StewardMessage, form: Format, layout: str = STEWARD) -> bytes:
    """The message in a format; ``layout`` determines the fields; in JSON all that are not zero are written.

    Raises ValueError for a value that the format cannot represent.
    """
    if form is Format.JSON:
        return _to_json.encode({key: value for key, value in _named(message, KEYS).items() if value})
    if form is Format.CBOR:
        return cbor.encode(_array(message, LAYOUTS[layout]))
    return _encode_gob(message, LAYOUTS[layout])


def encode_set_fields(message: StewardMessage, layout: str = STEWARD) -> bytes:
    """The message in gob that declares only those fields of ``layout`` that are set, for nodes of any age.

    Go refuses a declared field of another type, also without a value: ``Data`` was a list of texts in Steward until the
    end of January 2022. Raises ValueError for a number of more than 64 bits.
    """
    return _encode_gob(message, tuple(name for name in LAYOUTS[layout] if name in _set_fields(message)))


def _encode_gob(message: StewardMessage, names: tuple[str, ...]) -> bytes:
    return _writer(names).encode(_named(message, {name: name for name in names}))


def _decode_gob(data: bytes) -> Decoded:
    decoded = gob.decode(data)
    if not isinstance(decoded.type, gob.Struct):
        raise ProtocolError("wrong_shape", "The value is no struct.")
    layout = LAYOUT_OF_FIELDS.get(frozenset(name for name, _ in decoded.type.fields), "")
    return Decoded(_message(_keyed(decoded.value)), layout)


def _keyed(fields: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Fields by Go's or JSON's names → by JSON's names, without empty and unknown ones."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        key = KEYS.get(name) or (name if name in _KNOWN_KEYS else None)
        if key is not None and value is not None:
            found[key] = value
    return _tidied(found, depth)


def _tidied(fields: dict[str, Any], depth: int) -> dict[str, Any]:
    """Normalizes differences of the formats in place: lists of texts as data, and the previous message."""
    data = fields.get("data", b"")
    # Until the end of January 2022 data was a list of texts.
    if isinstance(data, list) and all(isinstance(text, str) for text in data):
        fields["data"] = data = "".join(data).encode("utf-8", "replace")
    # A text would be decoded as base64.
    if not isinstance(data, bytes) or not isinstance(fields.get("argSignature", b""), bytes):
        raise ProtocolError("wrong_shape", "Data or the signature is neither bytes nor, for data, a list of texts.")
    if (previous := fields.get("PreviousMessage")) is not None:
        if depth == PREVIOUS_MAX:
            raise ProtocolError("too_deep", f"The message answers more than {PREVIOUS_MAX} others.")
        fields["PreviousMessage"] = _fields(previous, depth + 1)
    return fields


def _fields(item: Any, depth: int) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return _keyed(item, depth)
    names = LAYOUTS.get(_layout(item))
    if names is None:
        size = f"{len(item)} elements" if isinstance(item, list) else type(item).__name__
        raise ProtocolError("unknown_layout", f"No known layout fits: {size}. It is kept as it came, not guessed.")
    return _tidied({KEYS[name]: value for name, value in zip(names, item, strict=True) if value is not None}, depth)


def _layout(item: Any) -> str:
    if not isinstance(item, list) or len(item) <= FAMILY_ELEMENT:
        return ""
    deciding = type(item[FAMILY_ELEMENT])
    return f"A{len(item)}" if deciding is int else f"B{len(item)}" if deciding is str else ""


def _decode_cbor(data: bytes) -> Decoded:
    item = cbor.decode(data)
    return Decoded(_message(_fields(item, 0)), _layout(item))


def _message(fields: dict[str, Any]) -> StewardMessage:
    return msgspec.convert(fields, StewardMessage)


def _json(data: bytes) -> StewardMessage:
    try:
        message = _from_json.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise ProtocolError("not_json", str(exc)) from None
    depth, before = 0, message.previous_message
    while before:
        depth, before = depth + 1, before.previous_message
    if depth > PREVIOUS_MAX:
        raise ProtocolError("too_deep", f"The message answers more than {PREVIOUS_MAX} others.")
    return message


def _named(message: StewardMessage, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of Go's ``names`` by their names in Go, also of nested messages."""
    found = {shown: getattr(message, ATTRIBUTES[name]) for name, shown in names.items()}
    shown = names.get("PreviousMessage")
    if shown and message.previous_message:
        found[shown] = _named(message.previous_message, names)
    return found


def _array(message: StewardMessage, names: tuple[str, ...]) -> list[Any]:
    """In the form of Go: all fields, empty lists and bytes as null."""
    found: list[Any] = []
    for name in names:
        value = getattr(message, ATTRIBUTES[name])
        if isinstance(value, StewardMessage):
            value = _array(value, names)
        elif isinstance(value, tuple | bytes) and not value:
            value = None
        found.append(list(value) if isinstance(value, tuple) else value)
    return found


def _set_fields(message: StewardMessage) -> set[str]:
    """Go's names of the fields that are not zero in the message or its previous message."""
    found = {name for name, attribute in ATTRIBUTES.items() if getattr(message, attribute)}
    return found | _set_fields(message.previous_message) if message.previous_message else found


@lru_cache(maxsize=32)
def _writer(names: tuple[str, ...]) -> gob.Writer:
    """Writes a message of these fields with the descriptions of their types."""
    fields = tuple((name, _KINDS.get(name, gob.STRING)) for name in names)
    used = {kind for _, kind in fields}
    slices = {type_id: slice_type for type_id, slice_type in _SLICES.items() if type_id in used}
    return gob.Writer({_MESSAGE: gob.Struct("Message", fields), **slices}, _MESSAGE)


_KNOWN_KEYS = frozenset(KEYS.values())
