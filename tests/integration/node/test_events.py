"""The node client reports events, whatever happens to the link and the program."""

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from errorkernel.node import Kernel
from tests.support.node_peer import Broker, PeerKernel, peer_kernel, program_env
from tests.support.waiting import PATIENCE_S, eventually


async def test_a_report_arrives_with_everything_that_was_said(kernel: Kernel, peer: PeerKernel) -> None:
    try:
        open("/nowhere/a.tif").close()
    except OSError as exc:
        event_id = await kernel.error(
            exc,
            process="copy-files",
            level="critical",
            message={"id": 7, "method": "REQCopySrc", "from_node": "central", "to_node": "ship1", "data": b"a.tif"},
            tags={"release": "1.4.2", "n": 3},
            fingerprint=["copy", "missing"],
            relay_from_node="relay1",
        )
    await kernel.info("copied 12 files")
    await eventually(lambda: len(peer.arrived) == 2)
    error, info = peer.arrived
    assert (error.id, error.type, error.level, error.process) == (event_id, "error", "critical", "copy-files")
    assert (error.kind, error.incarnation) == ("FileNotFoundError", 1)
    assert "test_events.py" in error.stack
    assert error.message is not None
    assert (error.message.id, error.message.method, error.message.data) == ("7", "REQCopySrc", "a.tif")
    assert (error.tags, error.fingerprint) == ({"release": "1.4.2", "n": "3"}, ("copy", "missing"))
    assert error.relay_from_node == "relay1"
    assert error.occurred_at is not None
    assert abs(error.occurred_at.timestamp() - time.time()) < 30
    assert (info.type, info.level, info.process) == ("info", "info", "main")


async def test_reports_made_while_the_broker_is_away_arrive_once_and_in_order(broker: Broker, tmp_path: Path) -> None:
    async with peer_kernel(broker) as peer:
        credentials = broker.credentials(tmp_path / "c.json")
        async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
            await kernel.info("before")
            await kernel.flush(PATIENCE_S)
            broker.stop()
            for number in range(300):
                await kernel.error(f"error {number}", process=f"p{number % 3}")
            assert not kernel.connected
            broker.start()
            await kernel.flush(PATIENCE_S)
            await eventually(lambda: len(peer.events) == 301)
            for process in range(3):
                assert peer.texts(f"p{process}") == [f"error {number}" for number in range(process, 300, 3)]


async def test_a_link_that_breaks_in_mid_flow_costs_no_report_and_no_order(kernel: Kernel, peer: PeerKernel) -> None:
    async def report() -> None:
        for number in range(1500):
            await kernel.error(f"{number}", process=f"p{number % 2}")

    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.1)
            if kernel._delivery.connection._client:
                await kernel._delivery.connection._client.close()

    await asyncio.gather(report(), cut())
    await kernel.flush(PATIENCE_S)
    await eventually(lambda: len(peer.events) == 1500)
    for process in range(2):
        # The stream drops repeats by their id; the peer may be handed one twice, which moves nothing.
        first_seen = list(dict.fromkeys(peer.texts(f"p{process}")))
        assert first_seen == [f"{number}" for number in range(process, 1500, 2)]


async def test_a_report_written_before_sigkill_is_sent_by_the_next_start(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    unreachable = tmp_path / "unreachable.json"
    unreachable.write_text(json.dumps({**json.loads(credentials.read_text()), "nats_url": "nats://127.0.0.1:9"}))
    program = textwrap.dedent(f"""
        import time
        from errorkernel.node import BlockingKernel
        kernel = BlockingKernel.from_file({str(unreachable)!r}, journal={str(tmp_path / "j")!r})
        for number in range(100):
            kernel.error(f"error {{number}}", process="p")
        print("written", flush=True)
        kernel.ask("may I?", process="p")
    """)
    dying = subprocess.Popen([sys.executable, "-c", program], env=program_env(), stdout=subprocess.PIPE, text=True)
    assert dying.stdout
    assert await asyncio.to_thread(dying.stdout.readline) == "written\n"
    await asyncio.sleep(0.3)
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        await kernel.error("after", process="p")
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 102)
        assert peer.texts("p") == [f"error {number}" for number in range(100)] + ["may I?", "after"]
        # Who asked is gone, so nobody must be shown a question that nobody waits on.
        question = await peer.question()
        ended = await peer.ended(question.id)
        assert (ended.state, ended.decision_id, ended.incarnation) == ("withdrawn", None, 1)
        assert peer.arrived[-1].incarnation == 2
