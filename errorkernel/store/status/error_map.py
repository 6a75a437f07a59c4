"""The error-state map: fleet → node → process → what that process met. The page and the API read it here.

Each step costs what it shows: counts by node come out of one index, and below a node only its own states are read.
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
class Met:
    """What lies under a node or a process: how many error states, the highest level (of a process), the last."""

    count: int
    last_seen: datetime
    level: str = ""


def states(*, node: str = "", process: str = "", problem: int | None = None) -> QuerySet[ErrorState]:
    """Error states with all that is shown of them, of these alone; ``problem``: with its parts."""
    found = ErrorState.objects.select_related("process__node", "problem")
    if "\0" in node + process:  # no database holds one
        return found.none()
    # Keys first: with a join SQLite would walk through the states of the whole fleet.
    if node or process:
        named = {"node__name": node, "name": process}
        chosen = Process.objects.filter(**{column: name for column, name in named.items() if name})
        found = found.filter(process__in=list(chosen.values_list("pk", flat=True)[:PROCESSES_MAX]))
    return found if problem is None else found.filter(problem__in=members(problem))


def by_node(nodes: Sequence[int]) -> dict[int, Met]:
    """What lies under each of these nodes that has met anything."""
    rows = ErrorState.objects.filter(node__in=nodes).order_by().values_list("node")
    return {node: Met(count, last) for node, count, last in rows.annotate(Count("pk"), Max("last_seen"))}


def by_process(node: int) -> dict[int, Met]:
    """What lies under each process of the node that has met anything."""
    rows = ErrorState.objects.filter(node=node).order_by().values_list("process")
    found = rows.annotate(Count("pk"), Max("last_seen"), Max("problem__level_rank"))
    return {process: Met(count, last, _LEVELS[rank]) for process, count, last, rank in found}
