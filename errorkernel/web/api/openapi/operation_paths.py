"""Paths of the OpenAPI document, derived from the declarations of operations and lists."""

import re
from collections.abc import Sequence
from typing import Any

from errorkernel.web.api.openapi.parts import ERRORS, READER, WRITER, body, errors, number, ok
from errorkernel.web.api.openapi.schemas import page_of, ref
from errorkernel.web.operations.json_view import takes_body
from errorkernel.web.operations.listing import LIMIT_DEFAULT, LIMIT_MAX, NUMBER_MAX, Filter, Listing
from errorkernel.web.operations.operation import Operation, Refusal
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.common import ErrorBody, SearchError
from errorkernel.web.schemas.operations import RuleReason

_KEY = re.compile(r"<\w+:(\w+)>")


def operation_paths() -> dict[str, Any]:
    """Address → method → its description."""
    paths: dict[str, Any] = {}
    for operation in registry.operations:
        if operation.is_in_api:
            methods = paths.setdefault(_path(operation.api_route), _parameters(operation.api_route))
            methods[operation.method.lower()] = _operation(operation)
    return paths


def listing_paths() -> dict[str, Any]:
    return {_path(listing.route): _parameters(listing.route) | {"get": _listing(listing)} for listing in registry.lists}


def _path(route: str) -> str:
    return "/api/v1/" + _KEY.sub(lambda key: "{id}" if key[1] == "incident_id" else "{number}", route)


def _parameters(route: str) -> dict[str, Any]:
    key = _KEY.search(route)
    if key is None:
        return {}
    incident = {"$ref": "#/components/parameters/IncidentId"}
    return {"parameters": [incident if key[1] == "incident_id" else number("Its `id`")]}


def _operation(operation: Operation[Any]) -> dict[str, Any]:
    shape = operation.request
    statuses = ["401", "403", *(["404"] if operation.has_key else []), "405", "503", *(["400", "413"] if shape else [])]
    described = {
        "operationId": operation.name,
        "tags": ["operators"],
        "summary": operation.summary,
        "description": _description(operation),
        "security": WRITER if operation.method != "GET" else READER,
        "responses": {
            str(operation.status): ok(operation.done, ref(operation.resource.item)),
            **errors(*statuses),
            **_refusals(operation.all_refusals, is_read=shape is not None),
        },
    }
    if shape:
        described["requestBody"] = body(
            shape, operation.example, is_required=takes_body(shape) or shape is RuleReason
        )  # its reason is checked by the handler
    return described


def _description(operation: Operation[Any]) -> str:
    needed = f"Needs the permission `{operation.permission}`."
    recorded = f" Recorded in the audit trail as `{operation.recorded_as}`." if operation.recorded_as else ""
    return needed + recorded


def _refusals(refusals: Sequence[Refusal], *, is_read: bool) -> dict[str, Any]:
    """Status → response; ``is_read``: an invalid body is a 400 too."""
    found: dict[str, Any] = {}
    for status in sorted({refusal.status for refusal in refusals}):
        alike = [refusal for refusal in refusals if refusal.status == status]
        shapes = list(dict.fromkeys(refusal.shape for refusal in alike))
        text = list(dict.fromkeys(refusal.when for refusal in alike))
        if status == 400 and is_read:
            text.insert(0, "The body cannot be read")
            if ErrorBody not in shapes and not all("field" in shape.__struct_fields__ for shape in shapes):
                shapes.append(ErrorBody)
        schema = ref(shapes[0]) if len(shapes) == 1 else {"anyOf": [ref(shape) for shape in shapes]}
        found[str(status)] = ok("; or: ".join(text), schema)
    return found


def _listing(listing: Listing) -> dict[str, Any]:
    return {
        "operationId": listing.name,
        "tags": ["operators"],
        "summary": listing.summary,
        "description": "Give `next` as `after` for the following page, until it is null.",
        "security": READER,
        "parameters": [*_paging(), *(_filter(narrow) for narrow in listing.filters), *_search(listing)],
        "responses": {
            "200": ok("A page", page_of(listing.item)),
            "400": ok(ERRORS["400"], ref(SearchError)),
            **errors("401", "403", *(["404"] if listing.has_key else []), "405", "503"),
        },
    }


def _paging() -> list[dict[str, Any]]:
    whole = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    order = {"type": "string", "enum": ["asc", "desc"], "default": "asc"}
    seen = "The last number that you have seen; empty: from the start"
    return [
        {"name": "after", "in": "query", "schema": whole, "allowEmptyValue": True, "description": seen},
        {"name": "limit", "in": "query", "schema": limit, "allowEmptyValue": True},
        {"name": "order", "in": "query", "schema": order, "description": "Oldest first, or newest first"},
    ]


def _filter(narrow: Filter) -> dict[str, Any]:
    described = {"name": narrow.name, "in": "query", "schema": narrow.schema, "description": narrow.description}
    empty = {"allowEmptyValue": True} if narrow.may_be_empty else {}
    return described | empty | ({"style": "form", "explode": False} if narrow.is_list else {})


def _search(listing: Listing) -> list[dict[str, Any]]:
    if listing.search is None:
        return []
    text = "A search, e.g. `node:ship* level>=error since:2h`; a mistake in it is a 400 with its `position`"
    return [{"name": "q", "in": "query", "schema": listing.search_schema, "description": text}]
