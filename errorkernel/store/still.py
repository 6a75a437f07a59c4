"""Quarantined processes and the questions about them, which are asked one level up, in another process's name."""

from errorkernel.core.incident import ON_ITS_WAY, State
from errorkernel.core.liveness import QUARANTINED
from errorkernel.models import ErrorEvent, Incident, Process
from errorkernel.store.incidents import with_relations

KIND = "Quarantined"
"""As ``errorkernel.node.quarantine`` asks; its tags that begin with QUARANTINED name who stands still."""


def quarantines(node: int) -> list[tuple[Incident, list[str]]]:
    """The node's questions about quarantines that are open or whose answer is on its way, the oldest first, each with
    the names of the processes that it is about: the culprit first."""
    asked = with_relations().filter(node=node, kind=KIND, state__in=[State.OPEN, *ON_ITS_WAY]).order_by("seq")
    found = list(asked)
    tags = dict(ErrorEvent.objects.filter(seq__in=[one.seq for one in found]).values_list("seq", "tags"))
    return [(one, _named(tags.get(one.seq, {}))) for one in found]


def process_of_message(incident: Incident) -> Process:
    """Whose message the incident bears: of the process that asked, or of the quarantined one that it asks about."""
    if incident.kind == KIND:
        tags = ErrorEvent.objects.filter(seq=incident.seq).values_list("tags", flat=True).first()
        for name in _named(tags or {})[:1]:
            if found := Process.objects.filter(node=incident.node_id, name=name).first():
                return found
    return incident.process


def _named(tags: dict[str, str]) -> list[str]:
    return [tags[key] for key in sorted(tags, key=lambda key: (len(key), key)) if key.partition(" ")[0] == QUARANTINED]
