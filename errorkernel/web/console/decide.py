"""A person's answer to a waiting process: a form that works without script, a card in place with it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.values import Action
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import Decision, Incident
from errorkernel.store.incidents.decisions import AlreadyDecided, NotOpen, decide
from errorkernel.store.incidents.decisions import with_relations as cards
from errorkernel.templatetags.console import answerer, duration
from errorkernel.web.api.schemas.common import REQUEST_ID_MAX_CHARS
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ANSWER, FETCHED, is_fetched, needs
from errorkernel.web.console.incidents import opened

SAYING = {
    Action.CONTINUE: gettext_lazy("It will continue"),
    Action.KILL: gettext_lazy("It will be killed and started again"),
    Action.STOP: gettext_lazy("It will be stopped and not started again"),
}


class NotAnAnswer(ValueError):
    """The form cannot be taken as it is; the message is one sentence for whoever filled it in."""


@dataclass(frozen=True, slots=True)
class Answer:
    action: Action
    reason: str
    request_id: str


def read(request: HttpRequest) -> Answer:
    """The form that was sent. Raises NotAnAnswer."""
    given = request.POST.get("action", "")
    if given not in [one.value for one in Action]:
        raise NotAnAnswer(_("Choose one of the answers: continue, kill or stop."))
    action = Action(given)
    reason = request.POST.get("reason", "").replace("\x00", "").strip()
    if action is not Action.CONTINUE and not reason:
        raise NotAnAnswer(
            _("To {action} a process needs a reason: it is kept, and others will read it.").format(action=action.value)
        )
    if len(reason) > REASON_MAX_CHARS:
        raise NotAnAnswer(
            _("The reason has {count} characters; at most {most} are kept.").format(
                count=len(reason), most=REASON_MAX_CHARS
            )
        )
    return Answer(action, reason, request.POST.get("request_id", "").replace("\x00", "")[:REQUEST_ID_MAX_CHARS])


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def answer(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """Record one answer: 200 (card) or back to the page; 400 not an answer; 409 somebody was first; 404 unknown."""
    if request.method == "GET":  # somebody went to the address of a page that said no
        return HttpResponseRedirect(reverse("incident", args=[incident_id]))
    try:
        given = read(request)
    except NotAnAnswer as exc:
        return _card(request, incident_id, notice=str(exc), status=400)
    actor = actor_of(request)
    try:
        decision = decide(
            incident_id,
            given.action,
            actor,
            reason=given.reason,
            request_id=given.request_id,
        )
    except Incident.DoesNotExist:
        raise Http404 from None
    except AlreadyDecided as exc:
        return _card(request, incident_id, notice=lost_to(exc.decision, request.user, actor.at), status=409)
    except NotOpen:
        return _card(request, incident_id, notice=_("Nothing was answered: the question no longer stands."), status=409)
    announce_incidents([incident_id])
    if decision.action != given.action:
        # The same form, sent before with another button: the first one counts.
        return _card(request, incident_id, notice=lost_to(decision, request.user, actor.at), status=409)
    if is_fetched(request):
        return _card(request, incident_id, status=200)
    messages.success(
        request,
        _("You answered {action}. {saying}; its card shows how far that is.").format(
            action=given.action.value, saying=SAYING[given.action]
        ),
    )
    return HttpResponseRedirect(_next(request, incident_id))


def lost_to(decision: Decision, user: AbstractBaseUser | AnonymousUser, now: datetime) -> str:
    """“bob answered kill 0.4 s earlier: disk is being replaced”."""
    winner = _("You") if decision.actor == f"user:{user.get_username()}" else answerer(decision)
    seconds = max(0.0, (now - decision.decided_at).total_seconds())
    earlier = f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
    reason = f": {decision.reason}" if decision.reason else ""
    said = _("{winner} answered {action} {time} earlier")
    return said.format(winner=winner, action=decision.action, time=earlier) + reason


def _next(request: HttpRequest, incident_id: UUID) -> str:
    """Back to the page that the form was on, if it is one of ours."""
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("incident", args=[incident_id])


def _card(request: HttpRequest, incident_id: UUID, *, notice: str = "", status: int) -> HttpResponse:
    """The card as it now is, alone for a script and on its page for a reader, with what was typed still in it."""
    incident = cards().filter(pk=incident_id).first()
    if incident is None:
        raise Http404
    context = {
        "incident": incident,
        "now": timezone.now(),
        "notice": notice,
        "typed": request.POST.get("reason", ""),
        "next": request.POST.get("next", ""),
    }
    if is_fetched(request):
        response = render(request, "errorkernel/_incident.html", context, status=status)
        response.headers[FETCHED] = "1"
        return response
    return render(request, "errorkernel/incident.html", opened(incident) | context, status=status)
