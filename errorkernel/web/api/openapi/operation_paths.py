"""Paths of the OpenAPI document, derived from the declarations of operations and lists."""

import re
from typing import Any

import msgspec

from errorkernel.web.api.openapi.parts import READER, WRITER, body, error, errors, number, ok
from errorkernel.web.api.openapi.schemas import page_of, ref
from errorkernel.web.operations.filters import NUMBER, Filter
from errorkernel.web.operations.json_view import KEY_HEADER, REPLAYED, body_shape, takes_body
from errorkernel.web.operations.listing import LIMIT_DEFAULT, LIMIT_MAX, Listing
from errorkernel.web.operations.operation import Operation
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS, WriteRequest
from errorkernel.web.schemas.errors import CODES
from errorkernel.web.schemas.operations import RuleReason

_TEXT = {"type": "string", "minLength": 1}
_BODY_CODES = (
    *("invalid_body", "unknown_field", "duplicate_field", "missing_field", "invalid_field", "unknown_parameter"),
    "invalid_parameter",
)
_SAME = {"description": "It is the same as in `If-None-Match`"}
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
    return "/api/v1/" + _KEY.sub(lambda key: "{number}" if key[1] == "number" else "{id}", route)


def _parameters(route: str) -> dict[str, Any]:
    key = _KEY.search(route)
    if key is None:
        return {}
    if key[1] == "event_id":
        text = "Its `id`, or its `seq`"
        return {"parameters": [{"name": "id", "in": "path", "required": True, "description": text, "schema": _TEXT}]}
    incident = {"$ref": "#/components/parameters/IncidentId"}
    return {"parameters": [incident if key[1] == "incident_id" else number("Its `id`")]}


def _operation(operation: Operation[Any]) -> dict[str, Any]:
    shape = body_shape(operation)
    missing = ["NotFound"] if operation.has_key else []
    names = ["Unauthorized", "Forbidden", *missing, "MethodNotAllowed", "Unavailable"]
    done = ok(operation.done, ref(operation.resource.item))
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": ["operators"],
        "summary": operation.summary,
        "description": _description(operation),
        "security": WRITER if operation.method != "GET" else READER,
        "responses": {
            str(operation.status): done,
            **errors(*names, *(("TooLarge", "UnsupportedType") if shape else ())),
            **_refusals(operation, shape),
        },
    }
    if operation.method == "GET":
        done["headers"] = {"ETag": {"$ref": "#/components/headers/ETag"}}
        described["responses"]["304"] = _SAME
    if shape:
        described["requestBody"] = body(
            shape, operation.example, is_required=takes_body(shape) or shape is RuleReason
        )  # its reason is checked by the handler
    if shape and issubclass(shape, WriteRequest):
        described["parameters"] = [{"$ref": "#/components/parameters/IdempotencyKey"}]
        if not operation.keeps_request_id:
            done["headers"] = {REPLAYED: {"$ref": f"#/components/headers/{REPLAYED}"}}
    return described


def idempotency_key() -> dict[str, Any]:
    return {
        "name": KEY_HEADER,
        "in": "header",
        "description": "The same as `request_id` of the body: the same request with it again returns the first result",
        "schema": {"type": "string", "minLength": 1, "maxLength": REQUEST_ID_MAX_CHARS, "pattern": '^"?[!#-~]+"?$'},
    }


def _description(operation: Operation[Any]) -> str:
    needed = f"Needs the permission `{operation.permission}`."
    recorded = f" Recorded in the audit trail as `{operation.recorded_as}`." if operation.recorded_as else ""
    return needed + recorded


def _refusals(operation: Operation[Any], shape: type[msgspec.Struct] | None) -> dict[str, Any]:
    """Status → response, for what a wrong request and the operation's own refusals are."""
    shapes = {code: refusal.shape for refusal in operation.all_refusals for code in refusal.codes}
    codes = [*(_BODY_CODES if shape else ("unknown_parameter",)), *shapes]
    if shape and issubclass(shape, WriteRequest):
        codes.append("request_id_reused")
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    return {str(status): error(*alike, shapes=shapes) for status, alike in sorted(by_status.items())}


def _listing(listing: Listing) -> dict[str, Any]:
    wrong = ("unknown_parameter", "repeated_parameter", "invalid_parameter")
    return {
        "operationId": listing.name,
        "tags": ["operators"],
        "summary": listing.summary,
        "description": "Give `next` as `after` for the following page, until it is null. Keep `last` and give it as "
        f"`after` to get what came later. Needs the permission `{listing.permission}`.",
        "security": READER,
        "parameters": [*_paging(listing), *(_filter(narrow) for narrow in listing.filters), *_search(listing)],
        "responses": {
            "200": ok("A page", page_of(listing.item)) | {"headers": {"ETag": {"$ref": "#/components/headers/ETag"}}},
            "304": _SAME,
            "400": error(*wrong, *(("invalid_search",) if listing.search else ())),
            **errors(
                "Unauthorized",
                "Forbidden",
                *(("NotFound",) if listing.has_key or listing.sorts else ()),
                "MethodNotAllowed",
                "Unavailable",
            ),
        },
    }


def _paging(listing: Listing) -> list[dict[str, Any]]:
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    order = {"type": "string", "enum": ["asc", "desc"], "default": "asc"}
    sort = {"type": "string", "enum": list(listing.all_sorts), "default": listing.order_by}
    sorts = [{"name": "sort", "in": "query", "schema": sort, "description": "By what the list is ordered"}]
    return [
        {"name": "after", "in": "query", "schema": NUMBER, "description": "The number that you have seen last"},
        {"name": "limit", "in": "query", "schema": limit, "description": "Items on a page, at most"},
        {"name": "order", "in": "query", "schema": order, "description": "Lowest first, or highest first"},
        *(sorts if listing.sorts else ()),
        {
            "name": "total",
            "in": "query",
            "schema": {"type": "boolean", "default": False},
            "description": "Whether the response counts all items that match",
        },
    ]


def _filter(narrow: Filter) -> dict[str, Any]:
    described = {"name": narrow.name, "in": "query", "schema": narrow.schema, "description": narrow.description}
    if not narrow.is_list:
        return described
    several = {"type": "array", "items": narrow.schema, "minItems": 1}
    return described | {"schema": several, "style": "form", "explode": True}


def _search(listing: Listing) -> list[dict[str, Any]]:
    if listing.search is None:
        return []
    text = "A search, e.g. `node:ship* level>=error`; a mistake in it is a 400 with its `position`"
    return [{"name": "q", "in": "query", "schema": listing.search_schema, "description": text}]
