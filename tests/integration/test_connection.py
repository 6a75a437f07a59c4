"""A connection to the broker that its client believes in, and is dead all the same; what is too large for a broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from errorkernel.broker import connection as module
from errorkernel.broker.config import MAX_PAYLOAD_BYTES
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from tests.support.node_peer import Broker
from tests.support.waiting import PATIENCE_S, eventually


@pytest.fixture
async def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.5)
    broker = Broker(tmp_path).start()
    connection = Connection(broker.server.url, name="kernel", seed=broker.kernel_seed)
    connection.start()
    try:
        await connection.wait_until_ready(PATIENCE_S)
        yield connection
    finally:
        await connection.close()
        broker.stop()


def deaf(client: Client) -> None:
    """Its reading has ended, and nothing in it notices."""
    client._reading_task.cancel()
    client._ping_interval_task.cancel()


def closed_without_a_word(client: Client) -> None:
    """It began to close and got stuck on the way: nobody is called back."""
    client._status = Client.CLOSED


@pytest.mark.parametrize("end", [deaf, closed_without_a_word])
async def test_a_connection_that_ends_without_a_word_is_made_anew(
    end: Callable[[Client], None], connection: Connection
) -> None:
    former = connection._client
    assert former is not None
    end(former)
    await eventually(lambda: connection.is_ready and connection._client is not former)
    await connection.flush()


async def test_a_connection_that_is_well_is_kept(connection: Connection) -> None:
    former = connection._client
    for _ in range(3):
        await connection.flush()
        # Longer than two probes.
        await asyncio.sleep(0.6)
    assert connection._client is former


async def test_what_is_larger_than_the_broker_takes_is_refused_and_an_answer_that_is_gets_told(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    too_large = bytes(MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(BrokerRefused, match="larger"):
        await connection.send("anywhere", too_large)

    async def answer(asked: CoreMessage) -> None:
        await asked.respond(too_large)

    await connection.subscribe("asked", answer)
    with pytest.raises(BrokerAway):
        await connection.request("asked", b"?", timeout_s=0.5)
    assert f"The answer to a message on asked, of {len(too_large)} bytes, was not sent" in caplog.text
    await connection.flush()


@pytest.mark.parametrize(
    ("code", "error"),
    [(10054, BrokerRefused), (10071, BrokerRefused), (10158, BrokerAway), (10077, BrokerAway), (19999, BrokerAway)],
)
async def test_only_final_errors_of_a_publish_are_final(
    code: int, error: type[Exception], connection: Connection
) -> None:
    async def refuse(message: CoreMessage) -> None:
        await message.respond(json.dumps({"error": {"code": 400, "err_code": code, "description": "no"}}).encode())

    await connection.subscribe("test.refuses", refuse)
    with pytest.raises(error, match=str(code)):
        await connection.store("test.refuses", b"{}", msg_id="1")
