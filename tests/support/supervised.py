"""Supervised workers, for tests."""

import asyncio

from errorkernel.domain.values import Event, ProcessReport
from errorkernel.node import Backoff, Supervisor
from tests.support.node_peer import PeerKernel
from tests.support.waiting import eventually

AT_ONCE = Backoff(first_s=0.02, last_s=0.05)


class Family:
    """Children that run until they are told to fail, and note what happens to them."""

    def __init__(self, supervisor: Supervisor, names: str = "abc", **options: object) -> None:
        self.said: list[str] = []
        self.lives: dict[str, int] = {}
        self.fuses: dict[str, asyncio.Event] = {}
        self.children = {
            name: supervisor.task(name, self.work, **{"backoff": AT_ONCE, "restart": "permanent", **options})
            for name in names
        }

    async def work(self, ctx) -> None:
        name = ctx.process
        fuse = self.fuses[name] = asyncio.Event()
        self.lives[name] = ctx.incarnation
        self.said.append(f"+{name}")
        try:
            await fuse.wait()
        finally:
            self.said.append(f"-{name}")
        raise ValueError(f"{name} failed")

    async def alive(self, **lives: int) -> None:
        """These run, in these incarnations."""
        await eventually(lambda: self.lives == lives and self.running() == set(lives))

    def running(self) -> set[str]:
        return {name for name in self.lives if self.said.count(f"+{name}") > self.said.count(f"-{name}")}

    def fail(self, name: str) -> None:
        self.said.append(f"!{name}")
        self.fuses[name].set()


async def shown(peer: PeerKernel, name: str, state: str) -> ProcessReport:
    """As soon as a hello says so."""
    return await eventually(lambda: (found := peer.process(name)) and found.state == state and found)


async def quarantined(peer: PeerKernel, *names: str) -> None:
    for name in names:
        assert (await shown(peer, name, "quarantined")).pid is None


def questions(peer: PeerKernel) -> list[Event]:
    return [event for event in peer.events.values() if event.type == "action"]


# --- quarantine ------------------------------------------------------------------------------------------------------


async def fail(ctx) -> None:
    raise ValueError(f"life {ctx.incarnation}")
