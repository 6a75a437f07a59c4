"""A broker that we do not start: the printed configuration is all that a nats-server needs."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from errorkernel.broker.embedded import find_binary
from errorkernel.node import Action, Kernel
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for


class Foreign(Product):
    """The product on a nats-server that the test starts itself."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "data")
        self.place = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config, self.log_file = directory / "nats.conf", directory / "nats.log"
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            **super().env,
            "STEWARD_NATS_URL": f"nats://127.0.0.1:{self.port}",
            "STEWARD_NATS_SEED_FILE": str(self.place / "kernel.nk"),
            "STEWARD_NATS_LOG_FILE": str(self.log_file),
        }

    def printed(self, *options: str) -> str:
        done = self.command("broker-config", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_config(self) -> None:
        listen, store = f"127.0.0.1:{self.port}", str(self.place / "jetstream")
        self.config.write_text(self.printed("--listen", listen, "--store-dir", store))

    def start_server(self) -> None:
        with self.log_file.open("ab") as out:
            self.server = subprocess.Popen([find_binary(""), "-c", str(self.config)], stdout=out, stderr=out)
        wait_for(lambda: "Server is ready" in self.log_file.read_text())

    def reload_server(self) -> None:
        assert self.server
        for _ in range(2):
            before = self.log_file.read_text().count("Reloaded server configuration")
            self.server.send_signal(signal.SIGHUP)
            wait_for(lambda before=before: self.log_file.read_text().count("Reloaded server configuration") > before)


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Foreign]:
    product = Foreign(tmp_path)
    product.make_tables()
    yield product
    if product._process and product._process.poll() is None:
        product.stop()
    if product.server:
        product.server.kill()
        product.server.wait()


def ask(product: Foreign, token: str, credentials: dict[str, str]) -> None:
    """One question from the node's client to its answer and back."""
    file = product.place / f"{credentials['node']}.json"
    file.write_text(json.dumps(credentials))
    os.chmod(file, 0o600)

    def answer() -> bool:
        _, found = product.call("/api/v1/incidents?state=open&node=" + credentials["node"], token)
        for one in found["items"]:
            product.call(f"/api/v1/incidents/{one['id']}/decision", token, {"action": "continue", "reason": "test"})
        return bool(found["items"])

    async def run() -> None:
        async with Kernel.from_file(file, journal=product.place / f"{credentials['node']}.journal") as kernel:

            async def work(ctx) -> None:
                assert await ctx.ask(FileNotFoundError("gone")) is Action.CONTINUE
                done.set()

            done = asyncio.Event()
            async with kernel.worker("copier", work):
                await asyncio.to_thread(wait_for, answer)
                await asyncio.wait_for(done.wait(), PATIENCE_S)

    asyncio.run(run())
    wait_for(lambda: product.call(f"/api/v1/incidents?state=applied&node={credentials['node']}", token)[1]["items"])


def test_a_nats_server_that_is_started_with_what_is_printed_does_all_that_is_needed(foreign: Foreign) -> None:
    first = foreign.add_node("first")
    assert first["nats_url"] == f"nats://127.0.0.1:{foreign.port}"
    foreign.write_config()
    foreign.start_server()
    foreign.start()
    token = foreign.token()
    ask(foreign, token, first)
    late = foreign.add_node("late")
    foreign.write_config()
    foreign.reload_server()
    ask(foreign, token, late)
    foreign.command("node", "disable", "first")
    foreign.write_config()
    foreign.reload_server()

    def seen() -> bool:
        """The journal of the disabled node is gone, so somebody else comes with its credentials."""
        with sqlite3.connect(f"file:{foreign.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
            return bool(database.execute("SELECT 1 FROM errorkernel_accessdenial WHERE node = 'first'").fetchall())

    async def come() -> None:
        kernel = Kernel.from_file(foreign.place / "first.json", journal=foreign.place / "again")
        async with kernel:
            deadline = time.monotonic() + 20
            while not await asyncio.to_thread(seen) and time.monotonic() < deadline:
                await asyncio.sleep(0.2)

    asyncio.run(come())
    assert seen()


def test_parts_of_it_are_printed_on_their_own(foreign: Foreign) -> None:
    foreign.add_node("first")
    accounts = foreign.printed("--accounts")
    assert accounts.startswith("accounts {")
    assert "jetstream {" not in accounts
    assert accounts in foreign.printed()
    made = json.loads(foreign.printed("--streams"))
    assert [one["name"] for one in made["streams"]] == ["EK_EVENTS", "EK_DECISIONS", "EK_COMMANDS"]
    assert [one["config"]["durable_name"] for one in made["consumers"]] == ["kernel", "node-first", "node-first"]


def test_the_printed_accounts_can_be_included_in_a_configuration_that_is_there(foreign: Foreign) -> None:
    foreign.add_node("first")
    (foreign.place / "accounts.conf").write_text(foreign.printed("--accounts"))
    foreign.config.write_text(
        f'listen: "127.0.0.1:{foreign.port}"\nmax_payload: 1MB\n'
        f'jetstream {{ store_dir: "{foreign.place / "jetstream"}" }}\ninclude accounts.conf\n'
    )
    foreign.start_server()
    foreign.start()
    wait_for(lambda: foreign.call("/health/ready", "")[1]["ready"])
