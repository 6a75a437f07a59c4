"""Gap-free numbers: taken inside the transaction that uses them, as late in it as can be.

Whoever takes a number holds the counter's row until it commits, so numbers become visible in their order: who has
seen n will never later be surprised by an n - 1. On SQLite the whole transaction holds the one write lock anyway.
"""

from django.db import connection
from django.db.models import F

from errorkernel.models import Counter


def take(name: str, count: int = 1) -> int:
    """Take ``count`` numbers; returns the last of them. Only inside a transaction."""
    assert connection.in_atomic_block, "a number taken outside a transaction would leave a gap"  # noqa: S101
    Counter.objects.filter(name=name).update(value=F("value") + count)
    return Counter.objects.values_list("value", flat=True).get(name=name)


def lock(name: str) -> int:
    """Hold the counter until the end of the transaction; returns its present value."""
    return Counter.objects.select_for_update().values_list("value", flat=True).get(name=name)


def current(name: str) -> int:
    """The last number that was taken and committed."""
    return Counter.objects.values_list("value", flat=True).get(name=name)
