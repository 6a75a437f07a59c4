"""The other side for tests of the node's client: a real nats-server, and a small kernel that speaks the contract."""

import asyncio
import contextlib
import itertools
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from errorkernel.broker import streams
from errorkernel.broker.config import NodeUser
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.credentials import make_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Action, Decision, Event, Heartbeat, Outcome
from errorkernel.kernel.batches import UnpackingSource
from errorkernel.protocol import batches, subjects
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol import sync as sync_wire
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, eventually

NODE = "ship1"


class Broker:
    """nats-server below ``directory``, with one node in it, ``NODE``."""

    def __init__(self, directory: Path) -> None:
        self.kernel_seed, kernel_key = make_nkey()
        self.node_seed, node_key = make_nkey()
        self._users = [NodeUser(NODE, node_key)]
        self.directory = directory
        self.server = EmbeddedServer(
            directory, kernel_key=kernel_key, host="127.0.0.1", port=0, binary=find_binary(""), max_store_bytes=2**30
        )

    def start(self) -> "Broker":
        self.server.start(self._users)
        return self

    def stop(self) -> None:
        self.server.stop()

    def credentials(self, path: Path) -> Path:
        given = {"node": NODE, "nkey_seed": self.node_seed, "token": "", "nats_url": self.server.url, "http_url": ""}
        path.write_text(json.dumps(given))
        return path


class PeerKernel:
    """Takes in events and outcomes, answers sync, publishes decisions: what the contract says, and nothing else."""

    def __init__(self, broker: Broker, nodes: Sequence[str]) -> None:
        self.nodes = nodes
        self.connection = Connection(broker.server.url, name="kernel", seed=broker.kernel_seed)
        self.arrived: list[Event] = []
        """In the order of the stream, repeats included."""
        self.outcomes: list[Outcome] = []
        self.hellos: list[Heartbeat] = []
        self.syncs = 0
        self.decisions: dict[UUID, Decision] = {}
        self.consumer = PullConsumer(self.connection, subjects.EVENTS_STREAM, subjects.KERNEL_DURABLE, 500)
        self.source = UnpackingSource(self.consumer)
        self.takes_batches = True
        """False: a kernel of before there were batches."""
        self.messages: set[int] = set()
        """Numbers of the stream's messages that held events."""
        self.deaf = False
        """Events stay in the stream."""
        self.silent = False
        """A sync gets no answer."""
        self.refuses = False
        """A sync is answered with an error."""
        self.reply_bytes = 2**20
        """Of an answer to a sync."""

    @property
    def events(self) -> dict[UUID, Event]:
        return {event.id: event for event in self.arrived}

    def texts(self, process: str | None = None) -> list[str]:
        """In the order of their first arrival: what is not acknowledged in time is sent again."""
        return [event.text for event in self.events.values() if process in (None, event.process)]

    def outcome(self, incident: UUID) -> Outcome | None:
        return next((one for one in self.outcomes if one.incident == incident), None)

    def process(self, name: str) -> Any:
        """What the last hello said of it."""
        for hello in reversed(self.hellos):
            for one in hello.processes:
                if one.name == name:
                    return one
        return None

    async def connected(self) -> None:
        await streams.ensure_streams(self.connection, events_max_bytes=2**28)
        await streams.ensure_kernel_consumer(self.connection)
        for node in self.nodes:
            await streams.ensure_node_durable(self.connection, node)
        await self.connection.subscribe(subjects.ALL_HEARTBEATS, self._hello)
        await self.connection.subscribe(subjects.ALL_SYNCS, self._sync)
        await self.consumer.open()

    async def run(self) -> None:
        while True:
            for delivery in await self.source.get(500):
                while self.deaf:
                    await asyncio.sleep(0.02)
                assert self.takes_batches or not batches.is_batch(delivery.headers)
                if delivery.subject.startswith("ek.evt."):
                    self.arrived.append(wire.decode_event(delivery.data, Limits()))
                    self.messages.add(delivery.sequence)
                else:
                    self._outcome(wire.decode_outcome(delivery.data, Limits()))
                await delivery.ack()

    def make_decision(self, incident: UUID, action: Action, incarnation: int | None = None) -> Decision:
        asked = self.events[incident]
        number = asked.incarnation if incarnation is None else incarnation
        return Decision(incident, uuid4(), action, "user:alice", datetime.now(UTC), number, "because")

    async def decide(self, incident: UUID, action: Action, *, publish: bool = True, node: str = NODE) -> Decision:
        decision = self.decisions[incident] = self.make_decision(incident, action)
        if publish:
            await self.publish(decision, node=node)
        return decision

    async def publish(self, decision: Decision, msg_id: str | None = None, node: str = NODE) -> None:
        await self.connection.store(
            subjects.decision(node, decision.incident),
            wire.encode_decision(decision),
            msg_id=msg_id or str(decision.decision_id),
        )

    async def question(self, process: str | None = None, *, after: int = 0) -> Event:
        """The (``after`` + 1)th question of the process."""

        def asked() -> Event | None:
            found = (one for one in self.events.values() if one.type == "action" and process in (None, one.process))
            return next(itertools.islice(found, after, None), None)

        return await eventually(asked)

    async def ended(self, incident: UUID) -> Outcome:
        return await eventually(lambda: self.outcome(incident))

    async def _hello(self, message: CoreMessage) -> None:
        self.hellos.append(wire.decode_heartbeat(message.data))

    def _outcome(self, outcome: Outcome) -> None:
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)

    async def _sync(self, message: CoreMessage) -> None:
        if self.silent:
            return
        self.syncs += 1
        if self.refuses:
            await message.respond(b'{"v": 1, "error": "no", "decisions": []}')
            return
        asked = sync_wire.decode(message.data)
        known = self.events
        for outcome in asked.outcomes:
            if outcome.incident in known:
                self._outcome(outcome)
        reply = sync_wire.SyncReply(self.reply_bytes)
        for one in asked.open:
            if one in self.decisions:
                reply.add_decision(self.decisions[one])
        for one in (*asked.open, *(one.incident for one in asked.outcomes)):
            if one not in known:
                reply.add_unknown(one)
        encoded = json.loads(reply.encode())
        if not self.takes_batches:
            del encoded["batch"]
        await message.respond(json.dumps(encoded).encode())


@asynccontextmanager
async def peer_kernel(broker: Broker, nodes: Sequence[str] = (NODE,)) -> AsyncIterator[PeerKernel]:
    peer = PeerKernel(broker, nodes)
    peer.connection.on_connected(peer.connected)
    peer.connection.start()
    task = asyncio.create_task(peer.run())
    try:
        await peer.connection.wait_until_ready(PATIENCE_S)
        yield peer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await peer.connection.close()


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and waits to be reaped does not."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def program_env() -> dict[str, str]:
    """For programs that tests start: the checkout is importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def unreachable(directory: Path) -> Path:
    """A node's credentials, and a broker that is not there."""
    path = directory / "unreachable.json"
    given = {"node": NODE, "nkey_seed": make_nkey()[0], "nats_url": "nats://127.0.0.1:9"}
    path.write_text(json.dumps(given))
    return path


def written(journal: Path) -> list[Event]:
    """What waits in a journal, in its order."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        rows = db.execute("SELECT payload FROM backlog WHERE subject LIKE 'ek.evt.%' ORDER BY number").fetchall()
    return [wire.decode_event(payload, Limits()) for (payload,) in rows]
