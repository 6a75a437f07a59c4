"""What is owed to the broker goes out with its commit, never before, and once; and nothing that fails loses it."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import close_old_connections, connection, transaction

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action, Event, EventType, Level
from errorkernel.kernel import outbox as publisher
from errorkernel.kernel.outbox import OutboxTask
from errorkernel.live.publisher import Announcer
from errorkernel.models import Decision, Incident, Outbox
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform import enqueue
from errorkernel.store.platform.actor import Actor
from tests.support.node_peer import NODE, Broker
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.django_db(transaction=True)
NEVER_S = 3600.0


class Heard:
    """Everything that is published for nodes, also what the stream takes for a repetition."""

    def __init__(self, task: OutboxTask, connection: Connection) -> None:
        self.task = task
        self.connection = connection
        self.subjects: list[str] = []

    async def hear(self, received: CoreMessage) -> None:
        self.subjects.append(received.subject)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.subjects) < count:
                await asyncio.sleep(0.01)

    async def wait_nothing_owed(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await in_thread(Outbox.objects.exists):
                await asyncio.sleep(0.01)


async def in_thread(function, *args):
    """In a thread of its own, as a request is, its connection closed afterwards."""

    def call():
        try:
            return function(*args)
        finally:
            close_old_connections()
            connection.close()

    return await asyncio.to_thread(call)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("broker")).start()
    yield running
    running.stop()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOOK_INTERVAL_S", 0.05)


@pytest.fixture
def never_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """But on connecting: what goes out has been handed over."""
    monkeypatch.setattr(publisher, "LOOK_INTERVAL_S", NEVER_S)


@asynccontextmanager
async def publishing(broker: Broker, *, connect: bool = True) -> AsyncIterator[Heard]:
    """A publisher as the kernel runs it, and somebody who hears all of it."""
    connection = Connection(broker.server.url, name="outbox", seed=broker.kernel_seed)
    threads, reading = DatabaseThreads("kernel"), DatabaseThreads("outbox")
    heard = Heard(OutboxTask(connection, threads, reading, Announcer()), connection)

    async def connected() -> None:
        await streams.ensure_streams(connection, events_max_bytes=2**24)
        await connection.subscribe("ek.dec.>", heard.hear)
        await heard.task.connected()

    connection.on_connected(connected)
    tasks = [asyncio.create_task(heard.task.publish()), asyncio.create_task(heard.task.store_results())]
    try:
        if connect:
            connection.start()
            await connection.wait_until_ready(PATIENCE_S)
            await asyncio.sleep(0.1)  # the look that follows a new connection
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()
        threads.close()
        reading.close()


def ask() -> UUID:
    question = Event(id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process="copy", text="no such file")
    record(Batch(events=[(NODE, question)]), NameCache(), now=datetime.now(UTC))
    return question.id


def decide(incident: UUID) -> Decision:
    return decisions.decide(incident, Action.CONTINUE, actor=Actor("user:alice", datetime.now(UTC)))


async def test_a_decision_goes_out_with_its_commit_and_not_before(broker: Broker, never_looks: None) -> None:
    committed, decided = threading.Event(), threading.Event()

    def slowly(incident: UUID) -> None:
        with transaction.atomic():
            decide(incident)
            decided.set()
            committed.wait(PATIENCE_S)

    incident = await in_thread(ask)
    async with publishing(broker) as heard:
        waiting = asyncio.create_task(in_thread(slowly, incident))
        await asyncio.to_thread(decided.wait, 10)
        await asyncio.sleep(0.3)
        assert heard.subjects == []
        committed.set()
        await waiting
        await heard.wait(1)
        await heard.wait_nothing_owed()
    assert heard.subjects == [f"ek.dec.{NODE}.{incident}"]
    assert (await in_thread(Decision.objects.get)).sent_at is not None


async def test_what_is_rolled_back_is_never_published(broker: Broker, never_looks: None) -> None:
    def in_vain(incident: UUID) -> None:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            decide(incident)
            raise ZeroDivisionError

    first, second = await in_thread(ask), await in_thread(ask)
    async with publishing(broker) as heard:
        await in_thread(in_vain, first)
        await in_thread(decide, second)
        await heard.wait(1)
    assert heard.subjects == [f"ek.dec.{NODE}.{second}"]
    assert await in_thread(lambda: Incident.objects.get(pk=first).state) == "open"


async def test_what_another_process_enqueued_is_found_by_looking(broker: Broker, looks: None) -> None:
    incident = await in_thread(ask)
    async with publishing(broker) as heard:
        enqueue.hand_over_to(None)
        assert not enqueue.is_published_here()
        await in_thread(decide, incident)
        await heard.wait(1)
        await heard.wait_nothing_owed()
    assert heard.subjects == [f"ek.dec.{NODE}.{incident}"]


async def test_a_wake_up_from_another_process_is_a_look_at_once(broker: Broker, never_looks: None) -> None:
    incident = await in_thread(ask)
    async with publishing(broker) as heard:
        enqueue.hand_over_to(None)
        await in_thread(decide, incident)
        heard.task.look()
        await heard.wait(1)


async def test_without_a_broker_what_is_handed_over_waits_for_it_and_no_try_is_counted(
    broker: Broker, never_looks: None
) -> None:
    incident = await in_thread(ask)
    async with publishing(broker, connect=False) as heard:
        await in_thread(decide, incident)
        await asyncio.sleep(0.2)
        assert (await in_thread(Outbox.objects.get)).attempts == 0
        heard.connection.start()
        await heard.wait(1)
        await heard.wait_nothing_owed()
    assert heard.subjects == [f"ek.dec.{NODE}.{incident}"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it is SQLite that can be locked as a whole")
async def test_what_the_broker_has_is_not_sent_again_while_that_cannot_be_written_down(
    broker: Broker, looks: None
) -> None:
    incident = await in_thread(ask)
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    locked = threading.Event()

    def decide_and_lock() -> None:
        decide(incident)
        other.execute("BEGIN IMMEDIATE")
        locked.set()

    async with publishing(broker) as heard:
        await in_thread(decide_and_lock)
        await heard.wait(1)
        await asyncio.sleep(0.5)  # ten looks
        other.execute("ROLLBACK")
        await heard.wait_nothing_owed()
    other.close()
    assert heard.subjects == [f"ek.dec.{NODE}.{incident}"]


async def test_more_than_one_batch_goes_out_each_once(broker: Broker, looks: None) -> None:
    asked = [await in_thread(ask) for _ in range(5)]
    made = datetime.now(UTC)
    more = [
        Outbox(
            subject=f"ek.dec.{NODE}.{uuid7()}", msg_id=str(uuid7()), payload=b"{}", created_at=made, next_try_at=made
        )
        for _ in range(2 * publisher.BATCH + 1)
    ]
    await in_thread(Outbox.objects.bulk_create, more)
    async with publishing(broker) as heard:
        for incident in asked:
            await in_thread(decide, incident)
        await heard.wait(len(more) + 5)
        await heard.wait_nothing_owed()
    assert len(heard.subjects) == len(set(heard.subjects)) == len(more) + 5


async def test_what_the_broker_does_not_take_is_tried_again_and_what_follows_goes_out(
    broker: Broker, looks: None
) -> None:
    def owe_in_vain() -> None:
        with transaction.atomic():
            enqueue.enqueue("ek.nowhere", b"{}", msg_id=str(uuid7()), now=datetime.now(UTC))

    incident = await in_thread(ask)
    async with publishing(broker) as heard:
        await in_thread(owe_in_vain)
        await in_thread(decide, incident)
        await heard.wait(1)
        async with asyncio.timeout(PATIENCE_S):
            while await in_thread(lambda: Outbox.objects.filter(attempts__lt=2).exists()):
                await asyncio.sleep(0.05)
    assert heard.subjects == [f"ek.dec.{NODE}.{incident}"]


async def test_a_publisher_that_fails_costs_the_answer_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(row: Outbox) -> None:
        raise RuntimeError("the loop is closed")

    incident = await in_thread(ask)
    enqueue.hand_over_to(fail)
    try:
        assert (await in_thread(decide, incident)).action == "continue"
    finally:
        enqueue.hand_over_to(None)
    assert (await in_thread(Outbox.objects.get)).subject == f"ek.dec.{NODE}.{incident}"
    assert "the loop is closed" in caplog.text
