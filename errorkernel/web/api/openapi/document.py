"""The OpenAPI document of this installation: every address of the HTTP API with its parameters and responses.

Paths follow from the declarations of operations and lists (``operation_paths``), schemas from the structs
(``schemas``), limits from the settings. The API of nodes and the probes are written by hand; tests compare them with
the addresses and the running product.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from typing import Any

from errorkernel.domain.limits import Limits
from errorkernel.web.api.openapi.examples import fill_examples
from errorkernel.web.api.openapi.node_paths import incident_id, node_paths
from errorkernel.web.api.openapi.operation_paths import idempotency_key, listing_paths, operation_paths
from errorkernel.web.api.openapi.parts import JSON, READER, common_responses, errors, ok
from errorkernel.web.api.openapi.schemas import ref, schemas
from errorkernel.web.operations.json_view import REPLAYED
from errorkernel.web.schemas import common

_ABOUT = (
    "Nodes report over HTTP what they cannot report over NATS; operators read and decide. What nodes send is read "
    "tolerantly: unknown fields are ignored. What operators send is read strictly: an unknown field, parameter or "
    "value is a 400 that names the nearest known one. A body is read by what it is, whatever its Content-Type says. "
    "Whole numbers are written without a decimal point. Every error is a problem detail (RFC 9457) with a stable "
    "`code`. `HEAD` is answered wherever a list is."
)


def document(address: str, version: str, limits: Limits, *, example: str) -> dict[str, Any]:
    """The document for the installation at ``address`` (no slash at its end), to be encoded as JSON.

    ``example``: the id of the event in the examples; a new one makes them work as they are.
    """
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Steward error kernel",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": address}],
        "tags": [
            {"name": "nodes", "description": "For nodes: report events, wait for decisions, report outcomes"},
            {"name": "operators", "description": "For operators: read and decide"},
            {"name": "probes", "description": "Without login, for orchestrators and scrapers"},
        ],
        "paths": _merged(node_paths(limits, example), listing_paths(), operation_paths(), _own_paths(), _probe_paths()),
        "components": {
            "schemas": schemas(limits),
            "parameters": {"IncidentId": incident_id(), "IdempotencyKey": idempotency_key()},
            "headers": _headers(),
            "responses": common_responses(),
            "securitySchemes": _security(),
        },
    }
    return fill_examples(_with_widths(described))


def _with_widths(part: Any) -> Any:
    """A copy in which each whole number says how wide it is: generators of typed languages take 32 bits otherwise. Not
    where a text may stand instead: such an id is kept as text, so it may have any length."""
    if isinstance(part, list):
        if {"string", "integer"} <= {item.get("type") for item in part if isinstance(item, dict)}:
            return part
        return [_with_widths(item) for item in part]
    if not isinstance(part, dict):
        return part
    width = {"format": "int64"} if part.get("type") == "integer" else {}
    return {key: _with_widths(value) for key, value in part.items()} | width


def _merged(*several: dict[str, Any]) -> dict[str, Any]:
    """An address may have methods from several sources."""
    paths: dict[str, Any] = {}
    for found in several:
        for path, methods in found.items():
            paths.setdefault(path, {}).update(methods)
    return paths


def _itself() -> dict[str, Any]:
    described = ok("OpenAPI 3.1", {"type": "object", "required": ["openapi", "info", "paths"]})
    described["content"][JSON]["example"] = {"openapi": "3.1.0", "info": {"title": "…", "version": "…"}, "paths": {}}
    return described


def _own_paths() -> dict[str, Any]:
    """The document itself."""
    return {
        "/api/v1/openapi.json": {
            "get": {
                "operationId": "openapi",
                "tags": ["operators"],
                "summary": "This document",
                "security": READER,
                "responses": {
                    "200": _itself(),
                    **errors("Unauthorized", "Forbidden", "MethodNotAllowed", "Unavailable"),
                },
            }
        },
        "/api/v1/docs": {
            "get": {
                "operationId": "docs",
                "tags": ["operators"],
                "summary": "This document as a page",
                "security": READER,
                "responses": {
                    "200": {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}},
                    "302": {
                        "description": "To the login, for a browser that is not logged in",
                        "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
                        "content": {"text/html": {"schema": {"type": "string"}}},
                    },
                    **errors("Unauthorized", "Forbidden", "MethodNotAllowed", "Unavailable"),
                },
            }
        },
    }


def _probe_paths() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/health/live": {"get": _probe("live", "Whether the process answers at all", {"200": {
            "description": "It does", "content": text}})},
        "/health/ready": {"get": _probe("ready", "Whether work can be done", {
            "200": ok("It can", ref(common.Readiness)), "503": ok("It cannot", ref(common.Readiness))})},
        "/metrics": {"get": _probe("metrics", "Metrics in Prometheus' text format", {"200": {
            "description": "All of them", "content": text}})},
    }  # fmt: skip


def _probe(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    refused = {"description": "Method not allowed", "headers": {"Allow": {"$ref": "#/components/headers/Allow"}}}
    return {
        "operationId": name,
        "tags": ["probes"],
        "summary": summary,
        "security": [],
        "responses": {**responses, "405": refused},
    }


def _headers() -> dict[str, Any]:
    return {
        "Retry-After": {
            "description": "Seconds to wait before the same again",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
        "WWW-Authenticate": {
            "description": "How to authenticate",
            "required": True,
            "schema": {"type": "string", "pattern": "^Bearer "},
        },
        "ETag": {"description": "Give it as `If-None-Match`: 304 while nothing changed", "schema": {"type": "string"}},
        REPLAYED: {
            "description": "`true`: this is the result of an earlier request with the same request id",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "RateLimit": {
            "description": "Events that the node may send now (`r`), and the seconds until its full quota (`t`)",
            "schema": {"type": "string"},
        },
        "RateLimit-Policy": {
            "description": "The quota (`q`) of a node in a window of `w` seconds",
            "schema": {"type": "string"},
        },
        "Allow": {"description": "The methods that there are", "required": True, "schema": {"type": "string"}},
    }


def _security() -> dict[str, Any]:
    return {
        "nodeToken": {"type": "http", "scheme": "bearer", "description": "`token` of a node's credentials"},
        "operatorToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "A personal token, from `steward token add USER`. A token that is sent is the one that "
            "counts: it never falls back to a session.",
        },
        "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "As the pages have it"},
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": "With a session, every change needs Django's CSRF token: the value of the cookie csrftoken",
        },
    }
