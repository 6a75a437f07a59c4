"""Operations of the triage: one decision for a problem's pending incidents, takes, and comments on incidents."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from errorkernel.domain.problem_state import ProblemError
from errorkernel.domain.query.parse import QueryError
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import BulkDecision, Comment, Incident, Problem
from errorkernel.platform import conf
from errorkernel.platform.parameters import BadParameter, short
from errorkernel.store.incidents import bulk_decisions, comments, group_decisions, takes
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.incidents.group_decisions import Choice
from errorkernel.store.incidents.takes import CannotTake, Take
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart
from errorkernel.templatetags.console import visible
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.page_requests import refuse
from errorkernel.web.auth.permissions import DECIDE, FETCHED, is_fetched
from errorkernel.web.operations.incidents import read_decision
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Refused, Resource
from errorkernel.web.schemas import details
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS
from errorkernel.web.schemas.details import CommentItem, TakenIncident, TakenProblem
from errorkernel.web.schemas.operations import (
    BulkDecisionStatus,
    GroupDecision,
    ProblemText,
    Scope,
    TakeRequest,
    bulk_decision_status,
)


def _back(done: Done) -> HttpResponse:
    """204 for a script; else the page of the form, if it is one of the product."""
    request = done.request
    if is_fetched(request):
        return _plain("", 204)
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(wanted)
    return HttpResponseRedirect(done.operation.page_of(done.key))


def _show_refusal(refused: Refused) -> HttpResponse:
    """The sentence alone for a script; a page with it for a person."""
    words = translated(refused.error)
    if is_fetched(refused.request):
        return _plain(words, refused.status)
    return refuse(refused.request, words, status=refused.status)


def _plain(words: str, status: int) -> HttpResponse:
    return HttpResponse(words, status=status, content_type="text/plain; charset=utf-8", headers={FETCHED: "1"})


# The decision on a group


def _decide(key: int, given: GroupDecision, actor: Actor) -> BulkDecision:
    """The bulk decision, with its first incidents decided unless it needs an approval."""
    settings = conf.get()
    bulk, decided = group_decisions.decide(
        key,
        _choice(given),
        actor,
        watch_s=settings.canary_watch_s,
        two_above=settings.kill_needs_two_above,
    )
    transaction.on_commit(partial(announce_incidents, decided, triage=True))
    return bulk


def _choice(given: GroupDecision) -> Choice:
    """Raises CannotBulk for a selection with another scope than ``chosen``, and for ``chosen`` without one."""
    selection = {name: getattr(given, name) for name in ("node", "release", "condition", "incidents")}
    named = next((name for name, value in selection.items() if value), "")
    if given.scope == Scope.CHOSEN and not named:
        raise CannotBulk(group_decisions.NOTHING_CHOSEN, "invalid_field", "scope")
    if given.scope != Scope.CHOSEN and named:
        raise CannotBulk(group_decisions.OTHER_SCOPE, "invalid_field", named)
    return Choice(
        given.action,
        (given.reason or "").replace("\0", "").strip(),
        canary_first=given.scope == Scope.CANARY or (given.scope == Scope.CHOSEN and given.canary is not None),
        canary=given.canary,
        node=given.node or "",
        release=given.release or "",
        condition=given.condition or "",
        incidents=given.incidents,
    )


_DECISION_FIELDS = ("action", "reason", "scope", "canary", "node", "release", "condition", "incident")


def _read_decision(given: QueryDict, actor: Actor) -> GroupDecision:
    """The selection counts only with the scope ``chosen``: its fields stand beside the others in the form."""
    decision = read_decision(given, actor)
    scope = given.get("scope", Scope.CANARY.value)
    if scope not in list(Scope):
        raise BadParameter(_("“{name}” cannot be “{text}”.").format(name="scope", text=scope[:40]))
    made = GroupDecision(
        action=decision.action,
        reason=decision.reason,
        scope=Scope(scope),
        canary=_read_id(given.get("canary", "")),
        request_id=short(given.get("request_id", ""), REQUEST_ID_MAX_CHARS),
    )
    if made.scope == Scope.CHOSEN:
        made.node = given.get("node", "") or None
        made.release = given.get("release", "") or None
        made.condition = given.get("condition", "") or None
        ids = [_read_id(text) for text in given.getlist("incident")]
        made.incidents = [found for found in ids if found]
    return made


def _read_id(text: str) -> UUID | None:
    """Raises BadParameter."""
    try:
        return UUID(text) if text else None
    except ValueError:
        raise BadParameter(_("“{name}” cannot be “{text}”.").format(name="incident", text=text[:40])) from None


def _say_decided(done: Done) -> str:
    bulk: BulkDecision = done.result
    if is_fetched(done.request):
        return ""
    if bulk.needs_approval:
        return _("A second person must approve this for {count} processes. Nothing has been sent yet.").format(
            count=bulk.count
        )
    if bulk.then_rest:
        return _("The canary is decided. The others follow if it succeeds.")
    text = ngettext(
        "{count} process: the decision is on its way.", "{count} processes: the decision is on its way.", bulk.count
    )
    return text.format(count=bulk.count)


_GROUP = Resource(
    address="problems",
    noun="problem",
    page="problem",
    item=BulkDecisionStatus,
    encode=lambda bulk: bulk_decision_status(bulk, timezone.now()),
    missing=Problem.DoesNotExist,
    show_refusal=_show_refusal,
)


# Takes


def _taken_problem(taken: Take) -> TakenProblem:
    return details.taken_problem(taken.row, taken.previous)


def _taken_incident(taken: Take) -> TakenIncident:
    row = Incident.objects.select_related("node", "process", "decision", "taken_by").get(pk=taken.row.pk)
    return details.taken_incident(row, taken.previous)


def _of_problem(work: Callable[[Any, Any, Actor], Take]) -> Callable[[Any, Any, Actor], Take]:
    """``work``, and every page shows it."""

    def handle(key: Any, given: Any, actor: Actor) -> Take:
        taken = work(key, given, actor)
        transaction.on_commit(partial(announce_incidents, (), triage=True))
        return taken

    return handle


def _of_incident(work: Callable[[Any, Any, Actor], Take]) -> Callable[[Any, Any, Actor], Take]:
    """``work``, and every page shows it."""

    def handle(key: Any, given: Any, actor: Actor) -> Take:
        taken = work(key, given, actor)
        transaction.on_commit(partial(announce_incidents, [taken.row.pk], triage=True))
        return taken

    return handle


def _say_taken(done: Done) -> str:
    if is_fetched(done.request):
        return ""
    if done.result.previous:
        return _("You took it over from {name}.").format(name=visible(done.result.previous))
    return _("You took it. Everybody sees that.")


def _say_released(done: Done) -> str:
    if is_fetched(done.request):
        return ""
    own = done.request.user.get_username()
    if done.result.previous not in ("", own):
        return _("You gave it back for {name}.").format(name=visible(done.result.previous))
    return _("You gave it back.")


_PROBLEM = Resource(
    address="problems",
    noun="problem",
    page="problem",
    item=TakenProblem,
    encode=_taken_problem,
    missing=Problem.DoesNotExist,
    refusals=(Refusal(error=IsPart, codes=("problem_merged",)),),
    show_refusal=_show_refusal,
)
_INCIDENT = Resource(
    address="incidents",
    noun="incident",
    key=UUID,
    page="incident",
    item=TakenIncident,
    encode=_taken_incident,
    missing=Incident.DoesNotExist,
    show_refusal=_show_refusal,
)
_CANNOT_TAKE = Refusal(error=CannotTake, codes=("not_pending",))


def _take(resource: Resource, handler: Callable[[Any, Any, Actor], Take]) -> Operation[Any]:
    noun = resource.noun
    return Operation(
        name=f"take{noun.capitalize()}",
        summary=f"Take {'an' if noun == 'incident' else 'a'} {noun}: everybody sees who looks into it",
        resource=resource,
        verb="take",
        permission=DECIDE,
        request=TakeRequest,
        example={"minutes": 30},
        handler=handler,
        refusals=(_CANNOT_TAKE,),
        form=Form(message=_say_taken, after=_back),
    )


def _release(resource: Resource, handler: Callable[[Any, Any, Actor], Take]) -> Operation[Any]:
    noun = resource.noun
    return Operation(
        name=f"release{noun.capitalize()}",
        summary=f"Give {'an' if noun == 'incident' else 'a'} {noun} back",
        resource=resource,
        verb="release",
        permission=DECIDE,
        handler=handler,
        form=Form(message=_say_released, after=_back),
    )


# Comments


def _comment(key: UUID, given: ProblemText, actor: Actor) -> Comment:
    return comments.comment(key, given.text, actor)


_COMMENT = Resource(
    address="incidents",
    noun="incident",
    key=UUID,
    page="incident",
    item=CommentItem,
    encode=details.comment,
    missing=Incident.DoesNotExist,
    refusals=(Refusal(error=ProblemError, codes=("invalid_field",)),),
    show_refusal=_show_refusal,
)


# The note of an expired proposal


_NOTE = Resource(
    address="bulk-decisions",
    noun="bulk decision",
    page="bulk-decision",
    item=BulkDecisionStatus,
    encode=lambda bulk: bulk_decision_status(bulk, timezone.now()),
    missing=BulkDecision.DoesNotExist,
    show_refusal=_show_refusal,
)

OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="decideProblem",
        summary="Decide the pending incidents of a problem: one first and then the others, all, or some of them",
        resource=_GROUP,
        verb="decision",
        audit_verb="propose",
        permission=DECIDE,
        request=GroupDecision,
        example={"action": "continue", "scope": "canary", "reason": "The disk is back."},
        handler=_decide,
        done="The bulk decision: in progress, or proposed where a second person must approve it",
        refusals=(
            Refusal(error=QueryError, codes=("invalid_search",), field="condition"),
            Refusal(
                error=CannotBulk,
                codes=(
                    "no_incident_matches",
                    "canary_not_matched",
                    "bulk_decision_in_progress",
                    "invalid_field",
                    "missing_field",
                ),
            ),
        ),
        form=Form(read=_read_decision, fields=_DECISION_FIELDS, message=_say_decided, after=_back),
    ),
    _take(_PROBLEM, _of_problem(lambda key, given, actor: takes.take_problem(key, given.minutes, actor))),
    _release(_PROBLEM, _of_problem(lambda key, given, actor: takes.release_problem(key, actor))),
    _take(_INCIDENT, _of_incident(lambda key, given, actor: takes.take_incident(key, given.minutes, actor))),
    _release(_INCIDENT, _of_incident(lambda key, given, actor: takes.release_incident(key, actor))),
    Operation(
        name="commentIncident",
        summary="Comment on an incident",
        resource=_COMMENT,
        verb="comment",
        permission=DECIDE,
        request=ProblemText,
        example={"text": "The cable was loose."},
        handler=_comment,
        done="The comment",
        form=Form(message=gettext_lazy("Your comment is saved."), after=_back),
    ),
    Operation(
        name="closeExpiredNote",
        summary="Close the note that one's own proposal has expired",
        resource=_NOTE,
        verb="close-note",
        permission=DECIDE,
        handler=lambda key, given, actor: bulk_decisions.close_note(key, actor),
        refusals=(Refusal(error=CannotBulk, codes=("wrong_state",)),),
        form=Form(after=_back),
    ),
)
