"""Names and ends of supervised workers."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from errorkernel.node import Kernel, ProcessTaken
from errorkernel.node.process.child import worker
from tests.support.node_peer import Broker, PeerKernel
from tests.support.supervised import AT_ONCE, Family, fail
from tests.support.waiting import PATIENCE_S, eventually

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


async def test_the_end_of_the_program_withdraws_the_incident_above(
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
