"""Supervised workers: kill is real, one answer is obeyed once, and what is said to have happened has happened."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from errorkernel.node import Action, Backoff, Kernel, ProcessTaken
from errorkernel.node.errors import Disconnected
from errorkernel.node.process.child import worker
from tests.support.node_peer import Broker, PeerKernel, alive, program_env
from tests.support.waiting import PATIENCE_S, eventually

AT_ONCE = Backoff(first_s=0.05, last_s=0.2)


# --- tasks -----------------------------------------------------------------------------------------------------------


async def test_a_task_goes_on_after_continue_and_is_replaced_after_kill(kernel: Kernel, peer: PeerKernel) -> None:
    lives: list[int] = []

    async def work(ctx) -> None:
        lives.append(ctx.incarnation)
        await ctx.info(f"life {ctx.incarnation}")
        assert await ctx.ask("may I?") is Action.CONTINUE
        await ctx.info("went on")

    async with kernel.worker("copier", work) as copier:
        first = await peer.question("copier")
        killing = await peer.decide(first.id, Action.KILL)
        ended = await peer.ended(first.id)
        assert (ended.state, ended.incarnation, ended.new_incarnation) == ("applied", 1, 2)
        assert ended.decision_id == killing.decision_id
        second = await peer.question("copier", after=1)
        assert second.incarnation == 2
        await peer.decide(second.id, Action.CONTINUE)
        await copier.wait()
    assert lives == [1, 2]
    await eventually(lambda: peer.texts("copier")[-1] == "went on")


async def test_stop_ends_a_task_for_good(kernel: Kernel, peer: PeerKernel) -> None:
    async def work(ctx) -> None:
        await ctx.ask("may I?")

    async with kernel.worker("copier", work, restart="permanent", backoff=AT_ONCE) as copier:
        question = await peer.question("copier")
        await peer.decide(question.id, Action.STOP)
        await copier.wait()
        ended = await peer.ended(question.id)
        assert (ended.state, ended.new_incarnation) == ("applied", None)
        await eventually(lambda: peer.process("copier").state == "stopped")


async def test_a_task_that_swallows_its_cancellation_is_reported_as_failed(kernel: Kernel, peer: PeerKernel) -> None:
    release = asyncio.Event()
    lives: list[int] = []

    async def work(ctx) -> None:
        lives.append(ctx.incarnation)
        try:
            await ctx.ask("may I?")
        except asyncio.CancelledError:
            if ctx.incarnation == 1:
                await release.wait()
            raise

    async with kernel.worker("stubborn", work, grace_s=0.2):
        question = await peer.question("stubborn")
        await peer.decide(question.id, Action.KILL)
        ended = await peer.ended(question.id)
        assert ended.state == "failed"
        assert "still runs" in ended.detail
        await eventually(lambda: peer.process("stubborn").state == "stopping")
        assert lives == [1], "two of them would do the same work"
        release.set()
        # It ended after all: now it is replaced.
        await eventually(lambda: lives == [1, 2])


async def test_an_exception_is_reported_and_the_task_starts_again(kernel: Kernel, peer: PeerKernel) -> None:
    async def work(ctx) -> None:
        if ctx.incarnation < 3:
            raise ValueError(f"life {ctx.incarnation}")

    async with kernel.worker("shaky", work, backoff=AT_ONCE) as shaky:
        await asyncio.wait_for(shaky.wait(), PATIENCE_S)
        assert shaky.incarnation == 3
    await eventually(lambda: peer.texts("shaky") == ["life 1", "life 2"])
    assert peer.arrived[0].kind == "ValueError"
    assert peer.arrived[0].stack


async def test_an_exception_can_ask_first(kernel: Kernel, peer: PeerKernel) -> None:
    lives: list[int] = []

    async def work(ctx) -> None:
        lives.append(ctx.incarnation)
        raise ValueError("what now?")

    async with kernel.worker("asker", work, on_exception="ask", backoff=AT_ONCE):
        first = await peer.question("asker")
        await asyncio.sleep(0.3)
        assert lives == [1], "it waits"
        await peer.decide(first.id, Action.KILL)
        assert (await peer.ended(first.id)).new_incarnation == 2
        second = await peer.question("asker", after=1)
        await peer.decide(second.id, Action.CONTINUE)
        assert (await peer.ended(second.id)).state == "applied"
        third = await peer.question("asker", after=2)
        await peer.decide(third.id, Action.STOP)
        assert (await peer.ended(third.id)).state == "applied"
    assert lives == [1, 2, 3]


async def test_kill_of_one_of_several_incidents_withdraws_the_others(kernel: Kernel, peer: PeerKernel) -> None:
    async def work(ctx) -> None:
        if ctx.incarnation == 1:
            await asyncio.gather(*(ctx.ask(f"question {number}") for number in range(3)))
        await asyncio.sleep(60)

    async with kernel.worker("many", work):
        asked = [await peer.question("many", after=number) for number in range(3)]
        await peer.decide(asked[1].id, Action.KILL)
        states = [(await peer.ended(one.id)).state for one in asked]
        assert states == ["withdrawn", "applied", "withdrawn"]


async def test_the_end_of_the_program_ends_its_workers_and_their_incidents(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    async def work(ctx) -> None:
        await ctx.ask("may I?")

    credentials = broker.credentials(tmp_path / "c.json")
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel, kernel.worker("copier", work):
        question = await peer.question("copier")
    assert (await peer.ended(question.id)).state == "withdrawn"
    await eventually(lambda: peer.process("copier").state == "stopped")


async def test_a_name_is_one_workers_at_a_time(kernel: Kernel) -> None:
    async def work(ctx) -> None:
        await asyncio.sleep(60)

    async with kernel.worker("copier", work):
        with pytest.raises(ProcessTaken):
            async with kernel.worker("copier", work):
                pass
    async with kernel.worker("copier", work) as again:
        assert again.incarnation == 2


# --- processes -------------------------------------------------------------------------------------------------------


def script(path: Path, body: str) -> list[str]:
    """A program that has ``me``, its line to the supervisor, and notes its process ids in ``path``."""
    head = """
        import os, signal, subprocess, sys, time
        from errorkernel.node.process.child import worker
        me = worker()
        def note(*pids):
            with open(sys.argv[1], "a") as file:
                file.write(" ".join(map(str, pids)) + "\\n")
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body), str(path)]


def noted(path: Path) -> list[list[int]]:
    return [[int(one) for one in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


async def shown(peer: PeerKernel, name: str, incarnation: int, pid: int) -> None:
    """The node's process list says so."""
    expected = (incarnation, pid)
    await eventually(lambda: (found := peer.process(name)) and (found.incarnation, found.pid) == expected)


async def test_continue_lets_the_process_go_on_and_only_then_is_applied(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    body = """
        me.info(f"I am {me.process} of {me.node}, incarnation {me.incarnation}")
        try:
            open("/nowhere").close()
        except OSError as exc:
            me.error(exc, tags={"a": "b"})
            answer = me.ask(exc, message={"id": "7", "method": "REQCopySrc"})
        me.info(f"answer: {answer}")
    """
    async with kernel.process_worker("job", script(tmp_path / "pids", body), env=program_env()) as job:
        question = await peer.question("job")
        assert question.message is not None
        assert question.message.method == "REQCopySrc"
        await eventually(lambda: (found := peer.process("job")) and found.pid == job.pid and found.state == "blocked")
        await peer.decide(question.id, Action.CONTINUE)
        await asyncio.wait_for(job.wait(), PATIENCE_S)
        assert (await peer.ended(question.id)).state == "applied"
    await eventually(lambda: len(peer.arrived) == 4)
    assert peer.texts() == [
        "I am job of ship1, incarnation 1",
        "[Errno 2] No such file or directory: '/nowhere'",
        "[Errno 2] No such file or directory: '/nowhere'",
        "answer: continue",
    ]
    assert peer.arrived[1].kind == "FileNotFoundError"
    assert "Traceback" in peer.arrived[1].stack


async def test_kill_ends_a_process_that_ignores_sigterm_with_its_children_and_starts_another(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    body = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "300"])
        # This one has left the process group.
        runaway = subprocess.Popen(["sleep", "300"], start_new_session=True)
        note(os.getpid(), child.pid, runaway.pid)
        me.ask("stuck")
    """
    pids = tmp_path / "pids"
    async with kernel.process_worker("job", script(pids, body), env=program_env(), grace_s=0.3) as job:
        first = await peer.question("job")
        [old] = noted(pids)
        await shown(peer, "job", 1, old[0])
        began = time.monotonic()
        await peer.decide(first.id, Action.KILL)
        await eventually(lambda: not alive(old[0]))
        assert time.monotonic() - began < 0.3 + 1
        ended = await peer.ended(first.id)
        assert (ended.state, ended.incarnation, ended.new_incarnation) == ("applied", 1, 2)
        second = await peer.question("job", after=1)
        new = noted(pids)[1]
        assert [alive(pid) for pid in old] == [False, False, False]
        assert [alive(pid) for pid in new] == [True, True, True]
        assert job.pid == new[0] != old[0]
        await shown(peer, "job", 2, new[0])
    assert [alive(pid) for pid in new] == [False, False, False]
    assert (await peer.ended(second.id)).state == "withdrawn"


async def test_a_process_that_ends_badly_is_reported_with_status_and_last_words(
    kernel: Kernel, peer: PeerKernel, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["sh", "-c", "for n in 1 2 3; do echo line $n >&2; done; exit 3"]
    async with kernel.process_worker("job", command, restart="temporary") as job:
        await asyncio.wait_for(job.wait(), PATIENCE_S)
    await eventually(lambda: peer.arrived)
    [report] = peer.arrived
    assert (report.kind, report.text) == ("exit status 3", "job ended with exit status 3: line 3")
    assert report.stack == "line 1\nline 2\nline 3"
    assert "line 2" in capfd.readouterr().err, "it is passed through as well"


async def test_a_process_that_is_killed_by_others_is_reported_with_the_signal_and_restarted(
    kernel: Kernel, peer: PeerKernel
) -> None:
    async with kernel.process_worker("job", ["sleep", "300"], backoff=AT_ONCE) as job:
        first = job.pid
        assert first
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: job.pid not in (first, None))
        assert job.incarnation == 2
    await eventually(lambda: [one.kind for one in peer.arrived] == ["SIGKILL"])


async def test_a_process_that_ends_badly_can_ask(kernel: Kernel, peer: PeerKernel, tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = ["sh", "-c", f"echo x >> {count}; exit 1"]
    async with kernel.process_worker("job", command, on_exception="ask", backoff=AT_ONCE) as job:
        first = await peer.question("job")
        await asyncio.sleep(0.3)
        assert count.read_text() == "x\n"
        await peer.decide(first.id, Action.KILL)
        assert (await peer.ended(first.id)).new_incarnation == 2
        second = await peer.question("job", after=1)
        await peer.decide(second.id, Action.STOP)
        await asyncio.wait_for(job.wait(), PATIENCE_S)
        assert (await peer.ended(second.id)).state == "applied"
    assert count.read_text() == "x\nx\n"


async def test_a_process_that_dies_while_it_asks_withdraws_its_incident_at_once(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    body = "note(os.getpid())\nme.ask('may I?')"
    pids = tmp_path / "pids"
    slow = Backoff(first_s=60)
    async with kernel.process_worker("job", script(pids, body), env=program_env(), backoff=slow):
        question = await peer.question("job")
        os.kill(noted(pids)[0][0], signal.SIGKILL)
        assert (await peer.ended(question.id)).state == "withdrawn"
        await eventually(lambda: peer.process("job").state == "restarting")


async def test_a_decision_that_the_process_did_not_live_to_read_is_stale(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    # It asks without our child module, and never reads the answer.
    body = """
        import json, socket
        line = socket.socket(fileno=int(os.environ["STEWARD_WORKER_FD"]))
        asked = {"message": "ReportEvent", "number": 1, "type": "action", "draft": {"text": "?"}}
        line.sendall(json.dumps(asked).encode() + b"\\n")
        time.sleep(60)
    """
    command = [sys.executable, "-c", "import os, time" + textwrap.dedent(body)]
    async with kernel.process_worker("job", command, restart="temporary") as job:
        question = await peer.question("job")
        await peer.decide(question.id, Action.CONTINUE)
        await asyncio.sleep(0.5)
        assert peer.outcomes == [], "it has not gone on"
        assert job.pid
        os.kill(job.pid, signal.SIGKILL)
        assert (await peer.ended(question.id)).state == "stale"


async def test_nonsense_on_the_line_does_not_hurt_the_supervisor(kernel: Kernel, peer: PeerKernel) -> None:
    body = """
        import os, socket, time
        line = socket.socket(fileno=int(os.environ["STEWARD_WORKER_FD"]))
        try:
            line.sendall(b"\\xff\\xfe nonsense\\n" + b"x" * 6_000_000)
        except OSError:
            pass
        time.sleep(60)
    """
    async with kernel.process_worker("job", [sys.executable, "-c", textwrap.dedent(body)], grace_s=1) as job:
        await asyncio.sleep(0.5)
        assert job.pid
        assert alive(job.pid)
        await kernel.info("still here", process="other")
        await eventually(lambda: peer.texts("other"))


async def test_a_program_that_cannot_be_started_is_told_to_the_caller(kernel: Kernel) -> None:
    with pytest.raises(FileNotFoundError):
        async with kernel.process_worker("job", ["/nowhere/program"]):
            pass
    with pytest.raises((pickle.PicklingError, AttributeError)):
        kernel.process_worker("job", lambda: None)


async def test_a_replacement_that_cannot_be_started_is_a_failed_kill(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nfrom errorkernel.node.process.child import worker\nworker().ask('stuck')\n"
    )
    program.chmod(0o755)
    # However often it is tried while it is away, which depends on how busy this machine is.
    patient = {"backoff": AT_ONCE, "intensity": 10_000}
    async with kernel.process_worker("job", [str(program)], env=program_env(), **patient):
        question = await peer.question("job")
        program.rename(tmp_path / "moved away")
        await peer.decide(question.id, Action.KILL)
        ended = await peer.ended(question.id)
        assert ended.state == "failed"
        assert "cannot be started" in ended.detail
        (tmp_path / "moved away").rename(program)
        await peer.question("job", after=1)


def fail_or_ask(how: str, directory: str) -> None:
    """A function that runs in a process of its own."""
    me = worker()
    Path(directory, f"pid-{me.incarnation}").write_text(str(os.getpid()))
    if how == "raise" and me.incarnation == 1:
        raise LookupError("in the child")
    me.ask("from a function", tags={"how": how})


async def test_a_function_runs_in_a_process_of_its_own(kernel: Kernel, peer: PeerKernel, tmp_path: Path) -> None:
    async with kernel.process_worker("function", fail_or_ask, "raise", str(tmp_path), backoff=AT_ONCE) as function:
        question = await peer.question("function")
        assert (question.incarnation, question.tags) == (2, {"how": "raise"})
        [report] = [one for one in peer.arrived if one.type == "error"]
        assert (report.kind, report.text) == ("LookupError", "in the child")
        assert "fail_or_ask" in report.stack
        assert int((tmp_path / "pid-2").read_text()) == function.pid != os.getpid()
        await peer.decide(question.id, Action.CONTINUE)
        await asyncio.wait_for(function.wait(), PATIENCE_S)
    assert [one.state for one in peer.outcomes] == ["applied"]


async def test_an_exception_in_a_function_can_ask_while_its_process_waits(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    async with kernel.process_worker("function", fail_or_ask, "raise", str(tmp_path), on_exception="ask"):
        question = await peer.question("function")
        assert question.kind == "LookupError"
        first = int((tmp_path / "pid-1").read_text())
        assert alive(first)
        await peer.decide(question.id, Action.KILL)
        assert (await peer.ended(question.id)).new_incarnation == 2
        assert not alive(first)


def speak_from_threads() -> None:
    """Many threads speak over the one line."""
    import threading

    me = worker()

    def speak(name: str) -> None:
        for number in range(20):
            me.info(f"{name} {number}")
        me.ask(f"{name} asks")
        me.info(f"{name} went on")

    threads = [threading.Thread(target=speak, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def test_threads_of_a_process_ask_beside_each_other(kernel: Kernel, peer: PeerKernel) -> None:
    async with kernel.process_worker("threads", speak_from_threads) as threads:
        for number in range(4):
            question = await peer.question("threads", after=number)
            await peer.decide(question.id, Action.CONTINUE)
        await asyncio.wait_for(threads.wait(), PATIENCE_S)
    await eventually(lambda: len(peer.arrived) == 4 * 22)
    for number in range(4):
        name = f"thread {number}"
        expected = [*(f"{name} {one}" for one in range(20)), f"{name} asks", f"{name} went on"]
        assert [text for text in peer.texts() if text.startswith(name)] == expected
    assert len(peer.outcomes) == 4


async def test_workers_die_with_a_supervisor_that_is_killed_and_leftovers_with_its_next_start(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials, pids = broker.credentials(tmp_path / "c.json"), tmp_path / "pids"
    body = "child = subprocess.Popen(['sleep', '300'])\nnote(os.getpid(), child.pid)\nme.ask('may I?')"
    program = textwrap.dedent(f"""
        import asyncio, os
        from errorkernel.node import Kernel
        async def main():
            async with Kernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
                async with kernel.process_worker("job", {script(pids, body)!r}):
                    await asyncio.sleep(60)
        asyncio.run(main())
    """)
    supervisor = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    first = await peer.question("job")
    supervisor.kill()
    supervisor.wait()
    process, grandchild = noted(pids)[0]
    await eventually(lambda: not alive(process))
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "j") as kernel,
        kernel.process_worker("job", script(pids, body), env=program_env()) as job,
    ):
        assert job.incarnation == 2
        assert not alive(grandchild), "two incarnations must not work beside each other"
        assert (await peer.ended(first.id)).state == "withdrawn"
        assert (await peer.question("job", after=1)).incarnation == 2


def test_the_child_module_outside_a_supervisor_says_so() -> None:
    os.environ.pop("STEWARD_WORKER_FD", None)
    with pytest.raises(Disconnected, match="supervisor"):
        worker()
