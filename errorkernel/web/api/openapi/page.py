"""The OpenAPI document and its page, for operators.

The page is rendered from the document, without scripts and third-party content.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.domain.ids import uuid7
from errorkernel.platform import conf
from errorkernel.store.platform.actor import Actor
from errorkernel.web.api.openapi.document import document
from errorkernel.web.api.openapi.parts import JSON, NDJSON
from errorkernel.web.auth.api_requests import as_read, check_parameters, for_operators
from errorkernel.web.console.context import Frame
from errorkernel.web.schemas.errors import CODES

EXAMPLE_ID = "0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123"
"""In the document, which is the same each time; the page has a new one, so that its commands work as they are."""
DISTRIBUTION = "steward-error-kernel"
# The credentials in examples; a session of a browser needs none.
_TOKENS = {"nodeToken": "$NODE_TOKEN", "operatorToken": "$STEWARD_TOKEN"}


@for_operators("errorkernel.view_incident")
def openapi(request: HttpRequest, actor: Actor) -> HttpResponse:
    """The document, with this installation's address and limits."""
    check_parameters(request.GET, ())
    return as_read(_document(request, EXAMPLE_ID))


def page(request: HttpRequest) -> HttpResponse:
    """The document as a page; a browser without a session is redirected to the login, other clients get 401."""
    asks_for_page = "text/html" in request.headers.get("Accept", "") and "Authorization" not in request.headers
    if asks_for_page and not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return _page(request)


@for_operators("errorkernel.view_incident")
def _page(request: HttpRequest, actor: Actor) -> HttpResponse:
    check_parameters(request.GET, ())
    request.user = actor.user  # type: ignore[assignment]  # who came with a token is on the page's frame too
    given = _document(request, str(uuid7()))
    calls = [
        _call(given, path, method, operation)
        for path, methods in given["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    ]
    context = {
        "section": "api",
        "document": given,
        "address": given["servers"][0]["url"],
        "parts": [(tag, [call for call in calls if call.tag == tag["name"]]) for tag in given["tags"]],
        "shapes": [(name, _fields(schema), schema) for name, schema in sorted(given["components"]["schemas"].items())],
        "errors": sorted(CODES.values(), key=lambda code: (code.status, code.name)),
        "security": given["components"]["securitySchemes"],
    }
    return render(request, "errorkernel/api.html", context)


@cache
def product_version() -> str:
    return version(DISTRIBUTION)


def _document(request: HttpRequest, example: str) -> dict[str, Any]:
    return document(Frame(request).base_url, product_version(), conf.get().limits, example=example)


@dataclass(frozen=True, slots=True)
class _Field:
    """A parameter or a field of a shape: name, type and meaning."""

    name: str
    kind: str
    description: str
    required: bool
    shape: str = ""
    """The shape that it consists of, if it is parameter."""


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    tag: str
    method: str
    path: str
    summary: str
    description: str
    tokens: list[str]
    parameters: list[_Field]
    body: list[_Field]
    body_description: str
    responses: list[_Field]
    examples: list[str]


def _call(given: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> _Call:
    common = given["paths"][path].get("parameters", [])
    parameters = [_resolved(given, parameter) for parameter in (*common, *operation.get("parameters", []))]
    body = operation.get("requestBody", {})
    return _Call(
        name=operation["operationId"],
        tag=operation["tags"][0],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        tokens=[" and ".join(scheme) for scheme in operation["security"]],
        parameters=[
            _field(
                f"{parameter['name']} ({parameter['in']})",
                parameter["schema"],
                parameter.get("description", ""),
                parameter.get("required", False),
            )
            for parameter in parameters
        ],
        body=[_field(media, parameter["schema"]) for media, parameter in body.get("content", {}).items()],
        body_description=body.get("description", ""),
        responses=[
            _answer(status, _resolved(given, parameter)) for status, parameter in operation["responses"].items()
        ],
        examples=_examples(given["servers"][0]["url"], path, method, operation),
    )


def _resolved(given: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    for name in part.get("$ref", "").split("/")[1:]:
        given = given[name]
    return given if "$ref" in part else part


def _answer(status: str, answer: dict[str, Any]) -> _Field:
    content = next(iter(answer.get("content", {}).items()), None)
    headers = f" Header: {', '.join(answer['headers'])}." if "headers" in answer else ""
    description = answer["description"].rstrip(".") + "." + headers
    if content is None:
        return _Field(status, "", description, True)
    media, inner = content
    return (
        _field(status, inner["schema"], description, True)
        if media == JSON
        else _Field(status, media, description, True)
    )


def _fields(schema: dict[str, Any]) -> list[_Field]:
    required = schema.get("required", ())
    return [
        _field(name, parameter, required=name in required) for name, parameter in schema.get("properties", {}).items()
    ]


def _field(name: str, schema: dict[str, Any], description: str = "", required: bool = False) -> _Field:
    return _Field(name, kind_of(schema), description or schema.get("description", ""), required, _shape_of(schema))


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a value in a few words: ``text, date-time``, ``whole number from 0``, ``Event or list of Event``."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " or ".join(kind_of(option) for option in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kinds = schema.get("type", "anything")
    words = " or ".join(_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    if kinds == "array":
        words = f"list of {kind_of(schema.get('items', {}))}"
    elif schema.get("properties"):
        words = ", ".join(f"{name}: {kind_of(parameter)}" for name, parameter in schema["properties"].items())
    return words + "".join(f"{word} {schema[key]:g}" for key, word in _BOUNDS.items() if key in schema) + (
        f", {schema['format']}" if schema.get("format", "int64") != "int64" else ""
    )  # fmt: skip


_WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "an object"}
_BOUNDS = {
    "minimum": " from",
    "exclusiveMinimum": " above",
    "maximum": " to",
    "minLength": ", characters from",
    "maxLength": ", characters to",
    "maxItems": ", at most",
}


def _shape_of(schema: dict[str, Any]) -> str:
    found = msgspec.json.encode(schema).decode().partition('"#/components/schemas/')[2]
    return found.partition('"')[0]


def _examples(address: str, path: str, method: str, operation: dict[str, Any]) -> list[str]:
    """Commands for a shell, one for each format of the body."""
    tokens = next((_TOKENS[name] for scheme in operation["security"] for name in scheme if name in _TOKENS), "")
    url = address + path.replace("{id}", "$INCIDENT").replace("{number}", "$NUMBER")
    if path == "/api/v1/events" and method == "get":
        url += "?q=level%3E%3Derror&limit=10"
    elif method == "get" and "wait" in [parameter.get("name") for parameter in operation.get("parameters", ())]:
        url += "?wait=30"
    words = ["curl -sS", f'-H "Authorization: Bearer {tokens}"' if tokens else ""]
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return [" ".join(word for word in (*words, f'"{url}"') if word)]
    return [
        " ".join(
            [*words, f"-H 'Content-Type: {media}'", "--data-binary", _quoted(media, parameter["example"]), f'"{url}"']
        )
        for media, parameter in content.items()
    ]


def _quoted(media: str, example: Any) -> str:
    lines = [json.dumps(item) for item in (example if media == NDJSON else [example])]
    return "'" + "\n".join(lines).replace("'", "'\\''") + "'"
