"""Answering many questions at once: found by a filter, shown, confirmed, followed. Forms that work without script."""

from collections.abc import Callable
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from errorkernel.domain.canary import CanaryState
from errorkernel.domain.incident_state import State
from errorkernel.domain.query.predicate import EVERYTHING, INCIDENT_FIELDS, QueryError, parse
from errorkernel.domain.values import Action
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import BulkDecision, BulkDecisionItem, Incident
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, BadParameter, number
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk, Watched
from errorkernel.store.platform.actor import Actor
from errorkernel.store.search import question_q
from errorkernel.templatetags.sentences import said
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ANSWER, VIEW, needs
from errorkernel.web.console.decide import NotAnAnswer
from errorkernel.web.console.decide import read as read_answer
from errorkernel.web.console.refusal import refuse

SHOWN = 50
ITEMS_A_PAGE = 100


def found_by(query: str) -> QuerySet[Incident]:
    """The open questions that ``query`` finds, the longest waiting first. Raises QueryError."""
    tree = parse(query, INCIDENT_FIELDS)
    if tree == EVERYTHING:
        raise QueryError(_("Say which questions; process:* finds them all."), 0)
    return Incident.objects.filter(question_q(tree), state=State.OPEN).order_by("opened_at", "id")


def propose(query: str, action: Action, reason: str, actor: Actor, *, first: UUID | None) -> BulkDecision:
    """A proposal on what ``query`` finds now; ``first``: the canary. Raises QueryError or CannotBulk."""
    ids = list(found_by(query).values_list("pk", flat=True)[: bulk_decisions.MOST])
    return bulk_decisions.propose(
        ids, actor, query=query, action=action, reason=reason, canary=first, two_above=two_above()
    )


def two_above() -> int:
    """To kill or stop more than this at once takes a second person; 0: never."""
    return conf.get().kill_needs_two_above


@require_http_methods(["GET", "HEAD", "POST"])
@needs(ANSWER)
def answer_many(request: HttpRequest) -> HttpResponse:
    """The questions that ``q`` finds, with the form that proposes one answer to them; POST: the proposal."""
    if request.method != "POST":
        return _preview(request, request.GET.get("q", ""))
    query = request.POST.get("q", "")
    try:
        given = read_answer(request)
        made = propose(query, given.action, given.reason, actor_of(request), first=_first(request))
    except QueryError:
        return _preview(request, query)
    except (NotAnAnswer, CannotBulk) as exc:
        return _preview(request, query, notice=said(exc))
    return HttpResponseRedirect(reverse("answer-to-many", args=[made.pk]))


def _first(request: HttpRequest) -> UUID | None:
    """The question to be answered first, if one was chosen. Raises NotAnAnswer."""
    chosen = request.POST.get("first", "")
    try:
        return UUID(chosen) if chosen else None
    except ValueError:
        raise NotAnAnswer(_("Choose one of the questions shown to be answered first, or none.")) from None


def _preview(request: HttpRequest, query: str, *, notice: str = "") -> HttpResponse:
    context = {
        "section": "waiting", "q": query, "notice": notice, "actions": list(Action), "total": 0, "now": timezone.now(),
        "typed": request.POST, "watch_s": conf.get().canary_watch_s, "fields": INCIDENT_FIELDS.items(),
    }  # fmt: skip
    status = 400 if notice else 200
    if query.strip():
        try:
            found = found_by(query)
            context["total"] = found.count()
            context["shown"] = list(found.select_related("node", "process")[:SHOWN])
        except QueryError as exc:
            context["mistake"], status = exc, 400
    return render(request, "errorkernel/answer_many.html", context, status=status)


@needs(VIEW)
def answer_to_many(request: HttpRequest, bulk_id: int) -> HttpResponse:
    """One answer to many: what is proposed, how far it is, what became of each question."""
    found = BulkDecision.objects.filter(pk=min(bulk_id, LARGEST)).first()
    if found is None:
        raise Http404
    try:
        page = number(request.GET, "page") or 1
    except BadParameter as exc:
        return refuse(request, str(exc))
    return render(request, "errorkernel/answer_to_many.html", _told(request, found, page))


def _told(request: HttpRequest, found: BulkDecision, page: int) -> dict[str, object]:
    now = timezone.now()
    first = (min(page, 10_000) - 1) * ITEMS_A_PAGE
    items = list(bulk_decisions.items(found)[first : first + ITEMS_A_PAGE + 1])
    results = bulk_decisions.results(found)
    watched = bulk_decisions.watched(found, now)
    return {
        "section": "waiting",
        "bulk": found,
        "results": results,
        "answered": found.count - results[BulkDecisionItem.Result.PENDING],
        "items": items[:ITEMS_A_PAGE],
        "page": page,
        "has_more": len(items) > ITEMS_A_PAGE,
        "watched": watched,
        "expired": found.state == BulkDecision.State.PROPOSED and now >= found.expires_at,
        "may_go_on": watched is not None and watched.shows is CanaryState.GOOD,
        "so_not_the_others": _so_not_the_others(found, watched),
        "needs_other": found.needs_approval and bulk_decisions.is_proposer(found, actor_of(request)),
        "waiting_for_more": found.state in BulkDecision.UNDER_WAY,
    }


def _so_not_the_others(found: BulkDecision, watched: Watched | None) -> str:
    over = found.state == BulkDecision.State.CANARY and (watched is None or watched.shows.stands)
    return bulk_decisions.SO_NOT_THE_OTHERS if over else ""


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def act(request: HttpRequest, bulk_id: int, act: str) -> HttpResponse:
    """One of ACTS by a form: back to its page; 409 where it cannot be done now."""
    page = reverse("answer-to-many", args=[bulk_id])
    if request.method == "GET":  # somebody went to the address of a page that said no
        return HttpResponseRedirect(page)
    if act not in ACTS:
        raise Http404
    try:
        ACTS[act](min(bulk_id, LARGEST), actor_of(request))
    except BulkDecision.DoesNotExist:
        raise Http404 from None
    except CannotBulk as exc:
        return refuse(request, said(exc), status=409)
    return HttpResponseRedirect(page)


def _confirm(bulk_id: int, actor: Actor) -> BulkDecision:
    confirmed, answered = bulk_decisions.confirm(bulk_id, actor, watch_s=conf.get().canary_watch_s)
    announce_incidents(answered)
    return confirmed


ACTS: dict[str, Callable[[int, Actor], BulkDecision]] = {
    "confirm": _confirm,
    "go-on": bulk_decisions.go_on,
    "leave": bulk_decisions.leave,
}
"""What can be done with a proposal: also the addresses of the API."""
