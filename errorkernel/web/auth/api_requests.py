"""Access to the operators' API with a session or a token, and its errors, which are always JSON.

A request with a token needs no CSRF protection, because no browser adds the token by itself; a request with a session
does. The API's views are exempt from Django's middleware, which responds with a page; the same check is made here.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.request import UnreadablePostError
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from errorkernel.store.accounts import api_tokens
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth import denied_requests
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.schemas.common import ErrorBody

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)
log = logging.getLogger("errorkernel.api")
RETRY_AFTER_S = 2
BODY_MAX_BYTES = 64 * 1024


class ApiError(Exception):
    """The request ends with this status; ``error``: one sentence, or a shape with one."""

    def __init__(self, status: int, error: str | msgspec.Struct, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers or {}
        self.body = ErrorBody(error) if isinstance(error, str) else error


View = Callable[Concatenate[HttpRequest, Actor, P], HttpResponse]


def for_operators(permission: str) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponse]]:
    """A JSON view for operators with ``permission``; others get 401 or 403. Every error becomes JSON, also internal
    ones (500)."""

    def decorate(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                user, token = _authenticate(request)
                if not user.has_perm(permission):
                    raise ApiError(403, f"This needs the permission {permission}.")
                if not token:
                    _check_csrf(request)
                return view(request, actor_of(request, user=user, token=token), *args, **kwargs)
            except ApiError as exc:
                return as_json(exc.status, exc.body, exc.headers)
            except (OperationalError, InterfaceError):
                log.exception("The database is away")
                return as_json(503, ErrorBody("The database is away."), {"Retry-After": str(RETRY_AFTER_S)})
            except Exception:
                log.exception("%s %s failed", request.method, request.path)
                return as_json(500, ErrorBody("This failed here; the log of the server says why."))

        return guarded

    return decorate


def read_body(request: HttpRequest, decoder: msgspec.json.Decoder[T], *, empty: T | None = None) -> T:
    """The decoded body; ``empty``: the value of an empty body. Raises ApiError."""
    try:
        body = request.body
    except RequestDataTooBig:
        raise ApiError(413, "The body is too large.") from None
    except UnreadablePostError:
        raise ApiError(400, "The body ended too early.") from None
    if len(body) > BODY_MAX_BYTES:
        raise ApiError(413, "The body is too large.")
    if empty is not None and not body:
        return empty
    try:
        given = decoder.decode(body)
        _check_times(given)
    except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
        fields = ", ".join(decoder.type.__struct_fields__)
        raise ApiError(400, f"The body is an object with {fields}: {exc}") from None
    return given


def _check_times(given: Any) -> None:
    """Raises ValueError for a time outside the calendar in UTC."""
    for name in getattr(given, "__struct_fields__", ()):
        at = getattr(given, name)
        if isinstance(at, datetime):
            try:
                at.astimezone(UTC)
            except OverflowError:
                raise ValueError(f"`{name}` is a time that cannot be right") from None


def as_json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A response with the encoded ``body``, which caches must not store."""
    return HttpResponse(
        msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def not_allowed(*methods: str) -> HttpResponse:
    """405 with the allowed methods."""
    allowed = ", ".join(methods)
    return as_json(405, ErrorBody(f"Only {allowed} here."), {"Allow": allowed})


def _authenticate(request: HttpRequest) -> tuple[AbstractUser, str]:
    """The user and the personal token; the token is empty with a session. With an invalid token the session is not
    used. Raises ApiError (401)."""
    given = request.headers.get("Authorization", "")
    if given:
        scheme, _, token = given.partition(" ")
        found = api_tokens.user_of(token.strip(), now=timezone.now()) if scheme.lower() == "bearer" else None
        if found is None:
            denied_requests.note(request.META.get("REMOTE_ADDR", ""), request.path_info, token.strip())
            raise _unauthorized("This token is not known, or was revoked.", ', error="invalid_token"')
        return found, token.strip()
    if not request.user.is_authenticated:
        raise _unauthorized("Log in, or send a personal token: Authorization: Bearer …")
    return request.user, ""


def _unauthorized(error: str, more: str = "") -> ApiError:
    return ApiError(401, error, headers={"WWW-Authenticate": f'Bearer realm="steward"{more}'})


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        raise ApiError(403, f"CSRF: {reason}")


def _check_csrf(request: HttpRequest) -> None:
    """Raises ApiError (403) for an unsafe request with a session that does not come from the product's pages."""
    # The CSRF token is in a header. Django would search a form first, and so read the body if its Content-Type is that
    # of a form.
    request.POST = QueryDict()
    check = _Csrf(lambda _: HttpResponse())
    check.process_request(request)
    check.process_view(request, lambda _: HttpResponse(), (), {})


@csrf_exempt
def unknown(request: HttpRequest) -> HttpResponse:
    """Below ``/api/v1`` unknown addresses respond in JSON too."""
    return as_json(404, ErrorBody("There is nothing at this address."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Requests that Django refuses before a view (an unknown host name): in JSON below ``/api/v1``."""
    if request.path_info.startswith("/api/v1/"):
        return as_json(400, ErrorBody("This request cannot be read, or its host is not one of STEWARD_ALLOWED_HOSTS."))
    return defaults.bad_request(request, exception)


def by_method(views: Mapping[str, Callable[..., HttpResponse]]) -> Callable[..., HttpResponse]:
    """The view of an address by its methods; others get 405.

    An address may serve nodes with one method and operators with another, so it is exempt from Django's CSRF
    middleware; ``for_operators`` checks requests with a session.
    """

    @csrf_exempt
    def view(request: HttpRequest, **key: Any) -> HttpResponse:
        view_of_method = views.get(str(request.method))
        return view_of_method(request, **key) if view_of_method else not_allowed(*sorted(views))

    return view
