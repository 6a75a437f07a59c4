"""A broker whose files are taken away, or cannot be written, while it runs: seen, told, mended, and nothing is lost."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from errorkernel.broker import embedded, streams
from errorkernel.broker.access import own_access
from errorkernel.broker.connection import Connection
from errorkernel.broker.credentials import make_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.broker.errors import BrokerError, BrokerRefused
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.node import Action, Kernel
from errorkernel.platform import conf
from errorkernel.protocol import subjects
from tests.e2e.test_external_broker import Foreign, foreign  # noqa: F401 - a fixture
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

EVENTS, DECISIONS = subjects.EVENTS_STREAM, subjects.DECISIONS_STREAM
HEALED_S = 70.0
STREAM_DIR = Path("jetstream", "STEWARD", "streams", EVENTS)
CANNOT_STORE = "The broker cannot store what it is given"


def remove(directory: Path) -> None:
    """As somebody does while the broker writes there."""
    subprocess.run(["rm", "-rf", str(directory)], check=True)


async def until(what: Callable[[], bool], within_s: float = 20.0) -> None:
    await asyncio.to_thread(wait_for, what, within_s)


# What the broker is asked


class Broker:
    """A nats-server with our streams, and a connection to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jetstream = directory / "nats" / "jetstream"
        self._seed, public = make_nkey()
        self.server = EmbeddedServer(
            directory, kernel_key=public, host="127.0.0.1", port=0, binary=find_binary(""), max_store_bytes=2**30
        )

    async def __aenter__(self) -> Connection:
        await asyncio.to_thread(self.server.start, [])
        self.connection = Connection(self.server.url, name="test", seed=self._seed)
        self.connection.start()
        await self.connection.wait_until_ready(PATIENCE_S)
        await streams.ensure_streams(self.connection, events_max_bytes=2**28)
        await streams.ensure_kernel_consumer(self.connection)
        self.source = PullConsumer(self.connection, EVENTS, subjects.KERNEL_DURABLE, 10)
        await self.source.open()
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()
        self.server.stop()


async def take_one(connection: Connection, source: PullConsumer) -> None:
    """A message comes, and is acknowledged, as by the intake."""
    await connection.store(subjects.event("ship1"), b"x", msg_id=str(uuid4()))
    [delivery] = await source.get(10)
    await delivery.ack()
    await connection.flush()


async def until_empty(connection: Connection) -> None:
    """The broker queues an acknowledgement that it has read; the message leaves a moment later."""
    async with asyncio.timeout(PATIENCE_S):
        while (await connection.api(f"STREAM.INFO.{EVENTS}", {}))["state"]["messages"]:
            await asyncio.sleep(0.01)


async def test_a_stream_that_takes_messages_proves_it_and_keeps_them(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    async with broker as connection:
        await streams.probe_storage(connection, EVENTS)
        await take_one(connection, broker.source)
        await until_empty(connection)
        await streams.probe_storage(connection, EVENTS)
        await connection.store(subjects.event("ship1"), b"x", msg_id="1")
        await streams.probe_storage(connection, EVENTS)
        assert (await streams.stream_status(connection, EVENTS)).last == 2
        assert len(await broker.source.get(10)) == 1


@pytest.mark.parametrize("gone", [Path(), STREAM_DIR], ids=["all", "one stream"])
async def test_a_stream_whose_files_are_gone_does_not_prove_that_it_stores(tmp_path: Path, gone: Path) -> None:
    broker = Broker(tmp_path)
    async with broker as connection:
        remove(broker.jetstream / gone)
        with pytest.raises(BrokerRefused, match="no such file"):
            await streams.probe_storage(connection, EVENTS)


async def test_a_write_that_failed_is_told_also_when_its_directory_can_be_written_again(tmp_path: Path) -> None:
    """nats-server takes no message into such a stream any more, whatever becomes of the disk."""
    broker = Broker(tmp_path)
    async with broker as connection:
        await take_one(connection, broker.source)
        await until_empty(connection)
        messages = broker.jetstream / STREAM_DIR / "msgs"
        remove(messages)
        await take_one(connection, broker.source)  # into a file that is open, and the next one cannot be made
        with pytest.raises(BrokerRefused):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await streams.probe_storage(connection, EVENTS)
        messages.mkdir()
        with pytest.raises(BrokerRefused):
            await streams.probe_storage(connection, EVENTS)


# Starting it again


async def test_a_broker_is_started_again_on_request_with_what_was_taken_away_but_not_for_ever(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    async with broker as connection:
        server = broker.server
        keeping = asyncio.create_task(server.keep())
        port = server.port
        try:
            for _ in range(embedded.RESTARTS - 1):
                before = server.pid
                await connection.wait_until_ready(PATIENCE_S)
                remove(tmp_path / "nats")
                assert await server.start_again("a test") == ""
                await until(lambda before=before: server.pid != before and (tmp_path / "nats" / "port").exists())
            assert (server.port, (tmp_path / "nats" / "port").read_text()) == (port, str(port))
            assert "times within" in await server.start_again("a test")
            os.kill(server.pid or 0, signal.SIGKILL)  # for this one there is a restart left
            await until(lambda: not connection.connected)
            await connection.wait_until_ready(PATIENCE_S)
        finally:
            keeping.cancel()


# The whole product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("storing") / "data").start()
    yield running
    running.stop()


def readiness(product: Product) -> dict[str, Any]:
    status, said = product.call("/health/ready", "")
    assert said["ready"] is (status == 200) is not said["why"]
    return dict(said)


def is_ready(product: Product) -> bool:
    return bool(readiness(product)["ready"])


def cannot_store(product: Product) -> bool:
    return any(CANNOT_STORE in sentence for sentence in readiness(product)["why"])


def is_taken(product: Product, token: str) -> bool:
    report = {"v": 1, "id": str(uuid4()), "type": "info", "process": "p", "error": {"text": "still there"}}
    return product.call("/api/v1/events", token, report)[0] == 202


def losses(product: Product) -> list[str]:
    with closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
        return [
            reason for (reason,) in database.execute("SELECT reason FROM errorkernel_auditentry WHERE action = 'lost'")
        ]


def what_failed(product: Product) -> dict[str, str]:
    """What ``steward doctor`` finds: name → remedy."""
    told = json.loads(product.command("doctor", "--json").stdout)
    return {one["name"]: one["remedy"] for one in told["checks"] if one["status"] == "failed"}


async def test_a_wipe_under_the_running_product_is_healed_by_itself_and_costs_no_incident(product: Product) -> None:
    given, token = product.add_node("ship1"), product.token()
    file = product.directory.parent / "ship1.json"
    file.write_text(json.dumps(given))
    file.chmod(0o600)

    def incidents(state: str) -> list[dict[str, Any]]:
        return list(product.call(f"/api/v1/incidents?state={state}&node=ship1", token)[1]["items"])

    async with Kernel.from_file(file, journal=file.with_suffix(".journal")) as kernel:
        asking = asyncio.create_task(kernel.ask("may I go on?", process="copier"))
        await until(lambda: bool(incidents("open")))
        remove(product.directory / "nats" / "jetstream")
        await until(lambda: not is_ready(product))
        await until(lambda: is_ready(product), HEALED_S)
        await until(lambda: is_taken(product, given["token"]))
        [question] = incidents("open")
        path = f"/api/v1/incidents/{question['id']}/decision"
        assert (await asyncio.to_thread(product.call, path, token, {"action": "continue"}))[0] == 200
        assert await asyncio.wait_for(asking, HEALED_S) is Action.CONTINUE
        await until(lambda: bool(incidents("applied")), HEALED_S)
    assert product.call("/api/v1/events?q=text:still", token)[1]["items"]
    assert "created again" in losses(product)[-1]
    assert what_failed(product) == {}


async def remove_stream(product: Product) -> None:
    """Take one stream away, and return when it is there again."""
    access = own_access(replace(conf.get(), data_dir=product.directory))
    connection = Connection(access.url, name="test", seed=access.seed)
    connection.start()

    async def is_there() -> bool:
        try:
            return bool(await connection.api(f"STREAM.INFO.{DECISIONS}", {}))
        except BrokerError:
            return False

    try:
        await connection.wait_until_ready(PATIENCE_S)
        await connection.api(f"STREAM.DELETE.{DECISIONS}", {})
        async with asyncio.timeout(HEALED_S):
            while not await is_there():
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


def test_a_stream_that_somebody_removed_is_made_again(product: Product) -> None:
    asyncio.run(remove_stream(product))


def test_consumers_whose_files_are_gone_do_not_keep_the_kernel_from_connecting_again(product: Product) -> None:
    """Nothing is amiss while the connection lasts; on the next one the broker refuses what it believes to have."""
    wait_for(lambda: is_ready(product), HEALED_S)
    healed = product.log().count("The broker can store again")
    remove(product.directory / "nats" / "jetstream" / STREAM_DIR / "obs")
    asyncio.run(remove_stream(product))
    wait_for(lambda: product.log().count("The broker can store again") > healed, HEALED_S)
    wait_for(lambda: is_ready(product), HEALED_S)


def test_messages_that_were_taken_from_a_stream_which_is_there_are_told_as_lost(product: Product) -> None:
    wait_for(lambda: is_ready(product), HEALED_S)
    given, before = product.add_node("ship3"), len(losses(product))
    wait_for(lambda: is_taken(product, given["token"]))

    def is_seen() -> bool:
        with closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
            return bool(database.execute("SELECT 1 FROM errorkernel_brokerstream WHERE last_seq > 0").fetchall())

    wait_for(is_seen)
    nats = product.directory / "nats"
    remove(nats / "jetstream" / STREAM_DIR / "msgs")
    os.kill(int((nats / "nats.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: len(losses(product)) > before, HEALED_S)
    assert "had lost messages of this stream" in losses(product)[-1]


def test_a_disk_that_cannot_be_written_is_told_until_it_can(product: Product) -> None:
    """The broker is left alone meanwhile: without a disk it would not start, and the product would end with it."""
    wait_for(lambda: is_ready(product), HEALED_S)
    pid_file, jetstream = product.directory / "nats" / "nats.pid", product.directory / "nats" / "jetstream"
    pid, given = pid_file.read_text(), product.add_node("ship2")
    jetstream.rename(product.directory / "gone")
    jetstream.touch()  # nothing can be written below it
    wait_for(lambda: cannot_store(product))
    failed = what_failed(product)
    assert {f"stream {EVENTS}", f"stream {DECISIONS}"} <= failed.keys()
    assert "then restarts its broker by itself" in failed[f"stream {EVENTS}"]
    assert f"is not restarted: {jetstream} cannot be written to" in product.log()
    assert product.running
    assert pid_file.read_text() == pid
    jetstream.unlink()
    wait_for(lambda: is_ready(product), HEALED_S)
    wait_for(lambda: is_taken(product, given["token"]))


def test_a_broker_of_others_that_cannot_store_is_named_until_they_start_it_again(foreign: Foreign) -> None:  # noqa: F811
    foreign.write_config()
    foreign.start_server()
    foreign.start()
    wait_for(lambda: is_ready(foreign))
    remove(foreign.place / "jetstream")
    wait_for(lambda: cannot_store(foreign))
    assert "then restart that nats-server" in what_failed(foreign)[f"stream {EVENTS}"]
    assert foreign.log().count("is not restarted: it is an external broker") == 1
    assert foreign.server
    foreign.server.kill()
    foreign.server.wait()
    foreign.log_file.unlink()
    foreign.start_server()
    wait_for(lambda: is_ready(foreign), HEALED_S)
    assert "created again" in losses(foreign)[-1]
