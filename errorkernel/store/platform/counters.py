"""Gap-free numbers: taken inside the transaction that uses them, as late in it as can be (but see ``hold``).

Whoever takes a number holds the counter's row until it commits, so numbers become visible in their order: who has
seen n will never later be surprised by an n - 1. On SQLite the whole transaction holds the one write lock anyway.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from errorkernel.models import Counter

# As text: every transaction takes numbers, and to build such a query takes Django longer than SQLite to answer it.
_TAKE = "UPDATE errorkernel_counter SET value = value + %s WHERE name = %s"
_READ = "SELECT value FROM errorkernel_counter WHERE name = %s"


def take(name: str, count: int = 1) -> None:
    """Take ``count`` numbers, of which ``current`` is the last until the transaction ends. Only inside one."""
    assert connection.in_atomic_block, "a number taken outside a transaction would leave a gap"  # noqa: S101
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [count, name])
        if not cursor.rowcount:
            # The migration makes the rows; a database that was emptied begins anew.
            Counter.objects.create(name=name, value=count)


def lock(name: str) -> int:
    """Hold the counter until the end of the transaction; returns its present value."""
    locking = " FOR UPDATE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(_READ + locking, [name])
        row = cursor.fetchone()
    return row[0] if row else Counter.objects.create(name=name).value


def hold(name: str) -> None:
    """Have the counter until the end of the transaction, before the rows that get its numbers are touched.

    Two that had a row each, and then waited, one for the counter and one for the other's row, would wait for ever, and
    the database would end one of them. Who holds several counters takes them in this order: EVENTS or RULES, CHANGES.
    SQLite's transactions are alone anyway.
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
