"""Parts of the OpenAPI document: credentials, bodies, responses, errors."""

from collections.abc import Mapping
from typing import Any

import msgspec

from errorkernel.web.api.openapi import descriptions
from errorkernel.web.api.openapi.schemas import ref
from errorkernel.web.operations.filters import NUMBER
from errorkernel.web.schemas.errors import CODES, MEDIA_TYPE, ErrorBody, ErrorCode, body_of

JSON = "application/json"
NDJSON = "application/x-ndjson"
_COMMON = {
    "Unauthorized": ("unauthenticated", "invalid_token"),
    "Forbidden": ("forbidden", "csrf_failed"),
    "NotFound": ("not_found",),
    "MethodNotAllowed": ("method_not_allowed",),
    "TooLarge": ("too_large",),
    "UnsupportedType": ("unsupported_media_type", "unsupported_encoding"),
    "RateLimited": ("rate_limited", "too_many_waits", "stream_share_full"),
    "InternalError": ("internal_error",),
    "Unavailable": ("broker_unavailable", "database_unavailable"),
}
"""Response that many operations share → its codes."""
_RESPONSE_HEADERS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}
_STATUS = {name: CODES[codes[0]].status for name, codes in _COMMON.items()}
NODE: list[dict[str, list[str]]] = [{"nodeToken": []}]
READER: list[dict[str, list[str]]] = [{"operatorToken": []}, {"session": []}]
WRITER: list[dict[str, list[str]]] = [{"operatorToken": []}, {"session": [], "csrf": []}]


def body(shape: type[msgspec.Struct] | str, example: Mapping[str, Any], *, is_required: bool = True) -> dict[str, Any]:
    return {"required": is_required, "content": {JSON: {"schema": ref(shape), "example": example}}}


def number(description: str) -> dict[str, Any]:
    """A number in the address."""
    return {"name": "number", "in": "path", "required": True, "description": description, "schema": NUMBER}


def ok(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def common_responses() -> dict[str, Any]:
    """Name → response, for the components of the document."""
    return {name: error(*codes) for name, codes in _COMMON.items()}


def errors(*names: str) -> dict[str, Any]:
    """Status → reference to a common response; every operation can fail here as well (500)."""
    return {str(_STATUS[name]): {"$ref": f"#/components/responses/{name}"} for name in (*names, "InternalError")}


def error(*codes: str, shapes: Mapping[str, type[ErrorBody]] | None = None) -> dict[str, Any]:
    """The response for these codes of one status, with an example of each; ``shapes``: code → its body."""
    known = [CODES[name] for name in codes]
    used = list(dict.fromkeys((shapes or {}).get(name, ErrorBody) for name in codes))
    # The particular ones first: generated clients take the first that fits, and every error fits ErrorBody.
    used.sort(key=lambda shape: shape is ErrorBody)
    schema = ref(used[0]) if len(used) == 1 else {"anyOf": [ref(shape) for shape in used]}
    examples = {code.name: {"value": _example(code, (shapes or {}).get(code.name, ErrorBody))} for code in known}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _RESPONSE_HEADERS.get(known[0].status, ())}
    return {
        "description": "; or: ".join(dict.fromkeys(code.title for code in known)),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
        **({"headers": headers} if headers else {}),
    }


def _example(code: ErrorCode, shape: type[ErrorBody]) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(body_of(code.name, code.example))
    more = [name for name in shape.__struct_fields__ if name not in ErrorBody.__struct_fields__]
    return made | {name: descriptions.example(shape.__name__, name) for name in more}
