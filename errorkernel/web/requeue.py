"""The failed message back to the operator: send it to its process again or drop it, by a form or by the API."""

from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from errorkernel.core.limits import REASON_MAX_CHARS
from errorkernel.live import announce_incidents
from errorkernel.models import Incident
from errorkernel.store.requeues import CannotRequeue, Wish, dispose
from errorkernel.templatetags.sentences import said
from errorkernel.web import api_access, shapes_acts
from errorkernel.web.access import ANSWER, needs
from errorkernel.web.actor import origin_of
from errorkernel.web.api_access import ApiError, Operator, as_json, not_allowed, read_body
from errorkernel.web.parameters import refuse, short
from errorkernel.web.shapes import REQUEST_ID_MAX_CHARS
from errorkernel.web.shapes_acts import Disposal

DONE = {
    Wish.REQUEUE: gettext_lazy("The message is on its way to its process. This page shows how far it is."),
    Wish.DROP: gettext_lazy("The message was dropped. It stays here to be read."),
}


_decoder = msgspec.json.Decoder(Disposal)


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def dispose_of_message(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """The form: back to the incident's page; 400 for what cannot be done, 404 unknown."""
    page = reverse("incident", args=[incident_id])
    if request.method == "GET":  # somebody went to the address of a page that said no
        return HttpResponseRedirect(page)
    wish = request.POST.get("wish", "")
    if wish not in list(Wish):
        return refuse(request, _("Choose what is to be done with the message: send it again, or drop it."))
    try:
        dispose(
            incident_id,
            Wish(wish),
            by=f"user:{request.user.get_username()}",
            user=request.user if request.user.is_authenticated else None,
            reason=short(request.POST.get("reason", ""), REASON_MAX_CHARS),
            request_id=short(request.POST.get("request_id", ""), REQUEST_ID_MAX_CHARS),
            origin=origin_of(request),
            now=timezone.now(),
        )
    except Incident.DoesNotExist:
        raise Http404 from None
    except CannotRequeue as exc:
        return refuse(request, said(exc), status=409)
    announce_incidents([incident_id])
    messages.success(request, DONE[Wish(wish)])
    return HttpResponseRedirect(page)


@csrf_exempt
def api(request: HttpRequest, incident_id: str, wish: str) -> HttpResponse:
    """POST ``/api/v1/incidents/{id}/requeue`` or ``/drop``: 200 with its state; 409 it cannot be done now."""
    return _dispose(request, incident_id, Wish(wish)) if request.method == "POST" else not_allowed("POST")


@api_access.needs(ANSWER)
def _dispose(request: HttpRequest, operator: Operator, incident_id: str, wish: Wish) -> HttpResponse:
    given = read_body(request, _decoder, "a reason and a request_id, or nothing", empty=Disposal())
    try:
        row = dispose(
            UUID(incident_id),
            wish,
            by=f"user:{operator.user.get_username()}",
            user=operator.user,
            reason=short(given.reason, REASON_MAX_CHARS),
            request_id=short(str(given.request_id), REQUEST_ID_MAX_CHARS),
            origin=operator.origin,
            now=timezone.now(),
        )
    except (Incident.DoesNotExist, ValueError):
        raise ApiError(404, "There is no such incident.") from None
    except CannotRequeue as exc:
        raise ApiError(409, str(exc)) from None
    announce_incidents([row.incident_id])
    return as_json(200, shapes_acts.disposed(row))
