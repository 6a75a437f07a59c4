"""The order of the triage, by impact: how long a process is blocked, times how many are blocked by the same problem.

So one process that is blocked for ten minutes and ten that are blocked for one minute have the same rank.
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
"""Only this many of the longest pending incidents are ranked."""


class Waiting:
    """All pending incidents at one moment, the highest impact first. Merged problems are one.

    ``only``: restricts the incidents, not the numbers by which they are ranked.
    """

    def __init__(self, now: datetime, only: Collection[UUID] | None = None) -> None:
        rows = page_queries.open_incidents(now, RANKED_MAX)
        on_problem = Counter([row.problem for row in rows])
        # The sort is stable: of equal impact, the longest pending first.
        rows.sort(key=lambda row: row.waited_s * on_problem[row.problem], reverse=True)
        self._keys = [row.key for row in rows if only is None or as_uuid(row.key) in only]

    def __len__(self) -> int:
        return len(self._keys)

    def ids(self, first: int, last: int) -> list[UUID]:
        """The incidents in these places."""
        return [as_uuid(key) for key in self._keys[first:last]]


def on_its_way(limit: int) -> list[UUID]:
    """The incidents whose decisions are in delivery, the latest decision first."""
    moving = Incident.objects.filter(state__in=IN_DELIVERY).order_by("-decision__decided_at")
    return list(moving.values_list("pk", flat=True)[:limit])


def ended(limit: int, since: datetime | None = None) -> list[UUID]:
    """The incidents that have ended, the newest first."""
    # By the end time, which only ended ones have: by the four states, SQLite would sort all that ever ended.
    over = Incident.objects.filter(ended_at__gte=since) if since else Incident.objects.filter(ended_at__isnull=False)
    return list(over.order_by("-ended_at").values_list("pk", flat=True)[:limit])


def in_order(ids: Iterable[UUID]) -> list[Incident]:
    """These incidents in this order, each once, with the relations of their cards; removed ones are left out. One query
    for all: Django builds a query more slowly than it reads a page of cards."""
    wanted = list(dict.fromkeys(ids))
    found = {incident.pk: incident for incident in with_relations().filter(pk__in=wanted)}
    return [found[incident_id] for incident_id in wanted if incident_id in found]
