"""The node client waits for decisions and reports outcomes."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from errorkernel.node import Action, Kernel
from errorkernel.protocol import subjects
from tests.support.node_peer import NODE, PeerKernel, program_env
from tests.support.waiting import PATIENCE_S, eventually


async def test_ask_returns_the_decision_and_continue_is_applied_when_it_does(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("disk full", process="p", deadline_s=60, on_deadline="kill"))
    question = await peer.question()
    assert (question.deadline_s, question.on_deadline) == (60, "kill")
    await eventually(lambda: (found := peer.process("p")) and found.state == "blocked")
    assert peer.outcomes == []
    decision = await peer.decide(question.id, Action.CONTINUE)
    assert await asking is Action.CONTINUE
    ended = await peer.ended(question.id)
    assert (ended.state, ended.decision_id, ended.incarnation) == ("applied", decision.decision_id, 1)
    await eventually(lambda: peer.process("p").state == "running")


async def test_the_same_decision_again_is_harmless(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    decision = await peer.decide(question.id, Action.CONTINUE)
    await asking
    for number in range(3):
        await peer.publish(decision, msg_id=f"again {number}")
    await peer.ended(question.id)
    info = await eventually_delivered(peer)
    assert info["num_pending"] == info["num_ack_pending"] == 0
    await kernel.flush(PATIENCE_S)
    assert [one.state for one in peer.outcomes] == ["applied"]


async def eventually_delivered(peer: PeerKernel) -> dict:
    """The state of the node's durable once everything in it has been answered."""
    for _ in range(200):
        info = await peer.connection.api(f"CONSUMER.INFO.{subjects.DECISIONS_STREAM}.{subjects.durable_of(NODE)}", {})
        if not info["num_pending"] and not info["num_ack_pending"]:
            return info
        await asyncio.sleep(0.05)
    raise AssertionError(info)


async def test_a_decision_for_another_incarnation_is_stale_and_the_process_waits_on(
    kernel: Kernel, peer: PeerKernel
) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    await peer.publish(peer.make_decision(question.id, Action.KILL, incarnation=99))
    ended = await peer.ended(question.id)
    assert ended.state == "stale"
    await asyncio.sleep(0.2)
    assert not asking.done()
    await peer.decide(question.id, Action.CONTINUE)
    assert await asking is Action.CONTINUE


async def test_a_call_that_is_given_up_withdraws_its_incident(kernel: Kernel, peer: PeerKernel) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await kernel.ask("may I?", process="p")
    question = await peer.question()
    assert (await peer.ended(question.id)).state == "withdrawn"
    late = await peer.decide(question.id, Action.CONTINUE)
    await eventually(lambda: [one.state for one in peer.outcomes] == ["withdrawn", "stale"])
    assert peer.outcomes[1].decision_id == late.decision_id


async def test_kill_of_a_bare_ask_is_applied_only_when_its_program_ends(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        asking = asyncio.create_task(kernel.ask("stuck", process="p"))
        question = await peer.question()
        await peer.decide(question.id, Action.KILL)
        assert await asking is Action.KILL
        await kernel.flush(PATIENCE_S)
        await asyncio.sleep(0.2)
        assert peer.outcomes == []
    assert (await peer.ended(question.id)).state == "applied"


async def test_kill_of_a_bare_ask_whose_program_dies_is_applied_by_the_next_incarnation(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    program = textwrap.dedent(f"""
        import os
        from errorkernel.node import Action, BlockingKernel
        kernel = BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r})
        if kernel.ask("stuck", process="p") is Action.KILL:
            os.kill(os.getpid(), 9)
    """)
    dying = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    question = await peer.question()
    await peer.decide(question.id, Action.KILL)
    assert await asyncio.to_thread(dying.wait) == -9
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        await kernel.info("other process", process="q")
        await kernel.flush(PATIENCE_S)
        assert peer.outcomes == [], "nobody has started a new one yet"
        await kernel.info("here again", process="p")
        ended = await peer.ended(question.id)
        assert (ended.state, ended.incarnation, ended.new_incarnation) == ("applied", 1, 2)
