"""What the pages of problems, nodes and processes share."""

from collections.abc import Iterable

from django.db.models import Count

from errorkernel.core.incident import State
from errorkernel.models import Incident

ROWS_A_PAGE = 50
PART_ROWS = 20
"""Rows of one part of a page that has several."""

STATES_SHOWN = 25


def waiting_by(field: str, keys: Iterable[int]) -> dict[int, int]:
    """How many open questions each of ``keys`` has; one query."""
    open_ones = Incident.objects.filter(**{"state": State.OPEN, f"{field}__in": list(keys)})
    return dict(open_ones.order_by().values_list(field).annotate(Count("pk")))
