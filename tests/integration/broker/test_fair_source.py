"""The look ahead past a flood, on a real stream: who is found, in which order, and what the consumer then brings."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import Delivery, PullConsumer
from errorkernel.kernel.fair_source import FairSource
from errorkernel.protocol import batches, subjects
from tests.support.waiting import PATIENCE_S

FLOOD = 3000
WINDOW = 100


@pytest.fixture
async def connection(connection: Connection) -> AsyncIterator[Connection]:
    """With the streams and the consumer of a kernel."""
    await streams.ensure_streams(connection, events_max_bytes=2**26)
    await streams.ensure_kernel_consumer(connection)
    yield connection
    await connection.api(f"STREAM.DELETE.{subjects.EVENTS_STREAM}", {})


def event(process: str, kind: str = "error", event_id: UUID | None = None) -> bytes:
    head = {"v": 1, "id": str(event_id or uuid4()), "type": kind, "process": process, "error": {"text": "no"}}
    return json.dumps(head).encode()


async def flood(connection: Connection, *, outcomes: bool = False) -> None:
    for _ in range(FLOOD):
        subject = subjects.outcome("flood", uuid4()) if outcomes else subjects.event("flood")
        await connection.send(subject, event("p"))
    await store(connection, subjects.event("flood"), event("p"))


async def store(connection: Connection, subject: str, data: bytes) -> None:
    await connection.store(subject, data, msg_id=str(uuid4()))


@asynccontextmanager
async def source_of(connection: Connection) -> AsyncIterator[FairSource]:
    consumer = PullConsumer(connection, subjects.EVENTS_STREAM, subjects.KERNEL_DURABLE, batch=WINDOW)
    source = FairSource(connection, consumer, subjects.EVENTS_STREAM, window=WINDOW)
    await source.open()
    looking = asyncio.create_task(source.look_ahead())
    yield source
    looking.cancel()


async def take(source: FairSource, count: int) -> list[Delivery]:
    """So many messages of other nodes than the one that floods, in the order in which they were taken; all are
    acknowledged. Fails when half of the flood was taken before."""
    found: list[Delivery] = []
    taken = 0
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            for delivery in await source.get(1):
                taken += 1
                found += [delivery] if ".flood" not in delivery.subject else []
                await delivery.ack()
            assert taken < FLOOD / 2
            await asyncio.sleep(0.01)
    return found


async def drain(source: FairSource) -> list[Delivery]:
    """All that is left."""
    found: list[Delivery] = []
    try:
        while True:
            async with asyncio.timeout(1):
                deliveries = await source.get(500)
            found += deliveries
            for delivery in deliveries:
                await delivery.ack()
    except TimeoutError:
        return found


async def test_what_follows_a_flood_is_stored_early_in_its_order_and_once(connection: Connection) -> None:
    incident = uuid4()
    await flood(connection)
    for subject, data in (
        (subjects.event("calm"), event("copy")),
        (subjects.event("calm"), event("copy", "action", incident)),
        (subjects.outcome("calm", incident), b"{}"),
        (subjects.event("far"), event("x")),
    ):
        await store(connection, subject, data)
    async with source_of(connection) as source:
        found = await take(source, 4)
        of_calm = [delivery.sequence for delivery in found if ".calm" in delivery.subject]
        assert of_calm == sorted(of_calm)
        # More comes on the same subject after it was read.
        await store(connection, subjects.event("calm"), event("copy"))
        assert (await take(source, 1))[0].sequence > max(of_calm)
        left = await drain(source)
        assert {delivery.subject for delivery in left} == {subjects.event("flood")}
    counts = await streams.subject_counts(connection, subjects.EVENTS_STREAM, ">")
    assert counts.messages == 0, "the consumer's copies are acknowledged too"


async def test_a_batch_is_read_ahead_and_acknowledged_as_a_whole(connection: Connection) -> None:
    await flood(connection)
    events = [event("copy"), event("copy"), event("copy", "action"), event("other")]
    await connection.store(subjects.event("calm"), batches.pack(events), msg_id=str(uuid4()), headers=batches.HEADERS)
    async with source_of(connection) as source:
        assert {delivery.data for delivery in await take(source, 4)} == set(events)
        await drain(source)
    assert (await streams.subject_counts(connection, subjects.EVENTS_STREAM, ">")).messages == 0


async def test_a_flood_of_outcomes_does_not_hide_events(connection: Connection) -> None:
    await flood(connection, outcomes=True)
    await store(connection, subjects.event("calm"), event("copy", "action"))
    async with source_of(connection) as source:
        assert [delivery.subject for delivery in await take(source, 1)] == [subjects.event("calm")]


async def test_what_was_read_but_not_stored_is_delivered_by_the_consumer(connection: Connection) -> None:
    """A kernel that is killed in between loses nothing."""
    await flood(connection)
    await store(connection, subjects.event("calm"), event("copy", "action"))
    async with source_of(connection) as source:
        async with asyncio.timeout(PATIENCE_S):
            while not any(".calm" in delivery.subject for delivery in await source.get(1)):
                await asyncio.sleep(0.01)
    await connection.api(f"CONSUMER.DELETE.{subjects.EVENTS_STREAM}.{subjects.KERNEL_DURABLE}", {})
    await streams.ensure_kernel_consumer(connection)
    async with source_of(connection) as source:
        assert len({one.source for one in await drain(source) if ".calm" in one.subject}) == 1
