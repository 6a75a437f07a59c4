"""One declaration per operation of operators, by a form or by the JSON API.

``Operation`` holds its name, permission, request, handler and refusals. The form view (``form_view``), the JSON view
(``json_view``), both addresses and the path in the OpenAPI document are derived from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from errorkernel.platform.parameters import LARGEST
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.page_requests import refuse
from errorkernel.web.schemas.errors import ErrorBody, body_of

R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error that a handler raises, and what it is over HTTP.

    ``codes``: those that it can have; the first where the error carries none itself. ``more``: further fields of
    ``shape``."""

    error: type[Exception]
    codes: tuple[str, ...]
    shape: type[ErrorBody] = ErrorBody
    more: Callable[[Any], dict[str, Any]] = lambda exc: {}
    field: str = ""

    def body(self, error: Exception) -> ErrorBody:
        given = {"position": getattr(error, "position", None), **self.more(error)}
        code, field = getattr(error, "code", self.codes[0]), getattr(error, "field", self.field)
        return body_of(code, str(error), shape=self.shape, field=field, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A form whose operation was refused."""

    request: HttpRequest
    operation: "Operation[Any]"
    key: Any
    error: Exception
    status: int
    at: datetime


def show_refusal(refused: Refused) -> HttpResponse:
    """A page with the reason."""
    return refuse(refused.request, translated(refused.error), status=refused.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of resource. ``address``: of its pages and, below ``/api/v1/``, in the API."""

    address: str
    noun: str
    """For people: "There is no such …"."""
    item: type[msgspec.Struct]
    encode: Callable[[Any], msgspec.Struct]
    """Result of a handler → body of the response."""
    missing: type[Exception]
    """Raised by handlers where there is no such thing: 404."""
    key: type[int] | type[UUID] | type[str] = int
    """``str``: the handler itself reads it, and raises ``missing``."""
    page: str = ""
    """Name of the page to which a form redirects."""
    has_item_page: bool = True
    """Whether that page is of one item; else it is the list."""
    refusals: tuple[Refusal, ...] = ()
    show_refusal: Callable[[Refused], HttpResponse] = show_refusal
    show_missing: Callable[[Refused], HttpResponse] | None = None
    """The response to a form where there is no such thing any more; without it, 404."""

    @property
    def parameter(self) -> str:
        """The key's name in the document."""
        return "number" if self.key is int else "id"

    def read_key(self, text: str | int | UUID) -> Any:
        """Raises ``missing`` for what is no key."""
        if self.key is str:
            return text
        if self.key is UUID:
            try:
                return text if isinstance(text, UUID) else UUID(str(text))
            except ValueError:
                raise self.missing from None
        if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise self.missing
        if int(text) > LARGEST:
            raise self.missing
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A form whose operation succeeded."""

    request: HttpRequest
    operation: "Operation[Any]"
    key: Any
    given: Any
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The page's side of an operation.

    ``message``: feedback on the next page, or a function that returns it. ``read``: makes the request from the form;
    without it the fields have the names of the request's. Raises BadParameter. ``fields``: the names that ``read``
    reads; a form with others is refused. ``parameters``: those that the form's address may have. ``after``: the
    response; without it, the page of the resource.

    The form's address is that of the operation. ``verb``: its last part, where that address is a page that people
    read. ``find_key``: turns a name in the form's address into the key that the handler takes.
    """

    message: Any = ""
    read: Callable[[QueryDict, Actor], Any] | None = None
    fields: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    after: Callable[[Done], HttpResponse] | None = None
    page: str = ""
    """Name of the page with the form, if it is not the resource's."""
    verb: str = ""
    find_key: Callable[[str], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[R]):
    """``handler``: gets the key (None without one), the request (None without a body) and the actor; the resource
    encodes its result."""

    name: str
    """Of the operation in the OpenAPI document."""
    summary: str
    resource: Resource
    permission: str
    handler: Callable[[Any, R, Actor], Any]
    verb: str = ""
    """The last part of both addresses; empty for an operation on the resource itself."""
    request: type[R] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    has_key: bool = True
    method: str = "POST"
    status: int = 200
    done: str = "How it is now"
    """Description of the response with ``status`` in the OpenAPI document."""
    audit_verb: str = ""
    """The action in the audit trail, if it is not ``verb``."""
    refusals: tuple[Refusal, ...] = ()
    form: Form | None = None
    """None: no page has this operation."""
    is_in_api: bool = True
    changes_something: bool = True
    keeps_request_id: bool = False
    """The handler itself makes a request with a known ``request_id`` return the first result."""

    @property
    def all_refusals(self) -> tuple[Refusal, ...]:
        return self.refusals + self.resource.refusals

    @property
    def api_route(self) -> str:
        """Below ``/api/v1/``, as Django writes routes. Keys are taken as text, so that a wrong one is a 404 in JSON."""
        name = {UUID: "incident_id", str: "event_id"}.get(self.resource.key, "number")
        return "/".join(part for part in (self.resource.address, f"<str:{name}>" * self.has_key, self.verb) if part)

    @property
    def page_route(self) -> str:
        kind = "uuid" if self.resource.key is UUID else "str" if self.form and self.form.find_key else "int"
        parts = (self.resource.address, f"<{kind}:key>" * self.has_key, self._page_verb)
        return "/".join(part for part in parts if part) + "/"

    @property
    def page_name(self) -> str:
        """For ``{% url %}`` in templates: ``problems-mute``."""
        return "-".join(part for part in (self.resource.address, self._page_verb) if part)

    @property
    def _page_verb(self) -> str:
        return (self.form and self.form.verb) or self.verb

    @property
    def form_fields(self) -> tuple[str, ...]:
        """The names of the fields that its form may have."""
        if self.form and self.form.read:
            return self.form.fields
        return tuple(field.encode_name for field in msgspec.structs.fields(self.request)) if self.request else ()

    @property
    def recorded_as(self) -> str:
        """The action in the audit trail; empty if nothing is changed."""
        return (self.audit_verb or self.verb) if self.changes_something else ""

    def page_of(self, key: Any) -> str:
        """The address of the page of the resource. ``key``: as in the address of the form."""
        page = (self.form and self.form.page) or self.resource.page
        return reverse(page, args=[key] if self.has_key and self.resource.has_item_page else [])

    def refusal_of(self, error: Exception) -> Refusal | None:
        return next((refusal for refusal in self.all_refusals if isinstance(error, refusal.error)), None)
