"""The failed message back to the operator: sent to its process again, dropped or kept, by a form or by the API."""

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import DeadLetter, Incident, Requeue
from errorkernel.platform.parameters import LARGEST, short
from errorkernel.store.incidents.requeues import CannotRequeue, Wanted, Wish, dispose, dispose_of_letter
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.sentences import said
from errorkernel.web.api import authentication
from errorkernel.web.api.authentication import ApiError, as_json, not_allowed, read_body
from errorkernel.web.api.schemas import messages as shapes_messages
from errorkernel.web.api.schemas.common import REQUEST_ID_MAX_CHARS
from errorkernel.web.api.schemas.messages import Disposal
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ANSWER, needs
from errorkernel.web.console.refusal import refuse

DONE = {
    Wish.REQUEUE: gettext_lazy("The message is on its way to its process. This page shows how far it is."),
    Wish.DROP: gettext_lazy("The message was dropped. It stays here to be read."),
    Wish.DEAD_LETTER: gettext_lazy("The message is kept as a dead letter."),
}
OF_LETTERS = (Wish.REQUEUE, Wish.DROP)
"""What can be wanted of a message that is kept already."""
Doing: TypeAlias = Callable[[Wanted, Actor], Requeue]
_decoder = msgspec.json.Decoder(Disposal)


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def dispose_of_message(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """The form: back to the incident's page; 400 for what cannot be done, 404 unknown."""
    page = reverse("incident", args=[incident_id])
    return _by_form(request, page, tuple(Wish), lambda wanted, actor: dispose(incident_id, wanted, actor))


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def dispose_of_dead_letter(request: HttpRequest, letter_id: int) -> HttpResponse:
    """The form beside a dead letter: back to the list, as it was narrowed; 400 for what cannot be done, 404 unknown."""
    letter_id = min(letter_id, LARGEST)
    page = f"{reverse('dead-letters')}?{request.GET.urlencode()}#letter-{letter_id}"
    return _by_form(request, page, OF_LETTERS, lambda wanted, actor: dispose_of_letter(letter_id, wanted, actor))


def _by_form(request: HttpRequest, page: str, wishes: tuple[Wish, ...], do: Doing) -> HttpResponse:
    if request.method == "GET":  # somebody went to the address of a page that said no
        return HttpResponseRedirect(page)
    wish = request.POST.get("wish", "")
    if wish not in wishes:
        return refuse(request, _("Choose what is to be done with the message."))
    wanted = _wanted(Wish(wish), request.POST.get("reason", ""), request.POST.get("request_id", ""))
    try:
        row = do(wanted, actor_of(request))
    except (Incident.DoesNotExist, DeadLetter.DoesNotExist):
        raise Http404 from None
    except CannotRequeue as exc:
        return refuse(request, said(exc), status=409)
    _announce(row)
    messages.success(request, DONE[wanted.wish])
    return HttpResponseRedirect(page)


@csrf_exempt
def api(request: HttpRequest, incident_id: str, wish: str) -> HttpResponse:
    """POST ``/api/v1/incidents/{id}/<wish>``: 200 with its state; 409 it cannot be done now."""
    return _of_incident(request, incident_id, Wish(wish)) if request.method == "POST" else not_allowed("POST")


@csrf_exempt
def api_of_letter(request: HttpRequest, letter_id: int, wish: str) -> HttpResponse:
    """POST ``/api/v1/dead-letters/{number}/<wish>``: the same of a dead letter."""
    return _of_letter(request, letter_id, Wish(wish)) if request.method == "POST" else not_allowed("POST")


@authentication.needs(ANSWER)
def _of_incident(request: HttpRequest, actor: Actor, incident_id: str, wish: Wish) -> HttpResponse:
    return _by_api(request, actor, wish, lambda wanted, actor: dispose(UUID(incident_id), wanted, actor))


@authentication.needs(ANSWER)
def _of_letter(request: HttpRequest, actor: Actor, letter_id: int, wish: Wish) -> HttpResponse:
    number = min(letter_id, LARGEST)
    return _by_api(request, actor, wish, lambda wanted, actor: dispose_of_letter(number, wanted, actor))


def _by_api(request: HttpRequest, actor: Actor, wish: Wish, do: Doing) -> HttpResponse:
    given = read_body(request, _decoder, "a reason and a request_id, or nothing", empty=Disposal())
    try:
        row = do(_wanted(wish, given.reason, str(given.request_id)), actor)
    except (Incident.DoesNotExist, ValueError):
        raise ApiError(404, "There is no such incident.") from None
    except DeadLetter.DoesNotExist:
        raise ApiError(404, "There is no such dead letter.") from None
    except CannotRequeue as exc:
        raise ApiError(409, str(exc)) from None
    _announce(row)
    return as_json(200, shapes_messages.disposed(row))


def _wanted(wish: Wish, reason: str, request_id: str) -> Wanted:
    return Wanted(wish, short(reason, REASON_MAX_CHARS), short(request_id, REQUEST_ID_MAX_CHARS))


def _announce(row: Requeue) -> None:
    if row.incident_id:
        announce_incidents([row.incident_id])
