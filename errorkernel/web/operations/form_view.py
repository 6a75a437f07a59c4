"""The form view of an operation: works without script and redirects to the page."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from errorkernel.platform.parameters import LARGEST, BadParameter
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.repeated_requests import RequestKey, perform_once
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import is_fetched, needs
from errorkernel.web.operations.operation import Done, Form, Operation, Refused


def page_address(operation: Operation[Any]) -> URLPattern:
    """The address of the form."""
    return path(operation.page_route, form_view(operation), name=operation.page_name)


def form_view(operation: Operation[Any]) -> Callable[..., HttpResponseBase]:
    """The view: 404 for a missing resource, 400 or the refusal's status for a refused operation."""
    form, resource = operation.form or Form(), operation.resource

    @require_http_methods(["GET", "POST"])
    @needs(operation.permission, *form.parameters, fields=operation.form_fields)
    def view(request: HttpRequest, key: Any = None) -> HttpResponseBase:
        if isinstance(key, int):
            key = min(key, LARGEST)
        if request.method == "GET":  # reload of a page that showed a refused form
            return HttpResponseRedirect(operation.page_of(key))
        actor, named = actor_of(request), key
        key = form.find_key(named) if form.find_key else named

        def refused(error: Exception, status: int) -> Refused:
            return Refused(request=request, operation=operation, key=key, error=error, status=status, at=actor.at)

        try:
            given = form.read(request.POST, actor) if form.read else read_form(operation.request, request.POST)

            def work() -> Result:
                result = operation.handler(key, given, actor)
                done = Done(request=request, operation=operation, key=key, given=given, result=result)
                text = form.message(done) if callable(form.message) else form.message
                return (form.after(done) if form.after else HttpResponseRedirect(operation.page_of(named))), str(text)

            response, text = _once(operation, request, actor, work)
        except resource.missing as exc:
            if resource.show_missing is None:
                raise Http404 from None
            return resource.show_missing(refused(exc, 409))
        except Exception as exc:
            refusal = operation.refusal_of(exc)
            if refusal is None and not isinstance(exc, BadParameter):
                raise
            return resource.show_refusal(refused(exc, refusal.body(exc).status if refusal else 400))
        if text:
            messages.success(request, text)
        return response

    return view


Result = tuple[HttpResponseBase, str]
"""A response, and feedback for the next page; empty for none."""


def _once(operation: Operation[Any], request: HttpRequest, actor: Actor, work: Callable[[], Result]) -> Result:
    """What ``work`` returns; for a form that was sent twice (a double click, a reload), what it returned before.

    The second of two presses gets the first one's redirect and feedback: a browser shows the last response only.
    """
    press = _press(request)
    if not press or not operation.changes_something or operation.keeps_request_id or actor.user is None:
        return work()
    first: HttpResponseBase | None = None

    def encoded() -> bytes:
        nonlocal first
        first, text = work()
        return msgspec.json.encode((first.headers.get("Location"), text))

    stored, _repeated = perform_once(RequestKey(actor.user.pk, actor.at, press, press), encoded)
    location, text = msgspec.json.decode(stored, type=tuple[str | None, str])
    repeated = HttpResponse(status=204) if location is None else HttpResponseRedirect(location)
    return first or repeated, text


def _press(request: HttpRequest) -> str:
    """Names this press of this form: its address, all fields, and the token against forgery, which Django masks anew in
    each page. So the same form from a page that was loaded anew is another press. A script that sends a form and keeps
    its page gives ``request_id`` in the token's place. Empty without both."""
    fields = dict(request.POST.lists())
    token = fields.pop("csrfmiddlewaretoken", None)
    if not any(fields.get("request_id", ())):
        if not token or is_fetched(request):
            return ""
        fields["csrfmiddlewaretoken"] = token
    return sha256(msgspec.json.encode((request.get_full_path(), sorted(fields.items())))).hexdigest()


def read_form(shape: type[msgspec.Struct] | None, given: QueryDict) -> Any:
    """The request from the fields of a form with the same names; empty fields are omitted. Raises BadParameter."""
    if shape is None:
        return None
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        text = given.get(field.encode_name, "")
        if field.type is bool:
            values[field.name] = text == "on"
        elif text or field.required:
            values[field.name] = _read_field(field, text)
    return shape(**values)


def _read_field(field: msgspec.structs.FieldInfo, text: str) -> Any:
    try:
        return msgspec.convert(text, field.type, strict=False)
    except msgspec.ValidationError:
        name = field.encode_name
        raise BadParameter(_("“{name}” cannot be “{text}”.").format(name=name, text=text[:40])) from None
