"""The schemas of the OpenAPI document, derived from the structs, from the tables' help texts, and from the limits of
this installation."""

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from errorkernel.domain.limits import Limits
from errorkernel.protocol.schema import CONSTRAINTS, PAYLOADS
from errorkernel.web.api.openapi import descriptions
from errorkernel.web.operations.json_view import body_shape
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas import common, errors

REF = "#/components/schemas/"
_REFERENCE = re.compile(rf'"{REF}(\w+)"')

_OTHERS: tuple[type[msgspec.Struct], ...] = (
    errors.ErrorBody,
    common.EventsAccepted,
    common.NoEventsAccepted,
    common.OutcomeAccepted,
    common.UnknownIncident,
    common.Readiness,
)


def ref(shape: type[msgspec.Struct] | type[StrEnum] | str) -> dict[str, str]:
    """A reference to a schema by its shape or name."""
    return {"$ref": REF + (shape if isinstance(shape, str) else _name(shape))}


@cache
def schemas(limits: Limits) -> dict[str, Any]:
    """Name → schema of all requests and responses; the same to all who ask, so to be read only."""
    structs = dict.fromkeys((*PAYLOADS, *_OTHERS, *_declared(), *registry.shapes))
    _, raw = msgspec.json.schema_components(structs, ref_template=REF + "{name}")
    found: dict[str, Any] = {name.removeprefix("_"): _tidy(schema) for name, schema in raw.items()}
    if len(found) < len(raw):
        raise ValueError(f"Two shapes have one name: {sorted(raw)}")
    for struct in structs:
        _mark_times(struct, found[_name(struct)]["properties"])
    for name, keywords in CONSTRAINTS.items():
        for field, more in keywords.items():
            _refine(found[name]["properties"], field, more)
    found["Event"]["description"] = (
        f"One occurrence. At most {limits.event_bytes} bytes as JSON; a text is cut after {limits.text_bytes} bytes, a "
        f"stack after {limits.stack_bytes}, message data after {limits.data_bytes}, and what was cut is marked."
    )
    requests = _with_parts({_name(shape) for shape in (*PAYLOADS[:2], *_requests())}, found)
    for name, schema in found.items():
        if "properties" in schema:
            _describe(name, schema, is_request=name in requests)
    for shape in _requests():
        found[_name(shape)]["additionalProperties"] = False
    # Asked for where it is read, so that what lacks it is text in words.
    found["RuleReason"]["required"] = ["reason"]
    # Over HTTP the incident and the version are in the address.
    found["Outcome"]["required"] = ["state"]
    return found


def _declared() -> Iterator[type[msgspec.Struct]]:
    """The shapes of operations and lists."""
    for operation in registry.operations:
        if operation.is_in_api:
            yield from (operation.resource.item, *(refusal.shape for refusal in operation.all_refusals))
    yield from (listing.item for listing in registry.lists)
    yield from _requests()


def batch(limits: Limits) -> dict[str, Any]:
    """Several events in one body."""
    return {"type": "array", "items": ref("Event"), "maxItems": limits.events_per_request}


def page_of(item: type[msgspec.Struct]) -> dict[str, Any]:
    """A page of a list: the items, and what to give as ``after`` for the following page."""
    number = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": ref(item), "description": "The items of this page"},
            "next": number | {"description": "Give it as `after` for the following page; null: this is the end"},
            "last": number
            | {
                "description": "Keep it and give it as `after` to get what came later; not with `sort` by "
                "a value that can be the same for several items"
            },
            "total": {"type": "integer", "description": "Items that match, with `total=true`"},
            "total_exact": {"type": "boolean", "description": "False: there are more than `total`"},
        },
    }


def _name(struct: type[msgspec.Struct] | type[StrEnum]) -> str:
    return struct.__name__.removeprefix("_")


def _tidy(schema: Any) -> Any:
    """Without titles, which repeat the name, and with the underscores gone from references."""
    if isinstance(schema, dict):
        return {
            key: value.replace(REF + "_", REF) if key == "$ref" else _tidy(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_tidy(part) for part in schema] if isinstance(schema, list) else schema


def _text_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of a field's schema for its text, if null is allowed too."""
    parts: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return next(part for part in parts if part.get("type") == "string")


def _mark_times(struct: type[msgspec.Struct], properties: dict[str, Any]) -> None:
    for field, hint in get_type_hints(struct).items():
        if datetime in (hint, *get_args(hint)):
            _text_of(properties[field])["format"] = "date-time"


def _describe(name: str, schema: dict[str, Any], *, is_request: bool) -> None:
    """A description for each property. A default is said in words: as a keyword, generators make a field with one
    required. A response has all its fields, except those of errors that stand only where they apply."""
    for field, part in schema["properties"].items():
        description = part.get("description") or descriptions.of(name, field)
        if "default" in part:
            default = part.pop("default")
            if is_request and default not in (None, "", []):
                description += f". Default: {msgspec.json.encode(default).decode()}"
        part["description"] = description
    if not is_request and "detail" not in schema.get("required", ()):
        schema["required"] = list(schema["properties"])


def _with_parts(names: set[str], found: dict[str, Any]) -> set[str]:
    """These schemas and all that they consist of."""
    reached: set[str] = set()
    while names:
        name = names.pop()
        reached.add(name)
        names |= set(_REFERENCE.findall(msgspec.json.encode(found[name]).decode())) - reached
    return reached


def _requests() -> Iterator[type[msgspec.Struct]]:
    for operation in registry.operations:
        if operation.is_in_api and (shape := body_shape(operation)):
            yield shape


def _refine(properties: dict[str, Any], field: str, more: dict[str, Any]) -> None:
    schema = properties[field]
    for keyword, value in more.items():
        (schema if keyword in ("description", "const") else _text_of(schema))[keyword] = value
