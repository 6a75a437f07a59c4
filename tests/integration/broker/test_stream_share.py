"""A node's share of the event stream: the node that floods is refused, everybody else goes on, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, ShareFull
from errorkernel.node import Kernel
from errorkernel.protocol import subjects
from tests.support.node_peer import NODE, Broker, peer_kernel
from tests.support.waiting import PATIENCE_S, eventually

SHARE = 10
BYTES = 2**24


@pytest.fixture
async def connection(connection: Connection) -> AsyncIterator[Connection]:
    """Each test makes its stream."""
    yield connection
    await connection.api(f"STREAM.DELETE.{subjects.EVENTS_STREAM}", {})


async def store(connection: Connection, node: str, count: int) -> int:
    """Publish so many events; returns how many were stored before the share was full."""
    for number in range(count):
        try:
            await connection.store(subjects.event(node), b"event", msg_id=str(uuid4()))
        except ShareFull:
            return number
    return count


async def set_share(connection: Connection, events: int) -> dict[str, Any]:
    """The stream's configuration after a kernel with this share has connected."""
    await streams.ensure_streams(connection, events_max_bytes=BYTES, node_events=events)
    config: dict[str, Any] = (await connection.api(f"STREAM.INFO.{subjects.EVENTS_STREAM}", {}))["config"]
    return config


async def test_only_the_node_that_floods_is_refused_until_its_events_are_stored(connection: Connection) -> None:
    await set_share(connection, SHARE)
    assert await store(connection, "flood", 2 * SHARE) == SHARE
    assert await store(connection, "calm", SHARE) == SHARE
    # Each outcome has a subject of its own.
    for _ in range(2 * SHARE):
        incident = uuid4()
        await connection.store(subjects.outcome("flood", incident), b"outcome", msg_id=str(incident))
    await connection.api(f"STREAM.PURGE.{subjects.EVENTS_STREAM}", {"filter": subjects.event("flood"), "keep": 7})
    assert await store(connection, "flood", 2 * SHARE) == 3


async def test_a_full_stream_is_not_taken_for_a_full_share(connection: Connection) -> None:
    await streams.ensure_streams(connection, events_max_bytes=4096, node_events=1000)
    with pytest.raises(BrokerAway) as refused:
        for _ in range(100):
            await connection.store(subjects.event("calm"), bytes(500), msg_id=str(uuid4()))
    assert not isinstance(refused.value, ShareFull)


async def test_a_smaller_share_discards_nothing(connection: Connection) -> None:
    assert (await set_share(connection, 0))["max_msgs_per_subject"] == -1
    await store(connection, "flood", 2 * SHARE)
    assert (await set_share(connection, SHARE))["max_msgs_per_subject"] == -1
    assert (await set_share(connection, 5 * SHARE))["max_msgs_per_subject"] == 5 * SHARE
    assert (await set_share(connection, SHARE))["max_msgs_per_subject"] == 5 * SHARE
    counts = await streams.subject_counts(connection, subjects.EVENTS_STREAM, "ek.evt.*")
    assert counts.counts == {subjects.event("flood"): 2 * SHARE}
    await connection.api(f"STREAM.PURGE.{subjects.EVENTS_STREAM}", {})
    assert (await set_share(connection, SHARE))["max_msgs_per_subject"] == SHARE


async def test_a_journal_keeps_what_is_refused(broker: Broker, tmp_path: Path, connection: Connection) -> None:
    async with peer_kernel(broker) as peer:
        await set_share(connection, SHARE)
        peer.deaf = True
        peer.takes_batches = False  # a batch would count as one
        async with Kernel.from_file(broker.credentials(tmp_path / "c.json"), journal=tmp_path / "j") as kernel:
            texts = [f"event {number}" for number in range(3 * SHARE)]
            for text in texts:
                await kernel.error(text, process="copy")

            async def is_full() -> bool:
                counts = await streams.subject_counts(connection, subjects.EVENTS_STREAM, "ek.evt.*")
                return counts.counts.get(subjects.event(NODE)) == SHARE

            async with asyncio.timeout(PATIENCE_S):
                while not await is_full():
                    await asyncio.sleep(0.02)
            peer.deaf = False
            await eventually(lambda: len(peer.events) == len(texts))
            assert {event.text for event in peer.events.values()} == set(texts)
