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
    if not Counter.objects.filter(name=name).update(value=F("value") + count):
        # The migration makes the rows; a database that was emptied begins anew.
        Counter.objects.create(name=name, value=count)
    return current(name)


def lock(name: str) -> int:
    """Hold the counter until the end of the transaction; returns its present value."""
    row, _ = Counter.objects.select_for_update().get_or_create(name=name)
    return row.value


def current(name: str) -> int:
    """The last number that was taken and committed."""
    return Counter.objects.filter(name=name).values_list("value", flat=True).first() or 0
