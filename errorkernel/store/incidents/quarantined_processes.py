"""Quarantined processes and the incidents about them, which their supervisor opens under another process's name."""

from datetime import datetime

from errorkernel.domain.incident_state import IN_DELIVERY, State
from errorkernel.domain.liveness import QUARANTINED
from errorkernel.domain.values import Action
from errorkernel.models import ErrorEvent, Incident, Process
from errorkernel.store.incidents.decisions import with_relations

KIND = "Quarantined"
"""The kind of these incidents (``errorkernel.node.supervision.quarantine``). Their tags that start with QUARANTINED
name the quarantined processes."""


DECISIONS_READ = 100
"""Among this many of a node's latest decisions, those about a process are searched."""


def quarantines(node: int) -> list[tuple[Incident, list[str]]]:
    """The node's incidents about quarantined processes that are pending or whose decision is in delivery, oldest first.
    Each comes with the names of these processes, the failed one first."""
    incidents = with_relations().filter(node=node, kind=KIND, state__in=[State.OPEN, *IN_DELIVERY]).order_by("seq")
    return _with_names(list(incidents))


def restart_decisions(process: Process, since: datetime) -> list[Incident]:
    """The incidents whose decision restarted the quarantined ``process`` since then, latest first."""
    incidents = with_relations().filter(node=process.node_id, kind=KIND, state__in=[State.APPLIED, *IN_DELIVERY])
    decided = incidents.filter(decision__decided_at__gte=since).exclude(decision__action=Action.STOP).order_by("-seq")
    return [incident for incident, names in _with_names(list(decided[:DECISIONS_READ])) if process.name in names]


def process_of_message(incident: Incident) -> Process:
    """The process that the incident's message belongs to: the blocked one, or the quarantined one it is about."""
    if incident.kind == KIND:
        tags = ErrorEvent.objects.filter(seq=incident.seq).values_list("tags", flat=True).first()
        for name in _named(tags or {})[:1]:
            if found := Process.objects.filter(node=incident.node_id, name=name).first():
                return found
    return incident.process


def _with_names(incidents: list[Incident]) -> list[tuple[Incident, list[str]]]:
    tags = dict(ErrorEvent.objects.filter(seq__in=[incident.seq for incident in incidents]).values_list("seq", "tags"))
    return [(incident, _named(tags.get(incident.seq, {}))) for incident in incidents]


def _named(tags: dict[str, str]) -> list[str]:
    return [tags[key] for key in sorted(tags, key=lambda key: (len(key), key)) if key.partition(" ")[0] == QUARANTINED]
