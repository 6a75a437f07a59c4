"""The node API while the broker is away."""

import asyncio
import time

import pytest

from errorkernel.broker import streams
from errorkernel.platform import conf
from errorkernel.web.node_api import broker_connection
from tests.support.node_requests import (
    STORE_BYTES,
    Stream,
    end_web,
    event,
    kernel_link,
    serve,
    settings_in,
    stored,
)

pytestmark = pytest.mark.django_db(transaction=True)


# The broker comes and goes


async def test_while_the_broker_is_away_nothing_is_taken_and_all_of_it_works_afterwards(tmp_path, monkeypatch, peer):
    given = settings_in(tmp_path)
    monkeypatch.setattr(conf, "get", lambda: given)
    monkeypatch.setattr(broker_connection, "FIRST_WAIT_S", 0.2)
    batch = [event() for _ in range(10)]
    try:
        told = await peer.post(batch)  # it has never been started
        assert told.status_code == 503
        assert int(told["Retry-After"]) >= 1
        server = serve(given)
        async with kernel_link(server, given) as connection:
            await streams.ensure_streams(connection, events_max_bytes=STORE_BYTES)
        assert await until_taken(peer, batch) == 202
        server.stop()
        assert (await peer.post(batch)).status_code == 503
        # Somebody else has its port meanwhile: it comes back on another one.
        taken = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", server.port)
        old, server = server.port, serve(given)
        assert server.port != old
        assert await until_taken(peer, batch) == 202
        async with kernel_link(server, given) as connection:
            assert await stored(Stream(connection)) == [one["id"] for one in batch]
        taken.close()
    finally:
        await end_web()
        server.stop()


async def until_taken(peer, batch):
    until = time.monotonic() + 10
    while (status := (await peer.post(batch)).status_code) == 503 and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return status
