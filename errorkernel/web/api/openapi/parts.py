"""The pieces that the OpenAPI document is put together from: who may ask, what comes back, lists, errors."""

from typing import Any

import msgspec

from errorkernel.web.api.openapi.schemas import page_of, ref
from errorkernel.web.api.schemas import common
from errorkernel.web.api.views import lists

JSON = "application/json"
NDJSON = "application/x-ndjson"
QUERY_FORMAT = "steward-query"
"""Of texts in the query language, which JSON Schema has no word for."""
ERRORS: dict[str, str] = {
    "400": "It cannot be read, or a parameter cannot be right.",
    "401": "Who asks is not known.",
    "403": "Who asks may not do this, or the CSRF token is missing.",
    "404": "There is no such thing.",
    "405": "Not with this method; `Allow` names those that there are.",
    "413": "The body is too large.",
    "415": "The encoding of the body is not known here.",
    "429": "Too much; wait for `Retry-After` seconds.",
    "503": "The broker or the database is away; try again after `Retry-After` seconds.",
}

_RESPONSE_HEADERS = {"401": ("WWW-Authenticate",), "405": ("Allow",), "429": ("Retry-After",), "503": ("Retry-After",)}
NODE: list[dict[str, list[str]]] = [{"nodeToken": []}]
READER: list[dict[str, list[str]]] = [{"operatorToken": []}, {"session": []}]
WRITER: list[dict[str, list[str]]] = [{"operatorToken": []}, {"session": [], "csrf": []}]


def listing(
    name: str, summary: str, item: type[msgspec.Struct], *filters: dict[str, Any], of_one: bool = False
) -> dict[str, Any]:
    """The GET of a list. ``of_one``: of one thing, which may not be there (404)."""
    number = {"type": "integer", "minimum": 0, "maximum": lists.NUMBER_MAX}
    limit = {"type": "integer", "minimum": 1, "maximum": lists.LIMIT_MAX, "default": lists.LIMIT_DEFAULT}
    order = {"type": "string", "enum": ["asc", "desc"], "default": "asc"}
    seen = "The last number that you have seen; empty: from the start"
    parameters = [
        {"name": "after", "in": "query", "schema": number, "allowEmptyValue": True, "description": seen},
        {"name": "limit", "in": "query", "schema": limit, "allowEmptyValue": True},
        {"name": "order", "in": "query", "schema": order, "description": "Oldest first, or newest first"},
        *filters,
    ]
    return {
        "operationId": name,
        "tags": ["operators"],
        "summary": summary,
        "description": "Give `next` as `after` for the following page, until it is null.",
        "security": READER,
        "parameters": parameters,
        "responses": {
            "200": ok("A page", page_of(item)),
            "400": ok(ERRORS["400"], ref(common.BadRequest)),
            **errors("401", "403", *(["404"] if of_one else []), "405", "503"),
        },
    }


def text(name: str, told: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}, "description": told}


def body(shape: type[msgspec.Struct] | str, example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": ref(shape), "example": example}}}


def number(told: str) -> dict[str, Any]:
    """A number in the address."""
    whole = {"type": "integer", "minimum": 0, "maximum": lists.NUMBER_MAX}
    return {"name": "number", "in": "path", "required": True, "description": told, "schema": whole}


def ok(told: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": told, "content": {JSON: {"schema": schema}}}


def errors(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def error(status: str) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _RESPONSE_HEADERS.get(status, ())}
    return {**ok(ERRORS[status], ref(common.Fault)), **({"headers": headers} if headers else {})}
