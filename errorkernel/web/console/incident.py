"""The page of one incident: the evidence for its decision on the left, the decision on the right."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.domain import stack_frames
from errorkernel.domain.incident_state import IN_DELIVERY, State
from errorkernel.models import AuditEntry, Comment, ErrorEvent, Incident, Problem
from errorkernel.store import problems
from errorkernel.store.incidents import takes
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.incidents.quarantined_processes import process_of_message
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import decision_history, incident_evidence
from errorkernel.templatetags.console import actor_name
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import VIEW, needs

PAST_SHOWN = 10
COMMENTS_SHOWN = 100
NODES_SHOWN = 6


@needs(VIEW)
def incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """The page of an incident."""
    found = with_relations().filter(pk=incident_id).first()
    if found is None:
        raise Http404
    return render(request, "errorkernel/incident.html", opened(found, actor_of(request)))


def opened(incident: Incident, reader: Actor) -> dict[str, Any]:
    """Context of the page of an incident for ``reader``."""
    event = ErrorEvent.objects.filter(seq=incident.seq).only("seq", "stack", "tags", "cut").first()
    members = problems.together(incident.problem)
    return {
        "section": "triage",
        "incident": incident,
        "event": event,
        "stack": stack_frames.parts(event.stack) if event else [],
        "tags": sorted(event.tags.items()) if event else [],
        "ruled": ruled(incident),
        "requeues": list(incident.requeues.all()) if incident.message else [],
        "process_of_message": process_of_message(incident).name,
        "before": incident_evidence.events_before(incident),
        "changes": incident_evidence.changes_before(incident),
        "may_apply": incident.state in (State.APPLIED, *IN_DELIVERY),
        "comments": Comment.objects.filter(incident=incident).order_by("pk")[:COMMENTS_SHOWN],
        **_of_problem(incident, members),
        **_take(incident, reader),
    }


def _take(incident: Incident, reader: Actor) -> dict[str, Any]:
    """Who looks into it: into the incident alone, or into all of its problem."""
    own = takes.take_of(incident, reader.at)
    is_mine = own is not None and incident.taken_by_id == reader.user_id
    return {"taken": own or takes.take_of(incident.problem, reader.at), "is_mine": is_mine}


def _of_problem(incident: Incident, members: list[int]) -> dict[str, Any]:
    """What concerns all incidents of the problem, and the problems merged into it."""
    whole = incident.problem if incident.problem_id == members[0] else Problem.objects.get(pk=members[0])
    pending = incident_evidence.pending_by_node(members, without=incident.pk)
    decided = with_relations().filter(problem__in=members, decision__isnull=False).exclude(pk=incident.pk)
    return {
        "whole": whole,
        "others_pending": sum(node.count for node in pending),
        "pending_nodes": pending[:NODES_SHOWN],
        "more_nodes": len(pending[NODES_SHOWN:]),
        "next_pending": incident_evidence.next_pending(incident, members),
        "outcomes": decision_history.outcomes(decision_history.of_problems(members)),
        "past": decided.order_by("-opened_at")[:PAST_SHOWN],
    }


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule that escalated the incident or left it pending. ``name``: at that time."""

    number: int
    name: str
    action: str


def ruled(incident: Incident) -> Ruled | None:
    """The last rule that escalated the incident or left it pending."""
    entries = AuditEntry.objects.filter(target=f"incident:{incident.pk}", actor__startswith="rule:")
    entry = entries.filter(action__in=["ask", "escalate"]).order_by("-id").first()
    if entry is None:
        return None
    return Ruled(
        int(entry.actor.partition(":")[2]), str(entry.after.get("rule", actor_name(entry.actor))), entry.action
    )
