"""A broker, a peer that speaks the contract, and a node client."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from errorkernel.node import Kernel
from tests.support.node_peer import Broker, PeerKernel, peer_kernel


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    server = Broker(tmp_path_factory.mktemp("broker")).start()
    yield server
    server.stop()


@pytest.fixture
async def peer(broker: Broker) -> AsyncIterator[PeerKernel]:
    async with peer_kernel(broker) as running:
        yield running


@pytest.fixture
async def kernel(broker: Broker, peer: PeerKernel, tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.from_file(broker.credentials(tmp_path / "c.json"), journal=tmp_path / "j") as opened:
        yield opened
