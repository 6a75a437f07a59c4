"""Reads and writes Go's gob: a stream that contains the descriptions of its types.

A stream is a sequence of blocks with their length in front. A block with a negative type id describes a type; a block
with a positive id is the value. The sender chooses the ids; only those of built-in types are fixed. The types of
descriptions are built in too, so the same code reads descriptions and values.

Lengths and counts are checked against the remaining bytes before allocation; nesting and the number of values are
limited. Any bytes give a value or a ProtocolError (``not_gob``, ``too_deep``, ``too_many``).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from errorkernel.protocol.errors import ProtocolError

BOOL, INT, UINT, FLOAT, BYTES, STRING = 1, 2, 3, 4, 5, 6
DEPTH_MAX = 32
THINGS_MAX = 16_384
"""Members of structs, lists and maps in one stream: a byte of input may cost some hundred bytes of memory."""
TYPES_MAX = 64
FIELDS_MAX = 256
REMEMBERED_BYTES_MAX = 4096
"""Descriptions of at most this length are cached, because a sender repeats them before every value."""


@dataclass(frozen=True, slots=True)
class Struct:
    """Fields in their order, each with the id of its type. Its values are dicts without zero fields."""

    name: str
    fields: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """Also an array, which has the same encoding. Its values are lists."""

    name: str
    element: int


@dataclass(frozen=True, slots=True)
class Map:
    """Its values are dicts. Only text keys are allowed: numbers could be chosen to collide."""

    key: int
    element: int


@dataclass(frozen=True, slots=True)
class Opaque:
    """A Go type with its own encoding. Its values are bytes."""


Type = Struct | Slice | Map | Opaque

# The types of descriptions. Their ids are fixed in Go and never sent.
_WIRE_TYPE, _ARRAY, _COMMON, _SLICE, _STRUCT, _FIELD, _FIELDS, _MAP = range(16, 24)
_OPAQUE = -1
_BUILT_IN: dict[int, Type] = {
    _WIRE_TYPE: Struct(
        "wireType",
        (
            ("array", _ARRAY),
            ("slice", _SLICE),
            ("struct", _STRUCT),
            ("map", _MAP),
            ("gob", _OPAQUE),
            ("binary", _OPAQUE),
            ("text", _OPAQUE),
        ),
    ),
    _ARRAY: Struct("arrayType", (("common", _COMMON), ("elem", INT), ("len", INT))),
    _COMMON: Struct("CommonType", (("name", STRING), ("id", INT))),
    _SLICE: Struct("sliceType", (("common", _COMMON), ("elem", INT))),
    _STRUCT: Struct("structType", (("common", _COMMON), ("fields", _FIELDS))),
    _FIELD: Struct("fieldType", (("name", STRING), ("id", INT))),
    _FIELDS: Slice("[]fieldType", _FIELD),
    _MAP: Struct("mapType", (("common", _COMMON), ("key", INT), ("elem", INT))),
    _OPAQUE: Struct("gobEncoderType", (("common", _COMMON),)),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """``type``: the description in the stream; None for a built-in type."""

    value: Any
    type: Type | None


def decode(data: bytes) -> Decoded:
    """The value of a stream. The caller bounds the length of ``data``. Raises ProtocolError."""
    at, length = 0, len(data)
    while at < length:
        reader = _Reader(data, at, length)
        size = reader.uint()
        start, end = reader.at, reader.at + size
        if end > length:
            raise _torn()
        reader.end = end
        type_id = reader.integer()
        if type_id >= 0:
            if end != length:
                raise ProtocolError("not_gob", "Something follows the value.")
            known = _remembered_types(data[:at]) if at <= REMEMBERED_BYTES_MAX else _types(data[:at])
            reader.types = known
            return Decoded(reader.top(type_id), known.get(type_id))
        if start == end:
            raise _torn()
        at = end
    raise ProtocolError("not_gob", "The stream has no value.")


def _types(descriptions: bytes) -> Mapping[int, Type]:
    """The types described before the value."""
    known: dict[int, Type] = {}
    at, things = 0, THINGS_MAX
    while at < len(descriptions):
        reader = _Reader(descriptions, at, len(descriptions), _BUILT_IN, things)
        size = reader.uint()
        reader.end = at = reader.at + size
        type_id = -reader.integer()
        described = reader.value(_WIRE_TYPE, 0)
        if reader.at != reader.end:
            raise ProtocolError("not_gob", "Something follows the description of a type.")
        if type_id in _BUILT_IN or type_id <= STRING or type_id in known:
            raise ProtocolError("not_gob", f"Type {type_id} is described, but there is one already.")
        if len(known) == TYPES_MAX:
            raise ProtocolError("too_many", f"More than {TYPES_MAX} types are described.")
        known[type_id] = _type(described)
        things = reader.things
    return known


_remembered_types = lru_cache(maxsize=64)(_types)


def _type(described: dict[str, Any]) -> Type:
    if len(described) != 1:
        raise ProtocolError("not_gob", "A type is described as several things, or as nothing.")
    what, details = next(iter(described.items()))
    if what == "struct":
        fields = tuple((field.get("name", ""), field.get("id", 0)) for field in details.get("fields", ()))
        if len(fields) > FIELDS_MAX or len(dict(fields)) != len(fields):
            raise ProtocolError("not_gob", "A struct has too many fields, or two of the same name.")
        return Struct(details.get("common", {}).get("name", ""), fields)
    if what in ("slice", "array"):
        return Slice(details.get("common", {}).get("name", ""), details.get("elem", 0))
    if what == "map":
        return Map(details.get("key", 0), details.get("elem", 0))
    return Opaque()


class _Reader:
    """A position in one block, with the remaining limits."""

    __slots__ = ("at", "data", "end", "things", "types")

    def __init__(
        self, data: bytes, at: int, end: int, types: Mapping[int, Type] = _BUILT_IN, things: int = THINGS_MAX
    ) -> None:
        self.data = data
        self.at = at
        self.end = end
        self.types = types
        self.things = things

    def uint(self) -> int:
        at = self.at
        if at >= self.end:
            raise _torn()
        first = self.data[at]
        if first < 128:
            self.at = at + 1
            return first
        end = at + 257 - first
        if end - at > 9 or end > self.end:
            raise _torn()
        self.at = end
        return int.from_bytes(self.data[at + 1 : end])

    def integer(self) -> int:
        number = self.uint()
        return ~(number >> 1) if number & 1 else number >> 1

    def chunk(self) -> bytes:
        size = self.uint()
        start = self.at
        end = start + size
        if end > self.end:
            raise _torn()
        self.at = end
        return self.data[start:end]

    def top(self, type_id: int) -> Any:
        """The value of a block, which must end with it. Values other than structs have a zero in front."""
        if not isinstance(self.types.get(type_id), Struct) and self.uint() != 0:
            raise ProtocolError("not_gob", "A value that is no struct lacks its zero.")
        value = self.value(type_id, 0)
        if self.at != self.end:
            raise ProtocolError("not_gob", "Something follows the value in its block.")
        return value

    def value(self, type_id: int, depth: int) -> Any:
        # The most frequent first.
        if type_id == STRING:
            return self.chunk().decode("utf-8", "replace")
        if type_id == INT:
            return self.integer()
        if type_id == BYTES:
            return self.chunk()
        if type_id == BOOL:
            return self.uint() != 0
        if type_id == UINT:
            return self.uint()
        if type_id == FLOAT:
            # The bytes of the IEEE number are reversed, so that its zeros are in front and are omitted.
            return struct.unpack("<d", self.uint().to_bytes(8))[0]
        return self._made_of(self.types.get(type_id), type_id, depth + 1)

    def _made_of(self, kind: Type | None, type_id: int, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise ProtocolError("too_deep", f"Values are nested more than {DEPTH_MAX} deep.")
        if isinstance(kind, Struct):
            return self._struct(kind.fields, depth)
        if isinstance(kind, Slice):
            return [self.value(kind.element, depth) for _ in range(self._count())]
        if isinstance(kind, Map):
            if kind.key not in (STRING, BYTES):
                raise ProtocolError("not_gob", "A map has keys that are no names.")
            return {self.value(kind.key, depth): self.value(kind.element, depth) for _ in range(self._count())}
        if isinstance(kind, Opaque):
            return self.chunk()
        raise ProtocolError("not_gob", f"Type {type_id} is not described, or not one that is read here.")

    def _struct(self, fields: tuple[tuple[str, int], ...], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        number, count = -1, len(fields)
        while step := self.uint():
            number += step
            if number >= count:
                raise ProtocolError("not_gob", f"A struct has no field {number}.")
            name, type_id = fields[number]
            found[name] = self.value(type_id, depth)
        self._spend(len(found) + 1)
        return found

    def _count(self) -> int:
        """The number of items. Each has at least a byte, so a count above the remaining bytes is invalid."""
        count = self.uint()
        if count > self.end - self.at:
            raise _torn()
        self._spend(count)
        return count

    def _spend(self, things: int) -> None:
        self.things -= things
        if self.things < 0:
            raise ProtocolError("too_many", f"The stream holds more than {THINGS_MAX} things.")


def _torn() -> ProtocolError:
    return ProtocolError("not_gob", "The stream ends in the middle, or a length in it is wrong.")


class Writer:
    """Writes values of one type, each with the descriptions of ``types`` (id → type, ids from 64) in front of it."""

    def __init__(self, types: Mapping[int, Type], root: int) -> None:
        self._types = types
        self._root = root
        self._descriptions = b"".join(
            _sized(_int(-type_id) + self._encode(_describe(type_id, kind), _WIRE_TYPE, _BUILT_IN))
            for type_id, kind in types.items()
        )

    def encode(self, value: Any) -> bytes:
        """A whole stream. Raises ValueError for a number of more than 64 bits."""
        zero = b"" if isinstance(self._types.get(self._root), Struct) else b"\0"
        return self._descriptions + _sized(_int(self._root) + zero + self._encode(value, self._root, self._types))

    def _encode(self, value: Any, type_id: int, types: Mapping[int, Type]) -> bytes:
        if type_id == STRING:
            return _sized(value.encode("utf-8", "replace"))
        if type_id == BYTES:
            return _sized(value)
        if type_id == INT:
            return _int(value)
        if type_id in (BOOL, UINT):
            return _uint(int(value))
        if type_id == FLOAT:
            return _uint(int.from_bytes(struct.pack("<d", value)))
        kind = types[type_id]
        if isinstance(kind, Struct):
            return self._struct(value, kind, types)
        if isinstance(kind, Slice):
            return _uint(len(value)) + b"".join(self._encode(element, kind.element, types) for element in value)
        if isinstance(kind, Map):
            pairs = (self._encode(k, kind.key, types) + self._encode(v, kind.element, types) for k, v in value.items())
            return _uint(len(value)) + b"".join(pairs)
        return _sized(value)

    def _struct(self, value: Mapping[str, Any], kind: Struct, types: Mapping[int, Type]) -> bytes:
        written, last = [], -1
        for number, (name, type_id) in enumerate(kind.fields):
            # Zero values are never sent.
            if found := value.get(name):
                written.append(_uint(number - last) + self._encode(found, type_id, types))
                last = number
        return b"".join(written) + b"\0"


def _describe(type_id: int, kind: Type) -> dict[str, Any]:
    if isinstance(kind, Struct):
        common = {"name": kind.name, "id": type_id}
        return {
            "struct": {
                "common": common,
                "fields": [{"name": name, "id": field_type} for name, field_type in kind.fields],
            }
        }
    if isinstance(kind, Slice):
        return {"slice": {"common": {"name": kind.name, "id": type_id}, "elem": kind.element}}
    if isinstance(kind, Map):
        return {"map": {"common": {"id": type_id}, "key": kind.key, "elem": kind.element}}
    return {"gob": {"common": {"id": type_id}}}


def _uint(number: int) -> bytes:
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{number} has no place in 64 bits.")
    if number < 128:
        return number.to_bytes()
    size = (number.bit_length() + 7) // 8
    return (256 - size).to_bytes() + number.to_bytes(size)


def _int(number: int) -> bytes:
    return _uint(~number << 1 | 1 if number < 0 else number << 1)


def _sized(data: bytes) -> bytes:
    return _uint(len(data)) + data
