"""Pending incidents on the pages of problems, nodes and processes."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, QuerySet

from errorkernel.domain.incident_state import State
from errorkernel.domain.query.tree import Tree
from errorkernel.models import Incident

ROWS_A_PAGE = 50
PART_ROWS = 20
"""Rows of one section of a page."""

CARDS_SHOWN = 10
"""Incidents that can be decided on another page than their own."""
STATES_SHOWN = 15


def waiting_part(incidents: QuerySet[Incident], query: Tree) -> dict[str, Any]:
    """Context of the section of pending incidents, the oldest first; ``query`` matches all of them."""
    found = incidents.filter(state=State.OPEN).order_by("opened_at")
    shown = list(found[: CARDS_SHOWN + 1])
    total = len(shown) if len(shown) <= CARDS_SHOWN else found.count()
    return {"waiting": shown[:CARDS_SHOWN], "waiting_total": total, "waiting_query": str(query)}


def waiting_by(field: str, keys: Iterable[int]) -> dict[int, int]:
    """The number of pending incidents of each of ``keys``; one query."""
    open_incidents = Incident.objects.filter(**{"state": State.OPEN, f"{field}__in": list(keys)})
    return dict(open_incidents.order_by().values_list(field).annotate(Count("pk")))
