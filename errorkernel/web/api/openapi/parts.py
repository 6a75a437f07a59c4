"""Parts of the OpenAPI document: credentials, bodies, responses, errors."""

from collections.abc import Mapping
from typing import Any

import msgspec

from errorkernel.web.api.openapi.schemas import ref
from errorkernel.web.operations.listing import NUMBER_MAX
from errorkernel.web.schemas import common

JSON = "application/json"
NDJSON = "application/x-ndjson"
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


def body(shape: type[msgspec.Struct] | str, example: Mapping[str, Any], *, is_required: bool = True) -> dict[str, Any]:
    return {"required": is_required, "content": {JSON: {"schema": ref(shape), "example": example}}}


def number(description: str) -> dict[str, Any]:
    """A number in the address."""
    whole = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}
    return {"name": "number", "in": "path", "required": True, "description": description, "schema": whole}


def ok(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def errors(*statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def error(status: str) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _RESPONSE_HEADERS.get(status, ())}
    return {**ok(ERRORS[status], ref(common.ErrorBody)), **({"headers": headers} if headers else {})}
