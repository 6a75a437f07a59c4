"""The error-state map: fleet → node → process → error states. The page and the API read it here.

Each level reads only what it shows: counts by node from one index, and below a node its own states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, QuerySet

from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import ErrorState, Process
from errorkernel.store.problems import members

PROCESSES_MAX = 10_000
"""Processes of one name, or of one node, whose states are read together."""
_LEVELS = {rank: level for level, rank in LEVEL_RANK.items()}


@dataclass(frozen=True, slots=True)
class StateSummary:
    """Summary of a node or process: number of error states, last time, and the highest level (of a process)."""

    count: int
    last_seen: datetime
    level: str = ""


def states(*, node: str = "", process: str = "", problem: int | None = None) -> QuerySet[ErrorState]:
    """Error states with their relations, filtered by the parameters; ``problem``: with its parts."""
    found = ErrorState.objects.select_related("process__node", "problem")
    if "\0" in node + process:  # no database holds one
        return found.none()
    # Keys first: with a join SQLite would walk through the states of the whole fleet.
    if node or process:
        named = {"node__name": node, "name": process}
        chosen = Process.objects.filter(**{column: name for column, name in named.items() if name})
        found = found.filter(process__in=list(chosen.values_list("pk", flat=True)[:PROCESSES_MAX]))
    return found if problem is None else found.filter(problem__in=members(problem))


def by_node(nodes: Sequence[int]) -> dict[int, StateSummary]:
    """Node → summary, for those of these nodes that have error states."""
    rows = ErrorState.objects.filter(node__in=nodes).order_by().values_list("node")
    return {node: StateSummary(count, last) for node, count, last in rows.annotate(Count("pk"), Max("last_seen"))}


def by_process(node: int) -> dict[int, StateSummary]:
    """Process → summary, for the processes of the node that have error states."""
    rows = ErrorState.objects.filter(node=node).order_by().values_list("process")
    found = rows.annotate(Count("pk"), Max("last_seen"), Max("problem__level_rank"))
    return {process: StateSummary(count, last, _LEVELS[rank]) for process, count, last, rank in found}
