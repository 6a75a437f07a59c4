"""What the pages of problems, nodes and processes share."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, QuerySet

from errorkernel.domain.incident_state import State
from errorkernel.domain.query.tree import Tree
from errorkernel.models import Incident

ROWS_A_PAGE = 50
PART_ROWS = 20
"""Rows of one part of a page that has several."""

CARDS_SHOWN = 10
"""Questions, each with all that it needs to be answered, on the page of what they are about."""
STATES_SHOWN = 15


def waiting_part(incidents: QuerySet[Incident], query: Tree) -> dict[str, Any]:
    """Context of the part that shows those of ``incidents`` which wait, the longest first; ``query`` finds them all."""
    found = incidents.filter(state=State.OPEN).order_by("opened_at")
    shown = list(found[: CARDS_SHOWN + 1])
    total = len(shown) if len(shown) <= CARDS_SHOWN else found.count()
    return {"waiting": shown[:CARDS_SHOWN], "waiting_total": total, "waiting_query": str(query)}


def waiting_by(field: str, keys: Iterable[int]) -> dict[int, int]:
    """How many open incidents each of ``keys`` has; one query."""
    open_incidents = Incident.objects.filter(**{"state": State.OPEN, f"{field}__in": list(keys)})
    return dict(open_incidents.order_by().values_list(field).annotate(Count("pk")))
