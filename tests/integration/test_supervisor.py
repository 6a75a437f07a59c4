"""Supervisors: the right siblings are restarted, never too often, and then somebody is asked, once."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from errorkernel.domain.values import Event, ProcessReport
from errorkernel.node import Action, Backoff, Kernel, ProcessTaken, Supervisor
from errorkernel.node.process.child import worker
from tests.support.node_peer import Broker, PeerKernel, alive, peer_kernel, program_env
from tests.support.waiting import PATIENCE_S, eventually

AT_ONCE = Backoff(first_s=0.02, last_s=0.05)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    server = Broker(tmp_path_factory.mktemp("broker")).start()
    yield server
    server.stop()


@pytest.fixture
async def peer(broker: Broker) -> AsyncIterator[PeerKernel]:
    async with peer_kernel(broker) as running:
        yield running


@pytest.fixture
async def kernel(broker: Broker, peer: PeerKernel, tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.from_file(broker.credentials(tmp_path / "c.json"), journal=tmp_path / "j") as opened:
        yield opened


class Family:
    """Children that run until they are told to fail, and note what happens to them."""

    def __init__(self, supervisor: Supervisor, names: str = "abc", **options: object) -> None:
        self.said: list[str] = []
        self.lives: dict[str, int] = {}
        self.fuses: dict[str, asyncio.Event] = {}
        self.children = {
            name: supervisor.task(name, self.work, **{"backoff": AT_ONCE, "restart": "permanent", **options})
            for name in names
        }

    async def work(self, ctx) -> None:
        name = ctx.process
        fuse = self.fuses[name] = asyncio.Event()
        self.lives[name] = ctx.incarnation
        self.said.append(f"+{name}")
        try:
            await fuse.wait()
        finally:
            self.said.append(f"-{name}")
        raise ValueError(f"{name} failed")

    async def alive(self, **lives: int) -> None:
        """These run, in these incarnations."""
        await eventually(lambda: self.lives == lives and self.running() == set(lives))

    def running(self) -> set[str]:
        return {name for name in self.lives if self.said.count(f"+{name}") > self.said.count(f"-{name}")}

    def fail(self, name: str) -> None:
        self.said.append(f"!{name}")
        self.fuses[name].set()


async def shown(peer: PeerKernel, name: str, state: str) -> ProcessReport:
    """As soon as a hello says so."""
    return await eventually(lambda: (found := peer.process(name)) and found.state == state and found)


async def quarantined(peer: PeerKernel, *names: str) -> None:
    for name in names:
        assert (await shown(peer, name, "quarantined")).pid is None


def questions(peer: PeerKernel) -> list[Event]:
    return [event for event in peer.events.values() if event.type == "action"]


# --- strategies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "happens"),
    [
        ("one_for_one", "!b -b +b"),
        ("one_for_all", "!b -b -d -c -a +a +b +c +d"),
        ("rest_for_one", "!b -b -d -c +b +c +d"),
    ],
)
async def test_siblings_end_in_reverse_and_start_in_order(kernel: Kernel, strategy: str, happens: str) -> None:
    async with kernel.supervisor("family", strategy=strategy) as supervisor:
        family = Family(supervisor, "abcd")
        await family.alive(a=1, b=1, c=1, d=1)
        assert family.said == ["+a", "+b", "+c", "+d"]
        family.said.clear()
        expected = happens.split()
        family.fail("b")
        await eventually(lambda: len(family.said) >= len(expected))
        assert family.said == expected
        family.said.clear()
    if strategy != "one_for_one":
        assert family.said == ["-d", "-c", "-b", "-a"]
    assert not kernel.supervised_names


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_any_row_of_failures_leaves_everybody_in_the_right_incarnation(kernel: Kernel, strategy: str) -> None:
    dice, names = random.Random(strategy), "abcd"
    async with kernel.supervisor("family", strategy=strategy, intensity=100) as supervisor:
        family = Family(supervisor, names)
        lives = dict.fromkeys(names, 1)
        await family.alive(**lives)
        for _ in range(12):
            failing = dice.choice(names)
            taken_along = {"one_for_one": failing, "one_for_all": names, "rest_for_one": names[names.index(failing) :]}
            lives |= {name: lives[name] + 1 for name in taken_along[strategy]}
            family.fail(failing)
            await family.alive(**lives)


async def test_two_that_fail_at_the_same_time_are_restarted_together(kernel: Kernel) -> None:
    async with kernel.supervisor("family", strategy="one_for_all") as supervisor:
        family = Family(supervisor, "abc")
        await family.alive(a=1, b=1, c=1)
        family.fail("a")
        family.fail("c")
        await family.alive(a=2, b=2, c=2)


async def test_a_sibling_that_is_taken_along_withdraws_its_question(kernel: Kernel, peer: PeerKernel) -> None:
    async def asker(ctx) -> None:
        if ctx.incarnation == 1:
            await ctx.ask("may I?")
        await asyncio.sleep(60)

    async def fail(ctx) -> None:
        raise ValueError("what now?")

    async with kernel.supervisor("family", strategy="one_for_all") as supervisor:
        supervisor.task("asker", asker)
        question = await peer.question("asker")
        # This one asks while it is ended already: its process, if it had one, is gone.
        dead = supervisor.process("dead", ["sh", "-c", "exit 3"], on_exception="ask", backoff=AT_ONCE)
        about_the_end = await peer.question("dead")
        family = Family(supervisor, "a")
        await family.alive(a=1)
        family.fail("a")
        assert (await peer.ended(question.id)).state == "withdrawn"
        assert (await peer.ended(about_the_end.id)).state == "withdrawn"
        await family.alive(a=2)
        assert (await peer.question("dead", after=1)).incarnation == dead.incarnation == 2


async def test_temporary_siblings_end_with_the_others_and_are_not_started_again(
    kernel: Kernel, peer: PeerKernel
) -> None:
    async with kernel.supervisor("family", strategy="one_for_all") as supervisor:
        once = Family(supervisor, "t", restart="temporary")
        family = Family(supervisor, "ab")
        await family.alive(a=1, b=1)
        family.fail("a")
        await family.alive(a=2, b=2)
        await once.children["t"].wait()
        assert once.said == ["+t", "-t"]
        await shown(peer, "t", "stopped")
        # And its own failure takes nobody along, since it is not restarted.
        another = Family(supervisor, "u", restart="temporary")
        await another.alive(u=1)
        another.fail("u")
        await another.children["u"].wait()
        await family.alive(a=2, b=2)


async def test_an_operators_kill_and_stop_are_meant_for_one_child(kernel: Kernel, peer: PeerKernel) -> None:
    async def asker(ctx) -> None:
        await ctx.ask("may I?")

    async with kernel.supervisor("family", strategy="one_for_all") as supervisor:
        supervisor.task("asker", asker)
        family = Family(supervisor, "ab")
        question = await peer.question("asker")
        await family.alive(a=1, b=1)
        await peer.decide(question.id, Action.KILL)
        ended = await peer.ended(question.id)
        assert (ended.state, ended.new_incarnation) == ("applied", 2)
        await peer.decide((await peer.question("asker", after=1)).id, Action.STOP)
        assert (await shown(peer, "asker", "stopped")).incarnation == 2
        assert family.lives == {"a": 1, "b": 1}
        family.fail("b")
        await family.alive(a=2, b=2)
        assert peer.process("asker").incarnation == 2, "a stop holds"


async def test_nothing_starts_beside_a_sibling_that_will_not_end(kernel: Kernel, peer: PeerKernel) -> None:
    release = asyncio.Event()

    async def stubborn(ctx) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if ctx.incarnation == 1:
                await release.wait()
            raise

    async with kernel.supervisor("family", strategy="rest_for_one") as supervisor:
        family = Family(supervisor, "a")
        supervisor.task("stubborn", stubborn, grace_s=0.1)
        await family.alive(a=1)
        family.fail("a")
        await eventually(lambda: any("still runs" in text for text in peer.texts("stubborn")))
        await shown(peer, "stubborn", "stopping")
        assert family.lives == {"a": 1}
        release.set()
        await family.alive(a=2)
        assert (await shown(peer, "stubborn", "running")).incarnation == 2


# --- quarantine ------------------------------------------------------------------------------------------------------


async def fail(ctx) -> None:
    raise ValueError(f"life {ctx.incarnation}")


async def test_over_intensity_the_child_stands_still_and_one_question_is_asked_above(
    kernel: Kernel, peer: PeerKernel
) -> None:
    async with kernel.supervisor("copiers", intensity=3) as supervisor:
        failing = supervisor.task("copy-files", fail, backoff=AT_ONCE)
        family = Family(supervisor, "a")
        question = await peer.question()
        assert (question.process, question.incarnation, question.kind) == ("copiers", 1, "Quarantined")
        assert question.text == (
            "copy-files is quarantined: 3 restarts in 300 s, and it ended again. Its last failure: life 4"
        )
        assert "ValueError" in question.stack
        await quarantined(peer, "copy-files")
        await shown(peer, "copiers", "blocked")
        assert failing.incarnation == 4
        assert peer.texts("copy-files") == [f"life {number}" for number in range(1, 5)]
        await peer.decide(question.id, Action.CONTINUE)
        ended = await peer.ended(question.id)
        assert (ended.state, ended.detail) == ("applied", "copy-files runs again as incarnation 5.")
        # With fresh history, of which that start is the first: as many as before, and then one more question.
        again = await peer.question("copiers", after=1)
        assert failing.incarnation == 7
        await quarantined(peer, "copy-files")
        await peer.decide(again.id, Action.STOP)
        assert (await peer.ended(again.id)).state == "applied"
        await asyncio.wait_for(failing.wait(), PATIENCE_S)
        await shown(peer, "copy-files", "stopped")
        assert len(questions(peer)) == 2
        await family.alive(a=1)


async def test_those_that_would_be_restarted_with_it_are_quarantined_with_it(kernel: Kernel, peer: PeerKernel) -> None:
    async with kernel.supervisor("copiers", strategy="rest_for_one", intensity=2) as supervisor:
        family = Family(supervisor, "abcd")
        lives = dict.fromkeys("abcd", 1)
        for failing in "cc":
            await family.alive(**lives)
            lives |= {"c": lives["c"] + 1, "d": lives["d"] + 1}
            family.fail(failing)
        await family.alive(**lives)
        family.fail("c")
        first = await peer.question("copiers")
        assert "c is quarantined" in first.text
        assert "Quarantined with it: d." in first.text
        await quarantined(peer, "c", "d")
        assert family.running() == {"a", "b"}
        # What fails before them is restarted without them, until it is too much itself: then one question is about all.
        family.fail("a")
        await eventually(lambda: family.lives == {"a": 2, "b": 2, "c": 3, "d": 3} and family.running() == {"a", "b"})
        family.fail("b")
        await eventually(lambda: family.lives["b"] == 3 and family.running() == {"a", "b"})
        family.fail("a")
        second = await peer.question("copiers", after=1)
        assert (await peer.ended(first.id)).state == "withdrawn"
        assert "b is quarantined" in second.text
        assert second.tags == {"quarantined": "b", "quarantined 2": "a", "quarantined 3": "c", "quarantined 4": "d"}
        assert "Quarantined with it: a, c, d." in second.text
        await quarantined(peer, *"abcd")
        await peer.decide(second.id, Action.CONTINUE)
        assert (await peer.ended(second.id)).state == "applied"
        await family.alive(a=3, b=4, c=4, d=4)
        assert family.said[-4:] == ["+a", "+b", "+c", "+d"]


async def test_kill_starts_the_supervisor_and_all_of_its_children_anew(kernel: Kernel, peer: PeerKernel) -> None:
    async with kernel.supervisor("copiers", intensity=0) as supervisor:
        family = Family(supervisor, "abc")
        await family.alive(a=1, b=1, c=1)
        family.fail("b")
        about_b = await peer.question("copiers")
        family.fail("c")
        about_c = await peer.question("copiers", after=1)
        await quarantined(peer, "b", "c")
        await peer.decide(about_b.id, Action.KILL)
        ended = await peer.ended(about_b.id)
        assert (ended.state, ended.incarnation, ended.new_incarnation) == ("applied", 1, 2)
        assert (await peer.ended(about_c.id)).state == "withdrawn"
        await family.alive(a=2, b=2, c=2)
        await eventually(lambda: (found := peer.process("copiers")) and found.incarnation == 2)
        assert family.said[-4:] == ["-a", "+a", "+b", "+c"]


@pytest.mark.parametrize("program", ["main", "job"])
@pytest.mark.parametrize("action", [Action.CONTINUE, Action.KILL, Action.STOP])
async def test_a_worker_on_its_own_is_asked_about_in_the_programs_name(
    broker: Broker, peer: PeerKernel, tmp_path: Path, action: Action, program: str
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "j", process=program) as kernel,
        kernel.process_worker("job", ["sh", "-c", "echo no >&2; exit 3"], backoff=AT_ONCE, intensity=2) as job,
    ):
        question = await peer.question()
        assert question.process == program
        assert question.text.endswith("Its last failure: job ended with exit status 3: no")
        await quarantined(peer, "job")
        assert job.pid is None
        await peer.decide(question.id, action)
        ended = await peer.ended(question.id)
        assert ended.state == "applied"
        if action is Action.STOP:
            await asyncio.wait_for(job.wait(), PATIENCE_S)
            assert job.incarnation == 3
            return
        assert ended.detail == ("job runs again as incarnation 4." if program == "main" else "")
        assert ended.new_incarnation == (None if program == "main" else 4)
        await peer.question(after=1)
    assert [one.state for one in peer.outcomes] == ["applied", "withdrawn"]


async def test_a_program_whose_name_is_anothers_worker_asks_in_the_workers_own_name(
    broker: Broker, kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    async def sleep(ctx) -> None:
        await asyncio.sleep(60)

    async with (
        Kernel.from_file(broker.credentials(tmp_path / "c.json"), journal=tmp_path / "j") as other,
        other.worker("main", sleep),
        kernel.worker("job", fail, intensity=0) as job,
    ):
        question = await peer.question()
        assert question.process == "job"
        await peer.decide(question.id, Action.STOP)
        assert (await peer.ended(question.id)).state == "applied"
        await asyncio.wait_for(job.wait(), PATIENCE_S)


async def test_kills_count_as_restarts_so_a_rule_that_kills_makes_no_storm(kernel: Kernel, peer: PeerKernel) -> None:
    async def asker(ctx) -> None:
        await ctx.ask("may I?")

    async with kernel.worker("asker", asker, intensity=2) as running:
        for number in range(3):
            question = await peer.question("asker", after=number)
            await peer.decide(question.id, Action.KILL)
            ended = await peer.ended(question.id)
            assert ended.state == ("applied" if number < 2 else "failed")
        assert "quarantined" in ended.detail
        above = await peer.question("main")
        assert above.text.endswith("Its last failure: may I?")
        await quarantined(peer, "asker")
        assert running.incarnation == 3
        await peer.decide(above.id, Action.KILL)
        assert (await peer.question("asker", after=3)).incarnation == 4


async def test_what_cannot_be_started_is_tried_again_and_then_quarantined(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    async with kernel.supervisor("copiers", strategy="rest_for_one", intensity=2) as supervisor:
        before = Family(supervisor, "a")
        missing = supervisor.process("missing", [str(program)], backoff=AT_ONCE)
        behind = Family(supervisor, "z")
        question = await peer.question("copiers")
        assert "missing is quarantined" in question.text
        assert "No such file" in question.text
        await quarantined(peer, "missing")
        assert len(peer.texts("missing")) == 3
        await peer.decide(question.id, Action.CONTINUE)
        failed = await peer.ended(question.id)
        assert failed.state == "failed"
        assert "cannot be started" in failed.detail
        again = await peer.question("copiers", after=1)
        program.write_text("#!/bin/sh\nsleep 300\n")
        program.chmod(0o755)
        assert not behind.said
        await peer.decide(again.id, Action.CONTINUE)
        assert (await peer.ended(again.id)).state == "applied"
        assert missing.pid
        assert alive(missing.pid)
        await behind.alive(z=1)
        await before.alive(a=1)


async def test_the_question_above_is_asked_once_though_the_link_is_away(tmp_path: Path) -> None:
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


async def test_an_answer_that_was_obeyed_is_reported_though_the_journal_was_busy(
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


# --- and else --------------------------------------------------------------------------------------------------------


async def test_names_are_taken_once(kernel: Kernel) -> None:
    async with kernel.supervisor("copiers") as supervisor:
        family = Family(supervisor, "a")
        with pytest.raises(ProcessTaken):
            supervisor.task("a", family.work)
        with pytest.raises(ProcessTaken):
            supervisor.task("copiers", family.work)
        with pytest.raises(ProcessTaken):
            async with kernel.supervisor("copiers"):
                pass
        with pytest.raises(ProcessTaken):
            async with kernel.worker("a", family.work):
                pass
        await family.alive(a=1)
    async with kernel.supervisor("copiers") as again:
        assert again.incarnation == 2
    with pytest.raises(ValueError, match="all_for_one"):
        kernel.supervisor("copiers", strategy="all_for_one")
    with pytest.raises(ValueError, match="intensity"):
        kernel.supervisor("copiers", intensity=-1)


async def test_wait_returns_when_all_have_come_to_their_end(kernel: Kernel) -> None:
    async def short(ctx) -> None:
        if ctx.incarnation == 1:
            raise ValueError("once")

    async with kernel.supervisor("copiers") as supervisor:
        await supervisor.wait()
        children = [supervisor.task(name, short, backoff=AT_ONCE) for name in "abc"]
        await asyncio.wait_for(supervisor.wait(), PATIENCE_S)
        assert [one.incarnation for one in children] == [2, 2, 2]


async def test_one_child_can_be_ended_for_good(kernel: Kernel, peer: PeerKernel) -> None:
    async with kernel.supervisor("family", strategy="one_for_all", intensity=0) as supervisor:
        family = Family(supervisor, "ab")
        lonely = Family(supervisor, "c")
        await family.alive(a=1, b=1)
        await lonely.alive(c=1)
        await lonely.children["c"].stop()
        assert lonely.said == ["+c", "-c"]
        await family.alive(a=1, b=1)
        family.fail("a")
        question = await peer.question("family")
        assert question.text.startswith("a is quarantined")
        assert "Quarantined with it: b." in question.text
        await family.children["a"].stop()
        await family.children["b"].stop()
        assert (await peer.ended(question.id)).state == "withdrawn"
        await asyncio.wait_for(supervisor.wait(), PATIENCE_S)


def raise_once() -> None:
    if worker().incarnation == 1:
        raise LookupError("in the child")
    worker().ask("here")


async def test_a_failure_that_is_only_to_be_restarted_is_told_as_an_info(kernel: Kernel, peer: PeerKernel) -> None:
    async def task(ctx) -> None:
        if ctx.incarnation == 1:
            raise ValueError("in the task")

    options = {"on_exception": "restart", "backoff": AT_ONCE}
    async with kernel.supervisor("copiers") as supervisor:
        supervisor.task("task", task, **options)
        supervisor.process("function", raise_once, **options)
        program = supervisor.process("program", ["sleep", "300"], **options)
        await peer.question("function")
        first = await eventually(lambda: program.pid)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: program.pid not in (first, None))
        told = await eventually(lambda: (found := [one for one in peer.arrived if one.type == "info"])[2:] and found)
    assert sorted((one.process, one.kind, one.text) for one in told) == [
        ("function", "LookupError", "in the child"),
        ("program", "SIGKILL", "program ended with SIGKILL"),
        ("task", "ValueError", "in the task"),
    ]
    assert not [one for one in peer.arrived if one.type == "error"]


async def test_the_end_of_the_program_withdraws_the_question_above(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "j") as kernel,
        kernel.supervisor("copiers", intensity=0) as supervisor,
    ):
        supervisor.task("copy-files", fail)
        question = await peer.question("copiers")
    assert (await peer.ended(question.id)).state == "withdrawn"
    await eventually(lambda: {one.state for one in peer.hellos[-1].processes} == {"stopped"})
    assert peer.hellos[-1].processes
