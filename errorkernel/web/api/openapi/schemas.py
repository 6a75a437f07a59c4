"""The schemas of the OpenAPI document, derived from the structs, from the tables' help texts, and from the limits of
this installation."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec
from django.db.models import Model

from errorkernel.domain.limits import Limits
from errorkernel.models import (
    BulkDecision,
    BulkDecisionItem,
    DeadLetter,
    Decision,
    ErrorEvent,
    ErrorState,
    Incarnation,
    Incident,
    Node,
    Problem,
    Process,
    Requeue,
    Rule,
)
from errorkernel.protocol.schema import CONSTRAINTS, PAYLOADS
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas import common, items, messages, operations

REF = "#/components/schemas/"

# Shape → the table whose help texts explain its fields.
_LISTED: dict[type[msgspec.Struct], type[Model]] = {
    items.EventItem: ErrorEvent,
    items.IncidentItem: Incident,
    items.DecisionItem: Decision,
    items.ProblemItem: Problem,
    items.ErrorStateItem: ErrorState,
    items.ProcessItem: Process,
    items.NodeItem: Node,
    items.IncarnationItem: Incarnation,
    messages.DeadLetterItem: DeadLetter,
    messages.MessageOperation: Requeue,
    items.RuleItem: Rule,
    operations.BulkDecisionStatus: BulkDecision,
    operations.BulkDecisionIncident: BulkDecisionItem,
}
_OTHERS: tuple[type[msgspec.Struct], ...] = (
    common.ErrorBody,
    common.SearchError,
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
    """Name → schema of all requests and responses; shared, so do not change it."""
    explained = {**_LISTED, **registry.tables}
    structs = dict.fromkeys((*PAYLOADS, *explained, *_OTHERS, *_declared()))
    _, raw = msgspec.json.schema_components(structs, ref_template=REF + "{name}")
    found: dict[str, Any] = {name.removeprefix("_"): _tidy(schema) for name, schema in raw.items()}
    if len(found) < len(raw):
        raise ValueError(f"Two shapes have one name: {sorted(raw)}")
    for struct in structs:
        _mark_times(struct, found[_name(struct)]["properties"])
    for struct, table in explained.items():
        _explain(found[_name(struct)]["properties"], table)
    for name, keywords in CONSTRAINTS.items():
        for field, more in keywords.items():
            _refine(found[name]["properties"], field, more)
    found["Event"]["description"] = (
        f"One occurrence. At most {limits.event_bytes} bytes as JSON; a text is cut after {limits.text_bytes} bytes, a "
        f"stack after {limits.stack_bytes}, message data after {limits.data_bytes}, and what was cut is marked."
    )
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
            yield from (operation.request,) if operation.request else ()
    yield from (listing.item for listing in registry.lists)


def batch(limits: Limits) -> dict[str, Any]:
    """Several events in one body."""
    return {"type": "array", "items": ref("Event"), "maxItems": limits.events_per_request}


def page_of(item: type[msgspec.Struct]) -> dict[str, Any]:
    """A page of a list: the items, and the value of ``after`` for the next page."""
    following = {"type": ["integer", "null"], "description": "Give it as `after`; null: this is the end"}
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": ref(item)}, "next": following},
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


def _explain(properties: dict[str, Any], table: type[Model]) -> None:
    columns = {field.name: str(getattr(field, "help_text", "")) for field in table._meta.get_fields()}
    columns["by"] = columns.get("actor", "")  # its name in the payload of a decision
    for field, schema in properties.items():
        if text := columns.get(field):
            schema.setdefault("description", text.rstrip("."))


def _refine(properties: dict[str, Any], field: str, more: dict[str, Any]) -> None:
    schema = properties[field]
    for keyword, value in more.items():
        (schema if keyword in ("description", "const") else _text_of(schema))[keyword] = value
