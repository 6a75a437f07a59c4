"""Workers that fail too often are quarantined."""

import asyncio
from pathlib import Path

import pytest

from errorkernel.node import Action, Kernel
from tests.support.node_peer import Broker, PeerKernel, alive
from tests.support.supervised import AT_ONCE, Family, fail, quarantined, questions, shown
from tests.support.waiting import PATIENCE_S, eventually


async def test_over_intensity_the_child_stands_still_and_one_incident_is_asked_above(
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
