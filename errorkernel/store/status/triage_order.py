"""The order of the waiting room: how long somebody has been blocked, times how many wait on the same problem.

So one process that has waited for ten minutes and ten that have waited for one are equally urgent.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from errorkernel.bypasses import page_queries
from errorkernel.bypasses.sql_values import as_uuid
from errorkernel.domain.incident_state import IN_DELIVERY
from errorkernel.models import Incident
from errorkernel.store.incidents.decisions import with_relations

RANKED_MAX = 10_000
"""So many of the longest waiting are weighed; a fleet with more of them has no use for their order."""


class Waiting:
    """All open incidents at one moment, the most urgent first, and how many wait on each problem with its parts.

    ``only``: of the incidents themselves, these alone; as urgent as they are among all.
    """

    def __init__(self, now: datetime, only: Collection[UUID] | None = None) -> None:
        rows = page_queries.open_incidents(now, RANKED_MAX)
        on_problem = Counter([row.problem for row in rows])
        # Sorting keeps the order of what is equal: the longest waiting first.
        rows.sort(key=lambda row: row.waited_s * on_problem[row.problem], reverse=True)
        self.on_problem = on_problem
        self._keys = [row.key for row in rows if only is None or as_uuid(row.key) in only]

    def __len__(self) -> int:
        return len(self._keys)

    def ids(self, first: int, last: int) -> list[UUID]:
        """The incidents in these places."""
        return [as_uuid(key) for key in self._keys[first:last]]

    def largest_problems(self, most: int) -> list[tuple[int, int]]:
        """(problem, how many wait on it) where that is more than one, the most first."""
        return [(problem, count) for problem, count in self.on_problem.most_common(most) if count > 1]


def on_its_way(limit: int) -> list[UUID]:
    """The incidents whose answers have not arrived yet, those that were answered last first."""
    moving = Incident.objects.filter(state__in=IN_DELIVERY).order_by("-decision__decided_at")
    return list(moving.values_list("pk", flat=True)[:limit])


def ended(limit: int, since: datetime | None = None) -> list[UUID]:
    """The incidents that have ended, whatever came of them, the newest first."""
    # By the time, which they alone have: asked by the four states, SQLite would sort all that have ever ended.
    over = Incident.objects.filter(ended_at__gte=since) if since else Incident.objects.filter(ended_at__isnull=False)
    return list(over.order_by("-ended_at").values_list("pk", flat=True)[:limit])


def in_order(ids: Iterable[UUID]) -> list[Incident]:
    """These incidents in this order, each once, with everything that their cards show; those that are gone are left
    out. One query for all: to build one takes Django longer than to read a page of cards."""
    wanted = list(dict.fromkeys(ids))
    found = {incident.pk: incident for incident in with_relations().filter(pk__in=wanted)}
    return [found[incident_id] for incident_id in wanted if incident_id in found]
