"""The JSON view of an operation."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from errorkernel.domain.refusals import OperationRefused
from errorkernel.store.platform import repeated_requests
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.repeated_requests import RequestKey
from errorkernel.web.auth.api_requests import ApiError, as_json, as_read, check_parameters, for_operators, read_body
from errorkernel.web.operations.operation import Operation
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS, WriteRequest

KEY_HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile("[!#-~]+")
"""In quotes, as the header's draft says, or without."""


def json_view(operation: Operation[Any]) -> Callable[..., HttpResponse]:
    """The view: errors of the handler are answered as the operation's refusals say."""
    shape = body_shape(operation)

    @for_operators(operation.permission)
    def view(request: HttpRequest, actor: Actor, /, **keys: str) -> HttpResponse:
        check_parameters(request.GET, ())
        given = read_body(request, shape, may_be_empty=not takes_body(shape)) if shape else None
        if isinstance(given, WriteRequest):
            given.request_id = _request_id(request, given)
        try:
            key = operation.resource.read_key(*keys.values()) if operation.has_key else None
            return _perform(operation, key, given, actor)
        except operation.resource.missing:
            raise OperationRefused(f"There is no such {operation.resource.noun}.", "not_found") from None
        except Exception as exc:
            if (refusal := operation.refusal_of(exc)) is None:
                raise
            raise ApiError(refusal.body(exc)) from None

    return view


def body_shape(operation: Operation[Any]) -> type[msgspec.Struct] | None:
    """What the API reads as the body: every change has a ``request_id``; a reading operation may have no body."""
    return operation.request or (WriteRequest if operation.changes_something else None)


def takes_body(shape: type[msgspec.Struct]) -> bool:
    """Whether a request must have a body, because a field has no default."""
    return any(field.required for field in msgspec.structs.fields(shape))


def _perform(operation: Operation[Any], key: Any, given: Any, actor: Actor) -> HttpResponse:
    def work() -> bytes:
        handed = given if operation.request else None
        return msgspec.json.encode(operation.resource.encode(operation.handler(key, handed, actor)))

    request_id = given.request_key if isinstance(given, WriteRequest) else ""
    if operation.method == "GET":
        return as_read(work())
    if not request_id or operation.keeps_request_id or actor.user is None:
        return as_json(operation.status, work())
    content = msgspec.json.encode((operation.name, key, msgspec.structs.replace(given, request_id=None)))
    known = RequestKey(actor.user.pk, actor.at, request_id, hashlib.sha256(content).hexdigest())
    body, is_repeated = repeated_requests.perform_once(known, work)
    return as_json(operation.status, body, {REPLAYED: "true"} if is_repeated else None)


def _request_id(request: HttpRequest, given: WriteRequest) -> str | None:
    """The header, or ``request_id`` of the body; None without either. Raises OperationRefused."""
    header = request.headers.get(KEY_HEADER)
    if header is None:
        return given.request_key or None
    key = header.strip().removeprefix('"').removesuffix('"')
    if len(header) > REQUEST_ID_MAX_CHARS or not _KEY.fullmatch(key):
        text = f"{KEY_HEADER} must be 1 to {REQUEST_ID_MAX_CHARS} visible ASCII characters."
        raise OperationRefused(text, "invalid_parameter", KEY_HEADER)
    return key
