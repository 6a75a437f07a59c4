"""The form view of an operation: works without script and redirects to the page."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from errorkernel.platform.parameters import LARGEST, BadParameter, short
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.repeated_requests import RequestKey, perform_once
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import is_fetched, needs
from errorkernel.web.operations.operation import Done, Form, Operation, Refused
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS


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
            done = _perform(request, operation, key, given, actor)
        except resource.missing as exc:
            if resource.show_missing is None:
                raise Http404 from None
            return resource.show_missing(refused(exc, 409))
        except Exception as exc:
            refusal = operation.refusal_of(exc)
            if refusal is None and not isinstance(exc, BadParameter):
                raise
            return resource.show_refusal(refused(exc, refusal.body(exc).status if refusal else 400))
        if done is None:  # a second press on the button
            return HttpResponse(status=204) if is_fetched(request) else HttpResponseRedirect(operation.page_of(named))
        if message := form.message(done) if callable(form.message) else form.message:
            messages.success(request, message)
        return form.after(done) if form.after else HttpResponseRedirect(operation.page_of(named))

    return view


def _perform(request: HttpRequest, operation: Operation[Any], key: Any, given: Any, actor: Actor) -> Done | None:
    """None for a form with a ``request_id`` that was sent before, unchanged: it is not performed again. Raises what the
    handler raises."""
    done: Done | None = None

    def work() -> bytes:
        nonlocal done
        result = operation.handler(key, given, actor)
        done = Done(request=request, operation=operation, key=key, given=given, result=result)
        return b""

    request_id = short(request.POST.get("request_id", ""), REQUEST_ID_MAX_CHARS)
    if not request_id or operation.keeps_request_id or actor.user is None:
        work()
        return done
    # With what was sent: who goes back, changes a text and sends it again wants both.
    sent = sorted((name, values) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken")
    content = hashlib.sha256(msgspec.json.encode((operation.name, str(key), sent))).hexdigest()
    perform_once(RequestKey(actor.user.pk, actor.at, content, content), work)
    return done


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
