"""Nodes of Steward and ctrl where something breaks: the broker, the kernel between two steps, room, names."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from errorkernel.protocol import subjects
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM
from tests.e2e.steward.test_ingest import StewardProduct, node, stored
from tests.support.paths import ROOT
from tests.support.steward.peer import CTRL, SEED, STEW, PlainServer, StewardPeer, Version
from tests.support.waiting import PATIENCE_S, wait_for

AT = datetime(2026, 11, 4, 10, 0, 0)
FAILED = "error: methodREQHttpGet: client.Do failed: Get x: no route, bailing out: [http://192.0.2.{}/]"
TIMED_OUT = "error: methodREQHttpGet: method timed out: [http://192.0.2.{}/]"
STREAM_BYTES = 100_000
NODES_MAX = 14
ACKS = "$JS.ACK.>"


@dataclass(slots=True)
class Broker:
    """A broker of Steward's nodes that comes back under its address, with its streams. Nodes need no password."""

    place: Path
    port: int
    server: PlainServer | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def kernel_url(self) -> str:
        return f"nats://kernel:secret@127.0.0.1:{self.port}"

    def start(self, *, denied: str = "") -> None:
        """``denied``: what the kernel may not publish."""
        users: list[dict[str, Any]] = [{"user": "node", "password": "x"}, {"user": "kernel", "password": "secret"}]
        if denied:
            users[1]["permissions"] = {"publish": {"deny": [denied]}}
        config = self.place / "nats.conf"
        config.write_text(f"no_auth_user: node\nauthorization: {{ users: {json.dumps(users)} }}\n")
        options = ("-c", str(config), "-js", "-sd", str(self.place / "js"), "-p", str(self.port))
        self.server = PlainServer(self.place, *options).start()

    def stop(self) -> None:
        if self.server:
            self.server.stop()
            self.server = None


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one = Broker(tmp_path_factory.mktemp("nats"), port)
    # As if the kernel were killed between its commit and its acknowledgement, every time.
    one.start(denied=ACKS)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[StewardProduct]:
    """The product in the place of the central node, with little room."""
    settings = {
        "STEWARD_LEGACY_CENTRAL": "central",
        "STEWARD_LEGACY_REPLACES_CENTRAL": "1",
        "STEWARD_LEGACY_STREAM_BYTES": str(STREAM_BYTES),
        "STEWARD_LEGACY_NODES": str(NODES_MAX),
    }
    product = StewardProduct(tmp_path_factory.mktemp("central"), "jetstream", broker.kernel_url, **settings)
    product.start()
    yield product
    product.stop()


async def consumer(broker: Broker) -> Any:
    """What the broker says of the kernel's durable."""
    client = await nats.connect(broker.url)
    try:
        return await client.jetstream().consumer_info(ERROR_STREAM, subjects.KERNEL_DURABLE)
    finally:
        await client.close()


async def until_acknowledged(peer: StewardPeer, text: str) -> None:
    """As a node does it, whatever becomes of its connection."""
    message = peer.error_message(text, AT)
    while True:
        with suppress(nats.errors.Error, TimeoutError):
            if (await peer.send(peer.version.subject, message)).acknowledged:
                return
        await asyncio.sleep(0.05)


async def test_in_the_place_of_the_central_node_heartbeats_that_want_it_are_acknowledged(
    central: StewardProduct, broker: Broker
) -> None:
    for version in (STEW, CTRL):
        async with node(broker.url, "hello.one", version) as peer:
            assert (await peer.hello()).acknowledged
            watch = await nats.connect(broker.url)
            subject = "central.REQHello.EventNACK" if version.token else "central.hello"
            replies = await watch.subscribe(subject + ".reply")
            elsewhere = await watch.subscribe("hello.one.opProcessStop")
            await watch.flush()
            payload, headers = version.pack(peer.error_message("x"))
            await peer.client.publish(subject, payload, "hello.one.opProcessStop", headers)
            peer.ack_timeout = 0
            payload, headers = version.pack(peer.error_message("x"))
            await peer.client.publish(subject, payload, subject + ".reply", headers)
            peer.ack_timeout = 200
            assert (await peer.hello()).acknowledged
            assert (await replies.next_msg(20)).data == b""
            for nothing in (replies, elsewhere):
                with pytest.raises(nats.errors.TimeoutError):
                    await nothing.next_msg(0.1)
            await watch.close()


async def test_what_was_stored_and_not_acknowledged_when_the_kernel_was_killed_is_stored_once(
    central: StewardProduct, broker: Broker
) -> None:
    async with node(broker.url, "unacked.seed", SEED) as seed, node(broker.url, "unacked.ctrl", CTRL) as ctrl:
        for number in range(5):
            await until_acknowledged(seed, TIMED_OUT.format(1))
            await until_acknowledged(ctrl, TIMED_OUT.format(number))
        await stored(central, "unacked.seed", 5)
        await stored(central, "unacked.ctrl", 5)
        assert (await consumer(broker)).num_ack_pending == 10
        central.kill()
        broker.stop()
        broker.start()
        await asyncio.to_thread(central.start)
        await until_acknowledged(seed, TIMED_OUT.format(1))
        await until_acknowledged(ctrl, TIMED_OUT.format(9))
    await stored(central, "unacked.seed", 6)
    await stored(central, "unacked.ctrl", 6)
    while (await consumer(broker)).num_ack_pending:
        await asyncio.sleep(0.05)


async def test_when_the_broker_restarts_while_errors_come_each_that_was_acknowledged_is_stored_once(
    central: StewardProduct, broker: Broker
) -> None:
    async def report(peer: StewardPeer, restarting: asyncio.Task[None]) -> int:
        sent = 0
        while not restarting.done() or sent < 60:
            await until_acknowledged(peer, TIMED_OUT.format(sent))
            sent += 1
        return sent

    async def restart() -> None:
        await asyncio.to_thread(wait_for, lambda: central.count("restart.ctrl") >= 10)
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)

    names = ("restart.stew", "restart.ctrl")
    async with (
        node(broker.url, names[0], STEW, ack_timeout=10) as stew,
        node(broker.url, names[1], CTRL, ack_timeout=10) as ctrl,
    ):
        restarting = asyncio.create_task(restart())
        sent = await asyncio.gather(report(stew, restarting), report(ctrl, restarting))
        await restarting
    for name, count in zip(names, sent, strict=True):
        await stored(central, name, count)


@contextmanager
def another_kernel(central: StewardProduct) -> Iterator[None]:
    env = {
        **central.env,
        "STEWARD_NATS_URL": central.nats_url,
        "STEWARD_NATS_SEED_FILE": str(central.directory / "kernel.nk"),
        "STEWARD_CHANNEL_LAYER": "nats",
    }
    log = central.directory.parent / "second.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "manage.py", "kernel"], cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        # To both brokers: from then on it asks for errors.
        wait_for(lambda: log.read_text().count("Connected to the broker as steward kernel") == 2)
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


async def test_two_kernels_at_once_store_each_failure_once_and_fold_what_belongs_together(
    central: StewardProduct, broker: Broker
) -> None:
    async def pairs(peer: StewardPeer) -> None:
        for number in range(40):
            await until_acknowledged(peer, FAILED.format(number))
            await until_acknowledged(peer, TIMED_OUT.format(number))

    async def early(peer: StewardPeer) -> None:
        for _ in range(40):
            await until_acknowledged(peer, TIMED_OUT.format(1))

    async with (
        AsyncExitStack() as stack,
        node(broker.url, "both.stew", STEW) as stew,
        node(broker.url, "both.ctrl", CTRL) as ctrl,
        node(broker.url, "both.seed", SEED) as seed,
    ):
        await asyncio.to_thread(stack.enter_context, another_kernel(central))
        await asyncio.gather(pairs(stew), pairs(ctrl), early(seed))
        await stored(central, "both.seed", 40)
        for name in ("both.stew", "both.ctrl"):
            await stored(central, name, 80)
            tags = central.rows(
                "SELECT e.tags FROM errorkernel_errorevent e JOIN errorkernel_node n ON n.id = e.node_id"
                " WHERE n.name = ?",
                f"{name}@steward",
            )
            assert sum("part_of" in one for (one,) in tags) == 40


async def test_a_full_stream_takes_the_newest_and_the_number_of_those_that_are_gone_is_told(
    central: StewardProduct, broker: Broker
) -> None:
    central.kill()
    sent = 0
    async with node(broker.url, "full", CTRL) as peer:
        for _ in range(400):
            assert (await peer.error(f"error: {os.urandom(100).hex()}")).acknowledged
            sent += 1
        checks = json.loads((await asyncio.to_thread(central.command, "doctor", "--json")).stdout)["checks"]
        (said,) = [one for one in checks if one["name"] == "stream EK_STEWARD"]
        assert said["status"] == "warning"
        assert "is full to" in said["finding"]
        await asyncio.to_thread(central.start)
        await asyncio.to_thread(wait_for, lambda: told(central))
        (gone,) = told(central)
        assert 0 < gone < sent
        await stored(central, "full", sent - gone)
        assert (await peer.error("error: the newest")).acknowledged
        await stored(central, "full", sent - gone + 1)
    assert f"its {gone} oldest errors are gone" in central.log()


def told(central: StewardProduct) -> list[int]:
    """How many were thrown away, by the audit trail."""
    found = central.rows("SELECT after FROM errorkernel_auditentry WHERE target = 'stream:EK_STEWARD'")
    return [json.loads(after)["discarded"] for (after,) in found]


async def test_invented_names_become_no_more_nodes_than_may_be(central: StewardProduct, broker: Broker) -> None:
    async def one(name: str, version: Version, hello: bool, number: int = 1) -> None:
        async with node(broker.url, name, version) as peer:
            await (peer.hello() if hello else peer.error(TIMED_OUT.format(number), AT))

    known = "SELECT count(*) FROM errorkernel_node WHERE family != ''"
    before = central.count("both.stew")
    await one("both.stew", STEW, hello=False)
    await stored(central, "both.stew", before + 1)
    for number in range(2 * NODES_MAX):
        await one(f"invented{number}", STEW, hello=number % 3 == 0)
    refused = "SELECT 1 FROM errorkernel_rejectedevent WHERE reason = 'too_many_nodes'"
    await asyncio.to_thread(wait_for, lambda: central.rows(refused))
    assert central.rows(known) == [(NODES_MAX,)]
    # Another one: the same again would be taken for a retransmission.
    await one("both.stew", STEW, hello=False, number=2)
    await stored(central, "both.stew", before + 2)
    await asyncio.to_thread(wait_for, lambda: "new ones were not added" in central.log())
