"""Gap-free numbers: taken inside the transaction that uses them, as late as possible (but see ``hold``).

A transaction that takes a number locks the counter's row until it commits, so numbers become visible in their order: a
reader that has seen n never finds a new n - 1 later. On SQLite the transaction holds the only write lock anyway.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from errorkernel.models import Counter

# Raw SQL: every transaction takes numbers, and building these queries in the ORM costs more than running them.
_TAKE = "UPDATE errorkernel_counter SET value = value + %s WHERE name = %s"
_READ = "SELECT value FROM errorkernel_counter WHERE name = %s"


def take(name: str, count: int = 1) -> None:
    """Take ``count`` numbers, of which ``current`` is the last until the transaction ends. Only inside one."""
    assert connection.in_atomic_block, "a number taken outside a transaction would leave a gap"  # noqa: S101
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [count, name])
        if not cursor.rowcount:
            # The migration creates the rows; an emptied database starts again.
            Counter.objects.create(name=name, value=count)


def lock(name: str) -> int:
    """Lock the counter until the end of the transaction; returns its present value."""
    locking = " FOR UPDATE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(_READ + locking, [name])
        row = cursor.fetchone()
    return row[0] if row else Counter.objects.create(name=name).value


def hold(name: str) -> None:
    """Lock the counter until the end of the transaction, before the rows that get its numbers are changed.

    This prevents a deadlock of two transactions that each hold a row and wait for the counter and the other's row. Lock
    several counters in this order: EVENTS or RULES, CHANGES. SQLite runs one writing transaction at a time anyway.
    """
    if connection.features.has_select_for_update:
        lock(name)


@contextmanager
def changing() -> Iterator[None]:
    """A transaction that changes incidents."""
    with transaction.atomic():
        hold(Counter.CHANGES)
        yield


def current(name: str) -> int:
    """The last number that was taken."""
    with connection.cursor() as cursor:
        cursor.execute(_READ, [name])
        row = cursor.fetchone()
    return row[0] if row else 0
