"""Pages of bulk decisions: the form with the incidents of a filter, and the progress of a bulk decision."""

import math
from datetime import datetime

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain.canary import CanaryState
from errorkernel.domain.incident_state import State
from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.tree import EVERYTHING
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, BulkDecisionItem, Incident
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, number
from errorkernel.store.incidents import bulk_decisions, bulk_progress
from errorkernel.store.incidents.bulk_progress import Watched
from errorkernel.store.search import incident_q
from errorkernel.store.status import approvals
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import DECIDE, VIEW, needs
from errorkernel.web.console.approvals import proposal_context
from errorkernel.web.console.pager import Pager, first_row

SHOWN = 50
ITEMS_A_PAGE = 100


def found_by(query: str) -> QuerySet[Incident]:
    """The pending incidents that ``query`` matches, the oldest first. Raises QueryError."""
    tree = parse(query, INCIDENT_FIELDS)
    if tree == EVERYTHING:
        raise QueryError(_("Enter a search. process:* matches every incident."), 0)
    return Incident.objects.filter(incident_q(tree), state=State.OPEN).order_by("opened_at", "id")


@needs(DECIDE, "q")
def new(request: HttpRequest) -> HttpResponse:
    """The incidents that ``q`` matches, with the form for a bulk decision."""
    return preview(request, request.GET.get("q", ""))


def preview(request: HttpRequest, query: str, *, notice: str = "") -> HttpResponse:
    """``notice``: why a proposal was refused."""
    context = {
        "section": "triage", "q": query, "notice": notice, "actions": list(Action), "total": 0,
        "now": timezone.now(), "typed": request.POST, "watch_s": conf.get().canary_watch_s,
        "fields": INCIDENT_FIELDS.items(),
    }  # fmt: skip
    status = 400 if notice else 200
    if query.strip():
        try:
            found = found_by(query)
            context["total"] = found.count()
            context["shown"] = list(found.select_related("node", "process")[:SHOWN])
        except QueryError as exc:
            context["mistake"], status = exc, 400
    return render(request, "errorkernel/bulk_decision_new.html", context, status=status)


@needs(VIEW, "page")
def bulk_decision(request: HttpRequest, bulk_id: int) -> HttpResponse:
    """One bulk decision: proposal, progress, and the result of each incident."""
    found = BulkDecision.objects.filter(pk=min(bulk_id, LARGEST)).select_related("problem").first()
    if found is None:
        raise Http404
    page = number(request.GET, "page") or 1
    return render(request, "errorkernel/bulk_decision.html", _context(request, found, page))


def _context(request: HttpRequest, found: BulkDecision, page: int) -> dict[str, object]:
    actor = actor_of(request)
    first = first_row(page, ITEMS_A_PAGE)
    results = bulk_progress.results(found)
    watched = bulk_progress.watched(found, actor.at)
    return {
        "section": "approvals",
        "bulk": found,
        "one": proposal_context(approvals.proposals([found], actor.at)[0], actor),
        "rejection": approvals.rejection_of(found),
        "results": results,
        "answered": found.count - results[BulkDecisionItem.Result.PENDING],
        "items": list(bulk_decisions.items(found)[first : first + ITEMS_A_PAGE]),
        "pager": Pager.numbered({}, page, ITEMS_A_PAGE, found.count),
        "watched": watched,
        "observed_s": _observed_s(found, watched, actor.at),
        "may_go_on": watched is not None and watched.shows is CanaryState.GOOD,
        "so_not_the_others": _so_not_the_others(found, watched),
        "waiting_for_more": found.state in BulkDecision.UNDER_WAY,
    }


def _observed_s(found: BulkDecision, watched: Watched | None, now: datetime) -> int:
    """For how long the canary has been observed, in seconds."""
    if watched is None or watched.until is None or found.watch_s is None:
        return 0
    return min(found.watch_s, max(0, found.watch_s - math.ceil((watched.until - now).total_seconds())))


def _so_not_the_others(found: BulkDecision, watched: Watched | None) -> str:
    over = found.state == BulkDecision.State.CANARY and (watched is None or watched.shows.stands)
    return bulk_decisions.REST_NOT_APPLIED if over else ""
