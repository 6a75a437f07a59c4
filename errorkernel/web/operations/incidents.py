"""Operations on incidents: the decision, and requeueing the failed message."""

import time
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.values import Action
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import Decision, Incident, Requeue
from errorkernel.platform.parameters import BadParameter, short
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.incidents.decisions import AlreadyDecided, NotOpen
from errorkernel.store.incidents.requeues import CannotRequeue, Wanted, Wish
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.console import decider, duration, verb
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import DECIDE, FETCHED, is_fetched
from errorkernel.web.console.incident import opened
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Refused, Resource
from errorkernel.web.schemas.common import (
    REQUEST_ID_MAX_CHARS,
    Answer,
    DecidedByOther,
    NoLongerOpen,
    RecordedDecision,
    of_row,
)
from errorkernel.web.schemas.messages import MessageOperation, MessageRequest, message_operation

APPEAR_WAIT_S = 2.0
"""Seconds to wait for an unknown incident: a node gets 202 for an event before the kernel stores it."""
APPEAR_CHECK_S = 0.05
SAYING = {
    Action.CONTINUE: gettext_lazy("The process will continue"),
    Action.KILL: gettext_lazy("The process will be killed and restarted"),
    Action.STOP: gettext_lazy("The process will be stopped and not restarted"),
}


# The decision


def _decide(key: UUID, given: Answer, actor: Actor) -> Decision:
    """The decision. A person's own decision with the same action is returned again: the request was a retry.

    Raises AlreadyDecided also where the same ``request_id`` was used for another action: the first one counts."""
    request_id = given.request_key
    reason = short(given.reason or "", REASON_MAX_CHARS)
    until = time.monotonic() + APPEAR_WAIT_S
    while True:
        try:
            made = decisions.decide(key, given.action, actor, reason=reason, request_id=request_id)
            break
        except AlreadyDecided as exc:
            if exc.decision.actor == actor.id and exc.decision.action == given.action:
                return exc.decision
            raise
        except Incident.DoesNotExist:
            if time.monotonic() >= until:
                raise
        time.sleep(APPEAR_CHECK_S)
    announce_incidents([key])
    if made.action != given.action:
        raise AlreadyDecided(made)
    return made


DECISION_FIELDS = ("action", "reason")


def read_decision(given: QueryDict, actor: Actor) -> Answer:
    """The fields ``action`` and ``reason`` of a form. Raises BadParameter."""
    chosen = given.get("action", "")
    if chosen not in list(Action):
        raise BadParameter(_("Choose an action: continue, kill or stop."))
    action = Action(chosen)
    reason = given.get("reason", "").replace("\x00", "").strip()
    if action is not Action.CONTINUE and not reason:
        raise BadParameter(_("{action} needs a reason. It is stored and shown to others.").format(action=action.value))
    if len(reason) > REASON_MAX_CHARS:
        raise BadParameter(
            _("The reason has {count} characters; the maximum is {most}.").format(
                count=len(reason), most=REASON_MAX_CHARS
            )
        )
    return Answer(action, reason, request_id=short(given.get("request_id", ""), REQUEST_ID_MAX_CHARS))


def _show_refusal(refused: Refused) -> HttpResponse:
    error = refused.error
    notice = str(error)
    if isinstance(error, AlreadyDecided):
        notice = _lost_to(error.decision, refused)
    elif isinstance(error, NotOpen):
        notice = _("Your decision was not stored: the incident is no longer pending.")
    return _card(refused.request, refused.key, notice=notice, status=refused.status)


def _lost_to(decision: Decision, refused: Refused) -> str:
    """“bob decided kill 0.4 s earlier: disk is being replaced”."""
    winner = _("You") if decision.actor == f"user:{refused.request.user.get_username()}" else decider(decision)
    seconds = max(0.0, (refused.at - decision.decided_at).total_seconds())
    earlier = f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
    reason = f": {decision.reason}" if decision.reason else ""
    text = _("{winner} decided {action} {time} earlier")
    return text.format(winner=winner, action=verb(decision.action), time=earlier) + reason


def _show_decided(done: Done) -> HttpResponse:
    """The card for a script; else the page of the form, if it is one of the product."""
    request = done.request
    if is_fetched(request):
        return _card(request, done.key, status=200)
    action = done.given.action
    messages.success(
        request,
        _("You decided {action}. {saying}. The card shows the progress.").format(
            action=verb(action.value), saying=SAYING[action]
        ),
    )
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(wanted)
    return HttpResponseRedirect(reverse("incident", args=[done.key]))


def _card(request: HttpRequest, incident_id: UUID, *, notice: str = "", status: int) -> HttpResponse:
    """The present card, alone for a script, else on its page, with the typed values."""
    incident = decisions.with_relations().filter(pk=incident_id).first()
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
    return render(request, "errorkernel/incident.html", opened(incident, actor_of(request)) | context, status=status)


def _winner(error: AlreadyDecided) -> dict[str, Any]:
    decision = error.decision
    return {
        "winner": decision.actor,
        "action": decision.action,
        "reason": decision.reason,
        "decided_at": decision.decided_at,
    }


_INCIDENT = Resource(
    address="incidents",
    noun="incident",
    key=UUID,
    page="incident",
    item=RecordedDecision,
    encode=lambda made: of_row(RecordedDecision, made, by=made.actor, incident=made.incident_id, decision_id=made.pk),
    missing=Incident.DoesNotExist,
    show_refusal=_show_refusal,
)
_DECISION = (
    Operation(
        name="decide",
        summary="Decide an incident",
        resource=_INCIDENT,
        verb="decision",
        audit_verb="decide",
        permission=DECIDE,
        request=Answer,
        example={"action": "kill", "reason": "The disk is being replaced."},
        handler=_decide,
        done="The decision is recorded and on its way",
        refusals=(
            Refusal(error=AlreadyDecided, codes=("already_decided",), shape=DecidedByOther, more=_winner),
            Refusal(
                error=NotOpen,
                codes=("not_open",),
                shape=NoLongerOpen,
                more=lambda exc: {"state": State(exc.state)},
            ),
        ),
        keeps_request_id=True,
        form=Form(read=read_decision, fields=DECISION_FIELDS, after=_show_decided),
    ),
)


# The failed message


DISPOSED = {
    Wish.REQUEUE: gettext_lazy("The message has been requeued. This page shows its progress."),
    Wish.DROP: gettext_lazy("The message was dropped. You can still read it here."),
    Wish.DEAD_LETTER: gettext_lazy("The message is kept as a dead letter."),
}


CANNOT_REQUEUE = (
    "no_message",
    "message_in_use",
    "message_dropped",
    "already_requeued",
    "already_kept",
    "no_commands",
    "message_truncated",
    "request_id_reused",
)


def wanted(wish: Wish, given: MessageRequest) -> Wanted:
    return Wanted(wish, short(given.reason, REASON_MAX_CHARS), given.request_key)


def dispose_operation(wish: Wish, name: str, summary: str, resource: Resource, **particular: Any) -> Operation[Any]:
    """An operation on the failed message of an incident or dead letter."""
    return Operation(
        name=name,
        summary=summary,
        resource=resource,
        verb=wish.value,
        permission=DECIDE,
        request=MessageRequest,
        example={"reason": "The disk was replaced."},
        done="How far it is",
        refusals=(Refusal(error=CannotRequeue, codes=CANNOT_REQUEUE),),
        keeps_request_id=True,
        **particular,
    )


def _of_incident(wish: Wish, name: str, summary: str) -> Operation[Any]:
    def handle(key: UUID, given: MessageRequest, actor: Actor) -> Requeue:
        row = requeues.dispose(key, wanted(wish, given), actor)
        announce_incidents([key])
        return row

    return dispose_operation(wish, name, summary, _MESSAGE, handler=handle, form=Form(message=DISPOSED[wish]))


_MESSAGE = Resource(
    address="incidents",
    noun="incident",
    key=UUID,
    page="incident",
    item=MessageOperation,
    encode=message_operation,
    missing=Incident.DoesNotExist,
)
OPERATIONS: tuple[Operation[Any], ...] = (
    *_DECISION,
    _of_incident(Wish.REQUEUE, "requeueMessage", "Send the failed message to its process again"),
    _of_incident(Wish.DROP, "dropMessage", "Drop the failed message; it stays to be read"),
    _of_incident(Wish.DEAD_LETTER, "deadLetterMessage", "Keep the failed message as a dead letter"),
)
