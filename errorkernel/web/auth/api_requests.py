"""Access to the operators' API with a session or a token, and its errors, which are always JSON.

A request with a token needs no CSRF protection, because no browser adds the token by itself; a request with a session
does. The API's views are exempt from Django's middleware, which responds with a page; the same check is made here.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
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
from django.utils.cache import patch_vary_headers
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from errorkernel.domain.nearest import did_you_mean
from errorkernel.domain.refusals import OperationRefused
from errorkernel.store.accounts import api_tokens
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth import denied_requests
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.schemas import errors, request_bodies
from errorkernel.web.schemas.errors import ErrorBody, body_of

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)
log = logging.getLogger("errorkernel.api")
RETRY_AFTER_S = 2
BODY_MAX_BYTES = 64 * 1024


class ApiError(Exception):
    """The request ends with this body, whose ``status`` is that of the response."""

    def __init__(self, body: ErrorBody, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body.detail)
        self.body = body
        self.headers = headers or {}


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
                    raise OperationRefused(f"This needs the permission {permission}.", "forbidden")
                if not token:
                    _check_csrf(request)
                return view(request, actor_of(request, user=user, token=token), *args, **kwargs)
            except ApiError as exc:
                return as_error(exc.body, exc.headers)
            except OperationRefused as exc:
                return as_error(body_of(exc.code, str(exc), field=exc.field, position=exc.position))
            except (OperationalError, InterfaceError):
                log.exception("The database is away")
                body = body_of("database_unavailable", "The database is away. Send the request again.")
                return as_error(body, {"Retry-After": str(RETRY_AFTER_S)})
            except Exception:
                log.exception("%s %s failed", request.method, request.path)
                return internal_error()

        return guarded

    return decorate


def read_body(request: HttpRequest, shape: type[T], *, may_be_empty: bool = False) -> T:
    """An operator's body, read strictly; ``may_be_empty``: no body means no field. Raises OperationRefused."""
    encoding = request.headers.get("Content-Encoding", "")
    if encoding.strip().lower() not in ("", "identity"):
        raise OperationRefused(
            f"The Content-Encoding {encoding[:40]!r} is not supported. Send the body as it is.", "unsupported_encoding"
        )
    try:
        body = request.body
    except RequestDataTooBig:
        raise _too_large() from None
    except UnreadablePostError:
        raise OperationRefused("The body ended too early.", "invalid_body") from None
    if len(body) > BODY_MAX_BYTES:
        raise _too_large()
    try:
        return request_bodies.read_body(shape, body, may_be_empty=may_be_empty)
    except OperationRefused as exc:
        kind = (request.content_type or "").lower()
        if exc.code == "invalid_body" and kind and not kind.endswith("json"):
            raise OperationRefused(
                f"The body is not JSON but {kind[:80]}. Send JSON with Content-Type: application/json.",
                "unsupported_media_type",
            ) from None
        raise


def _too_large() -> OperationRefused:
    return OperationRefused(f"The body is larger than {BODY_MAX_BYTES:,} bytes.", "too_large")


def check_parameters(given: QueryDict, known: Iterable[str]) -> None:
    """Raises OperationRefused where the address has a parameter that is not known: its effect would be missing."""
    names = list(known)
    for name in given:
        if name not in names:
            hint = did_you_mean(name, names) or f" The parameters are {', '.join(names) or 'none'}."
            raise OperationRefused(f"Unknown parameter {name[:40]!r}.{hint}", "unknown_parameter", name[:100])


def as_error(body: ErrorBody, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An error as problem details (RFC 9457)."""
    return as_json(body.status, body, headers, content_type=errors.MEDIA_TYPE)


def internal_error() -> HttpResponse:
    return as_error(body_of("internal_error", "The request failed here. The server's log says why."))


def as_read(body: Any) -> HttpResponse:
    """A read: its client may keep it, and asks each time whether it still holds (``ETag``)."""
    response = as_json(200, body, {"Cache-Control": "private, no-cache"})
    patch_vary_headers(response, ["Authorization", "Cookie"])
    return response


def as_json(
    status: int, body: Any, headers: Mapping[str, str] | None = None, *, content_type: str = "application/json"
) -> HttpResponse:
    """``body`` encoded; never kept by a cache unless ``headers`` say so, since it is meant for one person."""
    return HttpResponse(
        body if isinstance(body, bytes) else msgspec.json.encode(body),
        status=status,
        content_type=content_type,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def not_allowed(method: str, *methods: str) -> HttpResponse:
    """405, naming what is."""
    allowed = ", ".join(methods)
    detail = f"This address accepts {allowed}, not {method[:20]}."
    return as_error(body_of("method_not_allowed", detail), {"Allow": allowed})


def _authenticate(request: HttpRequest) -> tuple[AbstractUser, str]:
    """The user and the personal token; the token is empty with a session. With an invalid token the session is not
    used. Raises ApiError (401)."""
    given = request.headers.get("Authorization", "")
    if given:
        scheme, _, token = given.partition(" ")
        found = api_tokens.user_of(token.strip(), now=timezone.now()) if scheme.lower() == "bearer" else None
        if found is None:
            denied_requests.note(request.META.get("REMOTE_ADDR", ""), request.path_info, token.strip())
            raise _unauthorized("invalid_token", "The token is unknown or was revoked.", ', error="invalid_token"')
        return found, token.strip()
    if not request.user.is_authenticated:
        raise _unauthorized("unauthenticated", "Log in, or send a personal token: Authorization: Bearer …")
    return request.user, ""


def _unauthorized(code: str, detail: str, more: str = "") -> ApiError:
    return ApiError(body_of(code, detail), headers={"WWW-Authenticate": f'Bearer realm="steward"{more}'})


class _Csrf(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        log.info("A request was refused by the CSRF check: %s", reason)
        raise OperationRefused("The CSRF check failed. Send the CSRF token in the header X-CSRFToken.", "csrf_failed")


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
    """Below ``/api`` even what is not there answers in JSON."""
    return as_error(body_of("unknown_address", "There is nothing at this address."))


def is_api(request: HttpRequest) -> bool:
    """Whether errors are answered as JSON: below ``/api``."""
    return request.path_info == "/api" or request.path_info.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django itself refuses before a view is called (a host name that is not ours): in JSON below ``/api``."""
    if is_api(request):
        detail = "The request cannot be read, or its host is not in STEWARD_ALLOWED_HOSTS."
        return as_error(body_of("invalid_request", detail))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """What failed outside of a view: in JSON below ``/api``."""
    return internal_error() if is_api(request) else defaults.server_error(request)


def by_method(views: Mapping[str, Callable[..., HttpResponse]]) -> Callable[..., HttpResponse]:
    """The view of an address by its methods; others get 405.

    An address may serve nodes with one method and operators with another, so it is exempt from Django's CSRF
    middleware; ``for_operators`` checks requests with a session.
    """

    @csrf_exempt
    def view(request: HttpRequest, **key: Any) -> HttpResponse:
        view_of_method = views.get(str(request.method))
        if view_of_method:
            return view_of_method(request, **key)
        return not_allowed(str(request.method), *sorted(views))

    return view
