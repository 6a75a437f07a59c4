"""A broker with its streams, and a node that sends requests to the node API."""

import pytest

from errorkernel.broker import streams
from errorkernel.platform import conf
from tests.support.node_requests import STORE_BYTES, Stream, end_web, kernel_link, new_peer, serve, settings_in


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A real nats-server for the whole file, and the settings that lead to it."""
    given = settings_in(tmp_path_factory.mktemp("broker"))
    server = serve(given)
    yield server, given
    server.stop()


@pytest.fixture
async def stream(broker, monkeypatch):
    """The events' stream, empty; this process's settings are the broker's."""
    server, given = broker
    monkeypatch.setattr(conf, "get", lambda: given)
    async with kernel_link(server, given) as connection:
        await streams.ensure_streams(connection, events_max_bytes=STORE_BYTES)
        await connection.api(f"STREAM.PURGE.{streams.subjects.EVENTS_STREAM}", {})
        yield Stream(connection)
    await end_web()


@pytest.fixture
def peer(transactional_db):
    return new_peer()
