"""The demo fleet against a real broker: it reports calmly, asks soon, obeys, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from errorkernel.broker.config import NodeUser
from errorkernel.broker.credentials import make_nkey
from errorkernel.domain.values import Action
from errorkernel.node import Kernel
from errorkernel.ops.demo import ingest
from errorkernel.ops.demo.fleet import NODES, DemoFleet
from tests.support.node_peer import Broker, alive, peer_kernel, program_env
from tests.support.product import Product
from tests.support.waiting import eventually, wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path / "broker").start()
    yield server
    server.stop()


def add_nodes(broker: Broker) -> list[dict[str, str]]:
    made, users = [], []
    for name in NODES:
        seed, key = make_nkey()
        users.append(NodeUser(name, key))
        made.append({"node": name, "nkey_seed": seed, "token": "", "nats_url": broker.server.url, "http_url": ""})
    broker.server.reload(users)
    time.sleep(0.3)
    return made


def descendants(pids: list[int]) -> list[int]:
    """All processes below these, they included."""
    found = list(pids)
    for line in subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout.splitlines():
        pid, parent = map(int, line.split())
        if parent in found:
            found.append(pid)
    return found


@pytest.mark.slow
async def test_the_fleet_reports_asks_obeys_and_is_gone(broker: Broker, tmp_path: Path) -> None:
    fleet = DemoFleet(tmp_path / "work", add_nodes(broker))
    async with peer_kernel(broker, nodes=list(NODES)) as peer:
        fleet.start()
        try:
            first = await peer.question("copy-files")
            assert (first.kind, first.tags) == ("FileNotFoundError", {"demo": "true"})
            assert first.message is not None
            assert (first.message.method, first.message.from_node) == ("REQCopySrc", "central")
            assert "copyfile" in first.stack
            old = await eventually(lambda: peer.process("copy-files"))
            decision = await peer.decide(first.id, Action.KILL, node="demo-ship1")
            ended = await peer.ended(first.id)
            assert (ended.state, ended.decision_id) == ("applied", decision.decision_id)
            await eventually(lambda: peer.process("copy-files").pid not in (None, old.pid))
            assert not alive(old.pid)
            replaced = await eventually(
                lambda: next(
                    (one for one in peer.arrived if one.incarnation == ended.new_incarnation and one.message), None
                )
            )
            assert replaced.message.id != first.message.id, "it goes on with the next piece of work"
            await eventually(lambda: len({one.process for one in peer.arrived}) >= 5)
            everything = descendants(fleet.pids)
            assert len(everything) >= 4 + 11
        finally:
            fleet.stop()
        assert [pid for pid in everything if alive(pid)] == []
        assert {one.tags.get("demo") for one in peer.arrived} == {"true"}


async def test_a_deploy_blocks_workers_by_two_causes_and_continue_helps_one(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DEPLOY_AFTER_S": 0.0, "FAIL_AFTER_S": (0.0, 0.0), "CALM_S": (0.05, 0.1), "RETRY_S": 0.02
    }.items():  # fmt: skip
        monkeypatch.setattr(ingest, name, value)
    credentials = next(one for one in add_nodes(broker) if one["node"] == "demo-ship1")
    (tmp_path / "ship1.json").write_text(json.dumps(credentials))
    (tmp_path / "ship1.json").chmod(0o600)
    work = tmp_path / "demo-ship1"
    work.mkdir()

    async def next_question(peer: Any, process: str, *, after: Any = None) -> Any:
        return await eventually(
            lambda: next((one for one in reversed(peer.arrived) if is_question(one, process) and one != after), None)
        )

    def is_question(one: Any, process: str) -> bool:
        return bool(one.process == process and one.type == "action")

    def went_on(peer: Any, process: str, text: str, last: Any) -> bool:
        later = peer.arrived[peer.arrived.index(last) + 1 :]
        return any(one.process == process and one.text.startswith(text) for one in later)

    async with peer_kernel(broker, nodes=["demo-ship1"]) as peer, AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(
            Kernel.from_file(tmp_path / "ship1.json", journal=tmp_path / "journal")
        )
        for worker in ingest.Story(work).workers(kernel):
            await stack.enter_async_context(worker)
        full = await next_question(peer, "ingest-1")
        assert (full.kind, full.tags["release"]) == ("OSError", "1.4.3")
        assert "No space left on device" in full.text
        await peer.decide(full.id, Action.CONTINUE, node="demo-ship1")
        again = await next_question(peer, "ingest-1", after=full)
        await peer.decide(again.id, Action.KILL, node="demo-ship1")
        await eventually(lambda: went_on(peer, "ingest-1", "stored batch", again))
        lost = await next_question(peer, "render-1")
        assert lost.kind == "ConnectionPoolTimeout"
        await peer.decide(lost.id, Action.CONTINUE, node="demo-ship1")
        await eventually(lambda: went_on(peer, "render-1", "rendered chart", lost))


async def test_the_fleet_dies_with_the_program_that_started_it(tmp_path: Path) -> None:
    credentials = [{"node": name, "nkey_seed": make_nkey()[0], "nats_url": "nats://127.0.0.1:9"} for name in NODES]
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from errorkernel.ops.demo.fleet import DemoFleet
        fleet = DemoFleet(Path({str(tmp_path)!r}), {credentials!r})
        fleet.start()
        print(*fleet.pids, flush=True)
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", program], env=program_env(), stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    nodes = [int(one) for one in parent.stdout.readline().split()]
    await eventually(lambda: len(descendants(nodes)) >= 4 + 11)
    everything = descendants(nodes)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    await eventually(lambda: not [pid for pid in everything if alive(pid)])
    assert all((tmp_path / name / "credentials.json").stat().st_mode & 0o777 == 0o600 for name in NODES)


@pytest.mark.slow
def test_a_running_demo_that_is_removed_ends_and_does_not_come_back(tmp_path: Path) -> None:
    product = Product(tmp_path / "data", "--demo").start()
    try:
        token = product.token()
        wait_for(lambda: len(events_of(product, token)) > 10)
        assert product.command("demo", "remove").stdout.startswith("4 demo nodes were removed.")
        wait_for(
            lambda: not [pid for pid in descendants([product.pid]) if "errorkernel.ops.demo.node" in command_of(pid)]
        )
        assert "demo-" not in product.command("node", "list").stdout
        assert events_of(product, token) == []
        assert product.running
    finally:
        product.stop()


def events_of(product: Product, token: str) -> list[dict[str, Any]]:
    return list(product.call("/api/v1/events", token)[1]["items"])


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
