"""Writers of one process queue for SQLite's one lock, and nothing that happens to one keeps the others from it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, connections, transaction

from errorkernel.models import Counter
from errorkernel.platform.sqlite.write_queue import Turns
from tests.support.waiting import PATIENCE_S

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="it is SQLite that has one writer"),
]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool
        for _ in range(8):
            pool.submit(connections.close_all)


def in_a_transaction(first: Callable[[], object]) -> None:
    with transaction.atomic():
        first()
        Counter.objects.filter(name="events").update(value=1)


def test_the_turn_goes_to_whoever_has_waited_longest() -> None:
    turns, served = Turns(), []

    def wait(number: int) -> None:
        assert turns.take(20)
        served.append(number)
        turns.give_back()

    assert turns.take(0)
    waiting = []
    for number in range(5):
        waiting.append(threading.Thread(target=wait, args=[number]))
        waiting[-1].start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    assert not turns.take(0.01)
    turns.give_back()
    for one in waiting:
        one.join()
    assert served == [0, 1, 2, 3, 4]
    assert turns.take(0)


def test_a_turn_that_ends_as_it_comes_is_not_lost() -> None:
    turns = Turns()
    for _ in range(2000):
        assert turns.take(0)
        got: list[bool] = []
        other = threading.Thread(target=lambda got=got: got.append(turns.take(0.0002)))
        other.start()
        turns.give_back()
        other.join()
        if got[0]:
            turns.give_back()


def test_transactions_follow_each_other_in_the_order_in_which_they_were_begun(threads: ThreadPoolExecutor) -> None:
    began, order = threading.Event(), []
    holding = threading.Event()
    first = threads.submit(in_a_transaction, lambda: (began.set(), holding.wait(PATIENCE_S)))
    assert began.wait(PATIENCE_S)
    others = []
    for number in range(4):
        others.append(threads.submit(in_a_transaction, lambda number=number: order.append(number)))
        time.sleep(0.1)
    assert order == []
    holding.set()
    for one in [first, *others]:
        one.result(PATIENCE_S)
    assert order == [0, 1, 2, 3]


class Broken(Exception): ...


def fails() -> None:
    raise Broken


def loses_its_connection() -> None:
    connection.close()
    raise Broken


def cannot_commit() -> None:
    """A row without the one that it refers to, which SQLite notices at the end."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO errorkernel_process (node_id, name, events, failures) VALUES (999999, 'x', 0, 0)")


@pytest.mark.parametrize("what", [fails, loses_its_connection, cannot_commit])
def test_a_transaction_that_fails_gives_its_turn_back(threads: ThreadPoolExecutor, what: Callable[[], None]) -> None:
    with pytest.raises(Exception):  # noqa: B017 - whatever it was, the next one is served
        threads.submit(in_a_transaction, what).result(PATIENCE_S)
    began = time.monotonic()
    threads.submit(in_a_transaction, lambda: None).result(PATIENCE_S)
    assert time.monotonic() - began < 5


def test_who_waits_too_long_is_told_as_sqlite_tells_it(threads: ThreadPoolExecutor) -> None:
    began, holding = threading.Event(), threading.Event()
    first = threads.submit(in_a_transaction, lambda: (began.set(), holding.wait(PATIENCE_S)))
    assert began.wait(PATIENCE_S)

    def impatient() -> None:
        connection.settings_dict["OPTIONS"]["timeout"] = 0.2
        try:
            in_a_transaction(lambda: None)
        finally:
            connection.settings_dict["OPTIONS"]["timeout"] = 20

    with pytest.raises(OperationalError, match="database is locked"):
        threads.submit(impatient).result(PATIENCE_S)
    holding.set()
    first.result(PATIENCE_S)
    threads.submit(in_a_transaction, lambda: None).result(PATIENCE_S)
