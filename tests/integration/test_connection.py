"""A connection to the broker that its client believes in, and is dead all the same; what is too large for a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from errorkernel.broker import connection as module
from errorkernel.broker.config import MAX_PAYLOAD_BYTES
from errorkernel.broker.connection import Link, Received
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from tests.support.node_peer import Broker, eventually


@pytest.fixture
async def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Link]:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.5)
    broker = Broker(tmp_path).start()
    link = Link(broker.server.url, name="kernel", seed=broker.kernel_seed)
    link.start()
    try:
        await link.wait_up(20)
        yield link
    finally:
        await link.close()
        broker.stop()


def deaf(client: Client) -> None:
    """Its reading has ended, and nothing in it notices."""
    client._reading_task.cancel()
    client._ping_interval_task.cancel()


def closed_without_a_word(client: Client) -> None:
    """It began to close and got stuck on the way: nobody is called back."""
    client._status = Client.CLOSED


@pytest.mark.parametrize("end", [deaf, closed_without_a_word])
async def test_a_connection_that_ends_without_a_word_is_made_anew(end: Callable[[Client], None], link: Link) -> None:
    former = link._client
    assert former is not None
    end(former)
    await eventually(lambda: link.is_up and link._client is not former, 30)
    await link.flush()


async def test_a_connection_that_is_well_is_kept(link: Link) -> None:
    former = link._client
    for _ in range(3):
        await link.flush()
        # Longer than two probes.
        await asyncio.sleep(0.6)
    assert link._client is former


async def test_what_is_larger_than_the_broker_takes_is_refused_and_an_answer_that_is_gets_told(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    too_large = bytes(MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(BrokerRefused, match="larger"):
        await link.send("anywhere", too_large)

    async def answer(asked: Received) -> None:
        await asked.respond(too_large)

    await link.subscribe("asked", answer)
    with pytest.raises(BrokerAway):
        await link.request("asked", b"?", timeout_s=0.5)
    assert f"The answer to a message on asked, of {len(too_large)} bytes, was not sent" in caplog.text
    await link.flush()
