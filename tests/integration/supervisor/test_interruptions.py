"""Supervision over kills, lost links and failing journals."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

from errorkernel.node import Action, Kernel
from tests.support.node_peer import Broker, PeerKernel, peer_kernel, program_env
from tests.support.supervised import AT_ONCE, Family, fail, quarantined, questions
from tests.support.waiting import PATIENCE_S, eventually


async def test_the_incident_above_is_asked_once_though_the_link_is_away(tmp_path: Path) -> None:
    broker = Broker(tmp_path).start()
    try:
        credentials = broker.credentials(tmp_path / "c.json")
        async with peer_kernel(broker) as peer, Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
            await eventually(lambda: peer.hellos)
            broker.stop()
            async with kernel.supervisor("copiers", intensity=1) as supervisor:
                failing = supervisor.task("copy-files", fail, backoff=AT_ONCE)
                await eventually(lambda: failing.state.value == "quarantined")
                broker.start()
                question = await peer.question("copiers")
                await peer.decide(question.id, Action.STOP)
                assert (await peer.ended(question.id)).state == "applied"
                await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
                assert len(questions(peer)) == 1
    finally:
        broker.stop()


async def test_a_program_that_is_killed_while_quarantined_starts_afresh(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    program = textwrap.dedent(f"""
        import asyncio
        from errorkernel.node import Backoff, Kernel
        async def main():
            async with Kernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
                async with kernel.supervisor("copiers", intensity=1) as supervisor:
                    supervisor.process("job", ["sh", "-c", "exit 3"], backoff=Backoff(first_s=0.05))
                    await supervisor.wait()
        asyncio.run(main())
    """)
    running = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    try:
        question = await peer.question("copiers")
        await quarantined(peer, "job")
    finally:
        running.kill()
        running.wait()
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "j") as kernel,
        kernel.supervisor("copiers") as supervisor,
    ):
        job = supervisor.process("job", ["sleep", "300"])
        assert (await peer.ended(question.id)).state == "withdrawn"
        await eventually(lambda: job.pid)
        assert job.incarnation == 3
        assert supervisor.incarnation == 2
        await eventually(lambda: (found := peer.process("job")) and (found.state, found.pid) == ("running", job.pid))


async def test_a_journal_that_fails_delays_a_restart_and_starts_nothing_twice(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    async with kernel.supervisor("family", strategy="rest_for_one") as supervisor:
        family = Family(supervisor, "ab")
        await family.alive(a=1, b=1)
        # Another program holds the file, for longer than ours waits for it.
        other = sqlite3.connect(tmp_path / "j", isolation_level=None)
        await kernel.call(lambda: kernel.journal._db.execute("PRAGMA busy_timeout = 50"))
        other.execute("BEGIN IMMEDIATE")
        family.fail("a")
        await eventually(lambda: not family.running())
        await asyncio.sleep(0.5)
        assert family.lives == {"a": 1, "b": 1}
        other.execute("ROLLBACK")
        await family.alive(a=2, b=2)
        other.close()


async def test_a_decision_that_was_obeyed_is_reported_though_the_journal_was_busy(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "j", isolation_level=None)
    await kernel.call(lambda: kernel.journal._db.execute("PRAGMA busy_timeout = 50"))
    lives: list[int] = []

    async def asker(ctx) -> None:
        lives.append(ctx.incarnation)
        if ctx.incarnation == 1:
            await ctx.ask("may I?")
        other.execute("BEGIN IMMEDIATE")  # before its supervisor can write anything more
        await asyncio.sleep(60)

    async with kernel.worker("asker", asker):
        question = await peer.question("asker")
        await peer.decide(question.id, Action.KILL)
        await eventually(lambda: lives == [1, 2])
        await asyncio.sleep(0.3)
        other.execute("ROLLBACK")
        ended = await peer.ended(question.id)
        assert (ended.state, ended.new_incarnation) == ("applied", 2)
    other.close()


async def test_a_kill_that_a_dead_program_was_told_is_done_when_its_worker_runs_again(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    program = textwrap.dedent(f"""
        import asyncio
        from errorkernel.node import Kernel
        async def main():
            async with Kernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
                async with kernel.process_worker("job", ["sh", "-c", "exit 3"], intensity=0) as worker:
                    await worker.wait()
        asyncio.run(main())
    """)
    running = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    try:
        question = await peer.question("main")
        running.send_signal(signal.SIGSTOP)
        async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
            # Taken over, as by the other program, which comes to nothing more.
            decision = peer.make_decision(question.id, Action.KILL)
            await kernel.call(kernel.incidents.accept, decision)
            running.kill()
            running.wait()
            async with kernel.process_worker("job", ["sleep", "300"]):
                ended = await peer.ended(question.id)
                assert (ended.state, ended.new_incarnation) == ("applied", 2)
    finally:
        running.kill()
        running.wait()
