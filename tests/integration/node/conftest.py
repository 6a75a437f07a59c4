"""A broker, a peer that speaks the contract, and a node client."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from errorkernel.node import Kernel
from tests.support.node_peer import Broker, PeerKernel, peer_kernel


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path / "broker").start()
    yield server
    server.stop()


@pytest.fixture
async def peer(broker: Broker) -> AsyncIterator[PeerKernel]:
    async with peer_kernel(broker) as running:
        yield running


@pytest.fixture
def credentials(broker: Broker, tmp_path: Path) -> Path:
    return broker.credentials(tmp_path / "ship1.json")


@pytest.fixture
async def kernel(credentials: Path, tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.from_file(credentials, journal=tmp_path / "journal") as opened:
        yield opened
