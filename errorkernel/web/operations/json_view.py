"""The JSON view of an operation."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.api_requests import ApiError, as_json, for_operators, read_body
from errorkernel.web.operations.operation import Operation


def json_view(operation: Operation[Any]) -> Callable[..., HttpResponse]:
    """The view: errors of the handler become responses by the operation's refusals."""
    shape = operation.request
    decoder = msgspec.json.Decoder(shape) if shape else None
    empty = shape() if shape and not takes_body(shape) else None

    @for_operators(operation.permission)
    def view(request: HttpRequest, actor: Actor, /, **keys: str) -> HttpResponse:
        given = read_body(request, decoder, empty=empty) if decoder else None
        resource = operation.resource
        try:
            key = resource.read_key(*keys.values()) if operation.has_key else None
            result = operation.handler(key, given, actor)
        except resource.missing:
            raise ApiError(404, f"There is no such {resource.noun}.") from None
        except Exception as exc:
            if (refusal := operation.refusal_of(exc)) is None:
                raise
            raise ApiError(refusal.status, refusal.body(exc)) from None
        return as_json(operation.status, resource.encode(result))

    return view


def takes_body(shape: type[msgspec.Struct]) -> bool:
    """Whether a request must have a body, because a field has no default."""
    return any(field.required for field in msgspec.structs.fields(shape))
