"""The node client's backlog, rejected events and heartbeats."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from errorkernel.domain.liveness import HEARTBEAT_INTERVAL_S
from errorkernel.node import Kernel
from errorkernel.node.journal.next_window import Window
from errorkernel.protocol import subjects
from tests.support.node_peer import NODE, Broker, PeerKernel
from tests.support.waiting import PATIENCE_S, eventually


async def test_a_refused_report_holds_up_nothing(
    broker: Broker, peer: PeerKernel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Credentials of ship1 under another name: the broker lets it in, and refuses what it says.
    async with Kernel("ship2", broker.server.url, nkey_seed=broker.node_seed, journal=tmp_path / "j") as kernel:
        await kernel.error("one", process="p")
        await kernel.error("two", process="p")
        await eventually(lambda: kernel.backlog.totals()["refused"] == 2)
        assert kernel.backlog.count_own() == 0
        await kernel.flush(1)
    assert "refuses a message of p" in caplog.text


async def test_a_refused_report_is_refused_alone(kernel: Kernel, peer: PeerKernel) -> None:
    kernel.backlog.add("p", subjects.event(NODE), "too big", 1, b"x" * 2_000_000)
    await kernel.error("small", process="p")
    await eventually(lambda: peer.texts() == ["small"])
    assert kernel.backlog.totals()["refused"] == 1


async def test_what_was_dropped_is_told(credentials: Path, peer: PeerKernel, broker: Broker, tmp_path: Path) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j", max_reports=10) as kernel:
        await eventually(lambda: peer.hellos)
        broker.stop()
        # A report that is on its way when the broker stops may have arrived, and be dropped as well.
        await eventually(lambda: not kernel.connected)
        for number in range(25):
            await kernel.info(f"info {number}")
        await kernel.error("error")
        broker.start()
        # A hello that is said before the peer is back is lost, and the next one is said half a minute later.
        await eventually(lambda: peer.hellos and peer.hellos[-1].dropped == 16, HEARTBEAT_INTERVAL_S + 15)
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: peer.texts() == [*(f"info {number}" for number in range(16, 25)), "error"])


async def test_heartbeat_tells_what_runs(kernel: Kernel, peer: PeerKernel) -> None:
    await kernel.info("x", process="web")
    await eventually(lambda: peer.process("web"))
    told = peer.process("web")
    assert (told.state, told.incarnation, told.pid) == ("running", 1, os.getpid())
    assert peer.hellos[-1].version.startswith("steward-error-kernel")
    assert peer.hellos[-1].at is not None


async def test_a_heartbeat_that_is_too_large_for_the_broker_is_told(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    await eventually(lambda: kernel.connected)
    assert kernel._delivery.connection._client is not None
    kernel._delivery.connection._client._max_payload = 10  # of what a broker says as it takes a connection
    await kernel._delivery.heartbeat.send()
    assert "The broker refuses a heartbeat with 0 processes" in caplog.text


async def test_reports_that_have_to_wait_for_another_program_keep_their_order_and_hold_up_nothing_else(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    await kernel.info("0", process="p")
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.create_task(kernel.info(f"{number}", process="p")) for number in range(1, 6)]
    turns = 0
    while turns < 20:  # the event loop goes round, though nothing can be written
        await asyncio.sleep(0.01)
        turns += 1
    assert not any(task.done() for task in waiting)
    other.execute("ROLLBACK")
    other.close()
    # These find the way free while the former may still be in the journal's thread.
    await asyncio.gather(*waiting[:1], *(kernel.info(f"{number}", process="p") for number in range(6, 30)))
    await asyncio.gather(*waiting)
    await eventually(lambda: len(peer.events) == 30)
    assert list(dict.fromkeys(peer.texts("p"))) == [f"{number}" for number in range(30)]


async def test_a_program_that_reports_without_pause_lets_others_run(kernel: Kernel) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    await kernel.info("the first one goes through the journal's thread")
    running = asyncio.create_task(other())
    for number in range(100):
        await kernel.info(f"{number}")
    running.cancel()
    assert turns >= 40


async def test_an_unanswerable_journal_call_does_not_end_the_client(kernel: Kernel, peer: PeerKernel) -> None:
    """A background part that fails is logged and started again."""
    real = kernel.backlog.next_window
    calls = []

    def failing(*arguments: int) -> Window:
        calls.append(arguments)
        if len(calls) < 2:
            raise RuntimeError("a fault of ours")
        return real(*arguments)

    kernel.backlog.next_window = failing  # type: ignore[method-assign]
    await kernel.error("still sent", process="p")
    await eventually(lambda: peer.texts() == ["still sent"])
