"""How a node sends its backlog: order, batches, kernels and brokers that do not take them, links that drop."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from errorkernel.domain.values import Action, EventType
from errorkernel.node import Kernel
from errorkernel.node.delivery import backlog_log
from errorkernel.node.delivery.sender import Sender
from errorkernel.node.reporting.event_builder import describe
from errorkernel.protocol import subjects
from tests.support.node_peer import Broker, PeerKernel, peer_kernel, program_env, unreachable
from tests.support.slow_link import SlowLink
from tests.support.waiting import PATIENCE_S, eventually

PROCESSES = 3


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def fill(tmp_path: Path, journal: Path, events: int, *, own: int = 0) -> None:
    """Report while the broker cannot be reached: of three processes, and ``own`` events of the process *helm*."""
    async with Kernel.from_file(unreachable(tmp_path), journal=journal, close_wait_s=0) as kernel:
        for number in range(events):
            kernel.report_now(EventType.ERROR, f"p{number % PROCESSES}", describe(f"failure {number}", {}))
        for number in range(own):
            kernel.report_now(EventType.ERROR, "helm", describe(f"own {number}", {}))


def check_order(peer: PeerKernel, events: int) -> None:
    for process in range(PROCESSES):
        first_seen = list(dict.fromkeys(peer.texts(f"p{process}")))
        assert first_seen == [f"failure {number}" for number in range(process, events, PROCESSES)]


async def test_an_incident_overtakes_the_backlog_and_not_its_own_process(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    await fill(tmp_path, journal, 3000, own=5)
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        # In the journal before the connection is there.
        asking = asyncio.create_task(kernel.ask("may I?", process="helm"))
        question = await peer.question("helm")
        await peer.decide(question.id, Action.CONTINUE)
        assert await asking is Action.CONTINUE
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 3006)
    assert peer.texts("helm") == [*(f"own {number}" for number in range(5)), "may I?"]
    ahead = peer.arrived.index(question) - 5
    assert ahead < 1500, "events of other processes that went first: those of the time before it was asked"
    check_order(peer, 3000)


async def test_a_backlog_goes_in_batches(peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path) -> None:
    await fill(tmp_path, journal, 3000)
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 3000)
    check_order(peer, 3000)
    assert len(peer.arrived) == 3000
    assert len(peer.messages) < 600


async def test_a_kernel_that_knows_no_batches_gets_single_events(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    peer.takes_batches = False
    await fill(tmp_path, journal, 1000)
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 1000)
    check_order(peer, 1000)
    assert len(peer.messages) == 1000


async def test_a_former_kernels_word_does_not_hold_for_the_next_one(
    broker: Broker, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        async with peer_kernel(broker):
            await eventually(lambda: kernel._delivery.sender._batch_limits)
        broker.stop()
        for number in range(600):
            kernel.report_now(EventType.ERROR, f"p{number % PROCESSES}", describe(f"failure {number}", {}))
        broker.start()
        async with peer_kernel(broker) as older:
            older.takes_batches = False
            await kernel.flush(PATIENCE_S)
            await eventually(lambda: len(older.events) == 600)
            check_order(older, 600)


async def test_a_broker_that_refuses_batches_gets_single_events_and_refuses_the_one(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    """By a limit of the operator's own on the size of messages: nobody knows it before."""
    info = await peer.connection.api(f"STREAM.INFO.{subjects.EVENTS_STREAM}", {})
    limited = {**info["config"], "max_msg_size": 2000}
    await peer.connection.api(f"STREAM.UPDATE.{subjects.EVENTS_STREAM}", limited)
    await fill(tmp_path, journal, 900)
    async with Kernel.from_file(unreachable(tmp_path), journal=journal, close_wait_s=0) as kernel:
        text = "".join(chr(33 + number * 7919 % 90) for number in range(5000))
        kernel.report_now(EventType.ERROR, "p0", describe(text, {}))
        kernel.report_now(EventType.ERROR, "helm", describe("last", {}))
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 901)
        assert kernel.backlog.totals()["refused"] == 1
    check_order(peer, 900)
    assert peer.texts("helm") == ["last"]


async def test_a_link_that_drops_amid_a_reordered_backlog_loses_and_reorders_nothing(
    broker: Broker, peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    await fill(tmp_path, journal, 3000, own=300)
    target = urlsplit(broker.server.url)
    assert target.hostname
    assert target.port
    async with SlowLink(target.hostname, target.port, bytes_per_s=100_000) as link:
        given = json.loads(credentials.read_text())
        credentials.write_text(json.dumps({**given, "nats_url": f"nats://127.0.0.1:{link.port}"}))
        async with Kernel.from_file(credentials, journal=journal) as kernel:
            asking = asyncio.create_task(kernel.ask("may I?", process="helm"))
            for seen in (50, 400, 1500):
                await eventually(lambda seen=seen: len(peer.events) >= seen)  # type: ignore[misc]
                link.cut()
            question = await peer.question("helm")
            await peer.decide(question.id, Action.CONTINUE)
            assert await asking is Action.CONTINUE
            await kernel.flush(PATIENCE_S)
            await eventually(lambda: len(peer.events) == 3301)
    check_order(peer, 3000)
    assert list(dict.fromkeys(peer.texts("helm"))) == [*(f"own {number}" for number in range(300)), "may I?"]


async def test_a_program_that_is_killed_amid_its_backlog_sends_the_rest_at_its_next_start(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    await fill(tmp_path, journal, 5000)
    program = textwrap.dedent(f"""
        import time
        from errorkernel.node import BlockingKernel
        kernel = BlockingKernel.from_file({str(credentials)!r}, journal={str(journal)!r}, bandwidth=30000)
        time.sleep(600)
    """)
    dying = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    try:
        await eventually(lambda: len(peer.events) > 500)
    finally:
        dying.send_signal(signal.SIGKILL)
        dying.wait()
    assert len(peer.events) < 5000
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 5000)
    check_order(peer, 5000)


async def test_the_cap_holds_and_an_incident_goes_ahead_of_it(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: bytes that were sent, and the pauses that followed."""
    await fill(tmp_path, journal, 400)
    cap = 4000
    windows: list[tuple[float, int]] = []
    real = Sender._send

    async def send(self: Sender, messages: list) -> bool:
        windows.append((asyncio.get_running_loop().time(), sum(message.link_bytes for message in messages)))
        return await real(self, messages)

    monkeypatch.setattr(Sender, "_send", send)
    async with Kernel.from_file(credentials, journal=journal, bandwidth=cap) as kernel:
        await eventually(lambda: len(peer.events) > 10)
        asking = asyncio.create_task(kernel.ask("may I?", process="helm"))
        question = await peer.question("helm")
        assert len(peer.events) < 400, "the backlog is not sent yet"
        await peer.decide(question.id, Action.CONTINUE)
        await asking
    for (began, sent_bytes), (next_began, _) in itertools.pairwise(windows):
        assert next_began - began >= sent_bytes / cap - 0.01


async def test_the_log_says_how_much_is_unsent_and_when_it_is_sent(
    broker: Broker, credentials: Path, journal: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog_log, "CHECK_S", 0.02)
    monkeypatch.setattr(backlog_log, "AWAY_FIRST_S", 0.05)
    async with peer_kernel(broker), Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        broker.stop()
        await eventually(lambda: not kernel.connected)
        for number in range(30):
            await kernel.error(f"failure {number}")
        await eventually(lambda: "Backlog: 30 messages" in caplog.text)
        broker.start()
        await eventually(lambda: "The backlog is sent." in caplog.text)


async def test_every_message_arrives_however_it_packs(
    peer: PeerKernel, credentials: Path, tmp_path: Path, journal: Path
) -> None:
    """Large and small, random and alike, with outcomes between them."""
    texts = ["x" * 60_000, "short", "é" * 30_000, "\n\n", "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(9000))]
    async with Kernel.from_file(unreachable(tmp_path), journal=journal, close_wait_s=0) as kernel:
        for number in range(60):
            kernel.report_now(EventType.ERROR, f"p{number % 3}", describe(texts[number % 5], {"tags": {"n": number}}))
            if number % 10 == 0:
                asking = asyncio.create_task(kernel.ask("may I?", process=f"q{number}"))
                await asyncio.sleep(0.05)
                asking.cancel()
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 66)
        await eventually(lambda: len(peer.outcomes) == 6)
    numbers = [int(event.tags["n"]) for event in peer.arrived if event.type == "error"]
    for process in range(3):
        assert [n for n in dict.fromkeys(numbers) if n % 3 == process] == list(range(process, 60, 3))
