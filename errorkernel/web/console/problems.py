"""The page of a problem with its data and comments."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from errorkernel.bypasses import page_queries
from errorkernel.domain import stack_frames
from errorkernel.domain.query.tree import Compare
from errorkernel.models import AuditEntry, Comment, ErrorState, Problem
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST
from errorkernel.store import rollups
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.platform import name_retention
from errorkernel.store.problems import deciders, unmerged
from errorkernel.store.status import decision_history, problem_evidence
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.events import rows, stored
from errorkernel.web.console.pending import STATES_SHOWN, waiting_part
from errorkernel.web.console.problem_list import mutes

PART_SHOWN = 10
"""Rows of each section of a problem's page, which has eight."""
COMMENTS_SHOWN = 100


@needs(VIEW)
def problem(request: HttpRequest, problem_id: int) -> HttpResponse:
    """One problem: its grouping, occurrences, decisions and comments; a merged problem redirects to its target."""
    found = Problem.objects.select_related("assignee").filter(pk=min(problem_id, LARGEST)).first()
    if found is None:
        return _missing(request, problem_id)
    if found.merged_into_id is not None:
        return HttpResponseRedirect(reverse("problem", args=[found.merged_into_id]))
    return render(request, "errorkernel/problem.html", opened(found, timezone.now()))


def _missing(request: HttpRequest, problem_id: int) -> HttpResponse:
    """The page for a missing problem, with whether retention removed it. Raises Http404."""
    settings = conf.get()
    days = name_retention.keep_days(settings.names_keep_days, settings.retention_days)
    if not days or not name_retention.was_removed(min(problem_id, LARGEST)):
        raise Http404
    return render(request, "404.html", {"removed_problem": problem_id, "days": days}, status=404)


def opened(found: Problem, now: datetime) -> dict[str, Any]:
    """Context of the page of a problem."""
    parts = list(Problem.objects.filter(merged_into=found).order_by("pk"))
    members = [found.pk, *(part.pk for part in parts)]
    states = ErrorState.objects.filter(problem__in=members).select_related("process__node").order_by("-last_seen")
    incidents = with_relations().filter(problem__in=members)
    targets = [f"problem:{member}" for member in members]
    found_occurrences = problem_evidence.occurrences(members)
    newest = found_occurrences.newest
    return {
        "section": "problems",
        "problem": found,
        "parts": parts,
        "alike": unmerged().filter(kind=found.kind).exclude(pk=found.pk).order_by("-last_seen")[:PART_SHOWN],
        "met": rollups.problems_by_hour([found.pk], now)[found.pk],
        "states": states[:STATES_SHOWN],
        "states_total": states.count(),
        **waiting_part(incidents, Compare("problem", "=", found.pk)),
        "outcomes": decision_history.outcomes(decision_history.of_problems(members)),
        "occurrences": found_occurrences,
        "stack": stack_frames.parts(newest.stack) if newest else [],
        **contributed("problem", members, now),
        "past": incidents.filter(decision__isnull=False).order_by("-opened_at")[:PART_SHOWN],
        "events": rows(stored().filter(seq__in=page_queries.newest_events(members, PART_SHOWN))),
        "comments": Comment.objects.filter(problem__in=members).order_by("-pk")[:COMMENTS_SHOWN],
        "activity": AuditEntry.objects.filter(target__in=targets).order_by("-id")[:PART_SHOWN],
        "people": deciders(),
        "mutes": mutes(),
    }
