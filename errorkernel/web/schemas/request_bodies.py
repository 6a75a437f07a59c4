"""Reads the body of an operator's request strictly.

An unknown field, a field that is there twice and a value of another type or outside of its range are refused with one
sentence and the nearest known word: a mistyped ``until`` must not mute a problem without end. What nodes send is read
tolerantly instead (``errorkernel.protocol``).
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from errorkernel.domain.nearest import did_you_mean
from errorkernel.domain.refusals import OperationRefused

T = TypeVar("T", bound=msgspec.Struct)
SHOWN_CHARS = 40
_NUMBERS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def read_body(shape: type[T], body: bytes, *, may_be_empty: bool) -> T:
    """The request in ``body``. ``may_be_empty``: no body means no field. Raises OperationRefused."""
    given = {} if may_be_empty and not body.strip() else _object(body)
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    for name in given:
        if name not in fields:
            raise OperationRefused(_unknown(name, fields), "unknown_field", name[:100])
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in given:
            values[field.name] = _value(field, given[name])
        elif field.required:
            raise OperationRefused(f"The field '{name}' is missing.", "missing_field", name)
    return shape(**values)


def _unknown(name: str, fields: Iterable[str]) -> str:
    hint = did_you_mean(name, fields) or f" The fields are {', '.join(fields) or 'none'}."
    return f"Unknown field {_shown(name)}.{hint}"


def _object(body: bytes) -> dict[str, Any]:
    """Raises OperationRefused where the body is no JSON object, or has a field twice."""
    if not body.strip():
        raise OperationRefused("The body is empty. Send a JSON object.", "invalid_body")
    try:
        given = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        _refuse_json(body)
    if not isinstance(given, dict):
        raise OperationRefused(f"The body must be a JSON object, not {_kind(given)}.", "invalid_body")
    json.loads(body, object_pairs_hook=_without_repetition)
    return given


def _refuse_json(body: bytes) -> NoReturn:
    position = None
    try:
        json.loads(body)
    except json.JSONDecodeError as exc:
        position = exc.pos
    except (RecursionError, ValueError):  # too deep, or not UTF-8
        pass
    where = "" if position is None else f": the mistake is at character {position}"
    raise OperationRefused(f"The body is not JSON{where}.", "invalid_body", position=position)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise OperationRefused(f"The body has the field {_shown(name)} twice.", "duplicate_field", name[:100])
        found[name] = value
    return found


def _value(field: msgspec.structs.FieldInfo, given: Any) -> Any:
    try:
        value = msgspec.convert(given, field.type)
        if isinstance(value, datetime):
            value.astimezone(UTC)  # a time at the edge of the calendar has no place in UTC
        return value
    except (msgspec.ValidationError, OverflowError, ValueError):
        pass
    wanted, words = describe(field.type)
    hint = did_you_mean(given, words) if isinstance(given, str) else ""
    text = f"'{field.encode_name}' must be {wanted}, not {_kind(given)}.{hint}"
    raise OperationRefused(text, "invalid_field", field.encode_name)


@cache
def describe(hint: Any) -> tuple[str, tuple[str, ...]]:
    """What a value of this type is, in words, and the words that it can be: ``("continue, kill or stop", (…))``."""
    return _describe(inspect.type_info(hint))


def _describe(info: inspect.Type) -> tuple[str, tuple[str, ...]]:
    match info:
        case inspect.Metadata():
            words = _describe(info.type)
            return words[0] + _bounds(info.extra_json_schema or {}), words[1]
        case inspect.EnumType():
            return _choice(tuple(str(member.value) for member in info.cls))
        case inspect.LiteralType():
            return _choice(tuple(map(str, info.values)))
        case inspect.UnionType():
            parts = [_describe(part) for part in info.types]
            return " or ".join(text for text, _ in parts), tuple(word for _, words in parts for word in words)
        case inspect.IntType():
            return "a whole number" + _range(info.ge, info.le), ()
        case inspect.FloatType():
            return "a number", ()
        case inspect.StrType():
            return "a text" + (f" of at most {info.max_length} characters" if info.max_length else ""), ()
        case inspect.BoolType():
            return "true or false", ()
        case inspect.DateTimeType():
            return "a time with its zone such as 2026-11-25T10:00:00Z", ()
        case inspect.UUIDType():
            return "a UUID", ()
        case inspect.NoneType():
            return "null", ()
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list, each item of it {_describe(info.item_type)[0]}", ()
    return "an object", ()


def _choice(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0], words


def _range(least: int | None, most: int | None) -> str:
    return "".join(f" {word} {bound}" for word, bound in (("from", least), ("to", most)) if bound is not None)


def _bounds(schema: dict[str, Any]) -> str:
    numbers = "".join(f" {word} {schema[key]}" for key, word in _NUMBERS.items() if key in schema)
    return numbers + (f" of at most {schema['maxLength']} characters" if "maxLength" in schema else "")


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARS])


def _kind(value: Any) -> str:
    """A value as a sentence names it: short, and nothing of what is in a list or an object."""
    match value:
        case None | True | False:
            return json.dumps(value)
        case str():
            return _shown(value)
        case int() | float():
            return str(value)[:SHOWN_CHARS]
        case list():
            return "a list"
    return "an object"
