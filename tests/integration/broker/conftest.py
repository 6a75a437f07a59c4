"""A broker for the tests of a file, and a connection of the kernel to it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from errorkernel.broker.connection import Connection
from tests.support.node_peer import Broker
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("broker")).start()
    yield running
    running.stop()


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    connected = Connection(broker.server.url, name="test", seed=broker.kernel_seed)
    connected.start()
    await connected.wait_until_ready(PATIENCE_S)
    yield connected
    await connected.close()
