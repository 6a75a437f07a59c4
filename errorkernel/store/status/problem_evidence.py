"""What the page of a problem shows beside its numbers: its newest event, and where and in which releases it occurs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Sum

from errorkernel.bypasses import page_queries
from errorkernel.models import ErrorEvent, ErrorState
from errorkernel.store.status.incident_evidence import NodeCount, node_counts

EVENTS_READ = 500
"""The newest events of a problem whose releases are counted."""
NODES_SHOWN = 12
RELEASES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Occurrences:
    """``nodes``: with most events first; ``releases``: (release, events) among the newest ``events_read`` events, empty
    where they name none. ``newest``: None where no event is stored any more."""

    newest: ErrorEvent | None
    nodes: list[NodeCount]
    releases: list[tuple[str, int]]
    events_read: int


def occurrences(problem_ids: Sequence[int]) -> Occurrences:
    """Of these problems together, in four queries."""
    numbers = page_queries.newest_events(problem_ids, EVENTS_READ)
    releases = ErrorEvent.objects.filter(seq__in=numbers).values_list("release", flat=True)
    counted = Counter(release for release in releases if release)
    newest = ErrorEvent.objects.select_related("node", "process").filter(seq=numbers[0]).first() if numbers else None
    states = ErrorState.objects.filter(problem__in=problem_ids).order_by().values_list("process__node__name")
    by_node = states.annotate(events=Sum("count")).order_by("-events")[:NODES_SHOWN]
    return Occurrences(newest, node_counts(dict(by_node)), counted.most_common(RELEASES_SHOWN), len(numbers))
