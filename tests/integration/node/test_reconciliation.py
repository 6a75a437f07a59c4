"""The node client and the kernel agree again after losses."""

import asyncio
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from uuid import UUID

import nats
import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import DETAIL_MAX_BYTES
from errorkernel.domain.values import Event, EventType, Level, OutcomeState
from errorkernel.node import Action, Kernel
from errorkernel.node.delivery import decisions
from errorkernel.node.journal import incidents
from tests.support.node_peer import NODE, Broker, PeerKernel, peer_kernel, program_env
from tests.support.waiting import PATIENCE_S, eventually


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic repair without its patience."""
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 0.3)
    monkeypatch.setattr(decisions, "SYNC_RETRY_S", 0.1)
    monkeypatch.setattr(decisions, "RESEND_FIRST_S", 0.5)


async def test_a_decision_that_only_sync_knows_arrives(quick: None, kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    await peer.decide(question.id, Action.CONTINUE, publish=False)
    assert await asyncio.wait_for(asking, PATIENCE_S) is Action.CONTINUE
    assert (await peer.ended(question.id)).state == "applied"


async def test_a_decision_that_is_handed_to_a_connection_which_is_no_more_comes_soon_all_the_same(
    broker: Broker, credentials: Path, peer: PeerKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was told nothing goes on serving what a dead program, or our own last connection, had asked for."""
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 3600)
    dead = await nats.connect(broker.server.url, nkeys_seed_str=broker.node_seed, inbox_prefix=f"_INBOX_{NODE}")
    gone = await dead.subscribe(f"_INBOX_{NODE}.dead")
    wanted = json.dumps({"batch": 20, "expires": 30 * 10**9}).encode()
    await dead.publish(f"$JS.API.CONSUMER.MSG.NEXT.EK_DECISIONS.node-{NODE}", wanted, reply=gone.subject)
    await dead.flush()
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        asking = asyncio.create_task(kernel.ask("may I?", process="p"))
        question = await peer.question()
        await peer.decide(question.id, Action.CONTINUE)
        assert await asyncio.wait_for(asking, 20) is Action.CONTINUE  # the dead request holds for 30 s
        assert str(question.id) in (await gone.next_msg(5)).subject
    await dead.close()


async def test_after_total_loss_of_the_brokers_data_the_incident_is_asked_again_and_decided(
    quick: None, broker: Broker, credentials: Path, tmp_path: Path
) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        async with peer_kernel(broker) as first:
            first.deaf = True
            asking = asyncio.create_task(kernel.ask("may I?", process="p"))
            await kernel.info("has gone out", process="q")
            await kernel.flush(PATIENCE_S)
        broker.stop()
        shutil.rmtree(broker.directory / "nats" / "jetstream")
        broker.start()
        async with peer_kernel(broker) as second:
            question = await second.question("p")
            # The wiped broker also forgot this decision before it was delivered.
            await second.decide(question.id, Action.CONTINUE, publish=False)
            assert await asyncio.wait_for(asking, PATIENCE_S) is Action.CONTINUE
            assert (await second.ended(question.id)).state == "applied"


async def test_an_outcome_that_was_lost_on_its_way_is_told_by_sync(
    quick: None, kernel: Kernel, peer: PeerKernel
) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    peer.deaf = True
    await peer.decide(question.id, Action.CONTINUE)
    await asking
    await eventually(lambda: [one.state for one in peer.outcomes] == ["applied"])
    syncs = peer.syncs
    await eventually(lambda: peer.syncs >= syncs + 2)
    assert kernel.incidents.unconfirmed()[0] == []
    peer.deaf = False


async def test_outcomes_that_the_kernel_will_not_take_hold_up_no_others(
    quick: None, kernel: Kernel, peer: PeerKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "SYNC_ITEMS", 2)
    peer.deaf = True  # so the peer has heard of none of these questions
    asked = [uuid7() for _ in range(5)]
    for one in asked:
        await kernel.call(kernel.incidents.open, one, "p", 1, b"{}")
        await kernel.call(kernel.incidents.end, one, OutcomeState.WITHDRAWN)
    peer.arrived.append(Event(id=asked[-1], type=EventType.ACTION, level=Level.ERROR, process="p", text="?"))
    await eventually(lambda: peer.outcome(asked[-1]))
    await eventually(lambda: asked[-1] not in unconfirmed(kernel))
    assert unconfirmed(kernel) == set(asked[:-1])


def unconfirmed(kernel: Kernel) -> set[UUID]:
    """All that are, though one request takes less."""
    found: set[UUID] = set()
    mark = incidents.START
    for _ in range(5):
        outcomes, mark = kernel.incidents.unconfirmed(mark)
        found |= {one.incident for one in outcomes}
    return found


async def test_an_outcome_that_says_too_much_arrives_cut(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask_for_decision("may I?", process="p"))
    question = await peer.question()
    await peer.decide(question.id, Action.KILL)
    await kernel.report_outcome(await asking, OutcomeState.FAILED, detail="x" * 300_000)
    ended = await peer.ended(question.id)
    assert (ended.state, ended.detail) == ("failed", "x" * DETAIL_MAX_BYTES)


async def test_long_outcomes_go_in_several_requests(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "SYNC_OUTCOME_BYTES", 2 * 1200)
    asked = [uuid7() for _ in range(5)]
    for one in asked:
        await kernel.call(kernel.incidents.open, one, "p", 1, b"{}")
        await kernel.call(kernel.incidents.end, one, OutcomeState.FAILED, detail="x" * 900)
    pages, mark = [], incidents.START
    for _ in range(3):
        outcomes, mark = kernel.incidents.unconfirmed(mark)
        pages.append([one.incident for one in outcomes])
    assert pages == [asked[:2], asked[2:4], asked[4:]]


async def test_what_had_no_space_in_a_reply_is_asked_for_soon(
    kernel: Kernel, peer: PeerKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 3600)
    monkeypatch.setattr(decisions, "SYNC_RETRY_S", 0.1)
    peer.reply_bytes = 400  # of one decision
    asking = [asyncio.create_task(kernel.ask("may I?", process=f"p{number}")) for number in range(3)]
    for number in range(3):
        question = await peer.question(f"p{number}")
        peer.silent = True
        await peer.decide(question.id, Action.CONTINUE, publish=False)
    kernel._delivery.receiver._losses_until = 0.0  # as 30 s after it has connected
    peer.silent = False
    assert await asyncio.wait_for(asyncio.gather(*asking), PATIENCE_S) == [Action.CONTINUE] * 3


async def test_a_sync_that_the_kernel_refuses_confirms_nothing(quick: None, kernel: Kernel, peer: PeerKernel) -> None:
    peer.refuses = True
    asked = uuid7()
    await kernel.call(kernel.incidents.open, asked, "p", 1, b"{}")
    await kernel.call(kernel.incidents.end, asked, OutcomeState.WITHDRAWN)
    syncs = peer.syncs
    await eventually(lambda: peer.syncs >= syncs + 3)
    assert unconfirmed(kernel) == {asked}


async def test_an_incident_of_another_journal_is_left_to_whoever_asked(
    monkeypatch: pytest.MonkeyPatch, credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    monkeypatch.setattr(decisions, "UNKNOWN_NAK_S", 0.05)
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "one") as asker,
        Kernel.from_file(credentials, journal=tmp_path / "two"),
    ):
        for number in range(4):
            asking = asyncio.create_task(asker.ask(f"may I {number}?", process="p"))
            question = await peer.question(after=number)
            await peer.decide(question.id, Action.CONTINUE)
            assert await asyncio.wait_for(asking, 10) is Action.CONTINUE  # sooner than a sync would tell
    assert {one.state for one in peer.outcomes} == {"applied"}


async def test_programs_that_share_a_journal_get_their_own_decisions(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    program = textwrap.dedent(f"""
        import sys
        from errorkernel.node import BlockingKernel
        with BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
            for number in range(50):
                kernel.error(f"{{number}}", process=sys.argv[1])
            for number in range(4):
                kernel.ask(f"ask {{number}}", process=sys.argv[1])
    """)
    names = ("a", "b", "c")
    programs = [subprocess.Popen([sys.executable, "-c", program, name], env=program_env()) for name in names]
    for number in range(4):
        for name in names:
            question = await peer.question(name, after=number)
            await peer.decide(question.id, Action.CONTINUE)
    assert [await asyncio.to_thread(one.wait, PATIENCE_S) for one in programs] == [0, 0, 0]
    await eventually(lambda: len(peer.outcomes) == 12)
    assert {one.state for one in peer.outcomes} == {"applied"}
    for name in names:
        assert peer.texts(name) == [f"{number}" for number in range(50)] + [f"ask {number}" for number in range(4)]
