"""A node that nobody can reach answers its own question only where it was told to, late, once, and never in secret."""

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from errorkernel.node import Action, Kernel
from errorkernel.node.delivery import decisions
from tests.support.node_peer import Broker, PeerKernel, peer_kernel, program_env, unreachable
from tests.support.waiting import PATIENCE_S, eventually

KEPT_QUIET_S = 1.5
"""How long it is looked whether nothing happens: well over the deadline and the grace of these tests."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path / "broker").start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic repair without its patience."""
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 0.3)
    monkeypatch.setattr(decisions, "SYNC_RETRY_S", 0.1)


@asynccontextmanager
async def node(broker: Broker, directory: Path, **options: Any) -> AsyncIterator[Kernel]:
    credentials = broker.credentials(directory / "ship1.json")
    async with Kernel.from_file(credentials, journal=directory / "journal", **options) as opened:
        yield opened


async def cut(broker: Broker, kernel: Kernel) -> None:
    broker.stop()
    await eventually(lambda: not kernel.connected)


def ask(kernel: Kernel, deadline_s: float | None = 0.5) -> "asyncio.Task[Action]":
    return asyncio.create_task(kernel.ask("may I go on?", process="p", deadline_s=deadline_s))


async def quiet(asking: "asyncio.Task[Action]") -> None:
    await asyncio.wait({asking}, timeout=KEPT_QUIET_S)
    assert not asking.done()


async def test_without_being_told_to_it_waits_for_as_long_as_it_takes(broker: Broker, tmp_path: Path) -> None:
    async with peer_kernel(broker) as peer, node(broker, tmp_path, isolated_grace_s=0.1) as kernel:
        asking = ask(kernel)
        question = await peer.question()
        await cut(broker, kernel)
        await quiet(asking)
        broker.start()
        await peer.connection.wait_until_ready(PATIENCE_S)
        await peer.decide(question.id, Action.CONTINUE)
        assert await asking is Action.CONTINUE
        assert (await peer.ended(question.id)).state == "applied"


async def test_told_to_it_decides_once_and_says_so_when_contact_returns(broker: Broker, tmp_path: Path) -> None:
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated=Action.CONTINUE, isolated_grace_s=0.5) as kernel,
    ):
        await eventually(lambda: peer.syncs)
        await cut(broker, kernel)
        began = time.monotonic()
        assert await ask(kernel, 0.5) is Action.CONTINUE
        assert time.monotonic() - began >= 1.0
        broker.start()
        question = await peer.question()
        ended = await peer.ended(question.id)
        assert (ended.state, ended.decision_id, ended.by_itself) == ("withdrawn", None, Action.CONTINUE)
        assert ended.detail.startswith("The node decided continue by itself. The kernel had not been heard from")
        # An answer that was given before the news came meets a question that has ended.
        late = await peer.decide(question.id, Action.KILL)
        stale = await eventually(lambda: next((one for one in peer.outcomes if one.state == "stale"), None))
        assert (stale.decision_id, stale.by_itself) == (late.decision_id, Action.CONTINUE)
        assert "already decided continue by itself" in stale.detail
        assert len(peer.outcomes) == 2


async def test_an_incident_without_a_deadline_is_never_decided_by_the_node(broker: Broker, tmp_path: Path) -> None:
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=0.0) as kernel,
    ):
        asking = ask(kernel, None)
        await peer.question()
        await cut(broker, kernel)
        await quiet(asking)
        asking.cancel()


async def test_while_the_kernel_is_heard_its_silence_about_an_incident_counts(broker: Broker, tmp_path: Path) -> None:
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=0.3) as kernel,
    ):
        asking = ask(kernel)
        question = await peer.question()
        await quiet(asking)
        # Heard after the deadline: what is done then is the kernel's to say, however long the link is away from now on.
        await cut(broker, kernel)
        await quiet(asking)
        broker.start()
        await peer.connection.wait_until_ready(PATIENCE_S)
        await peer.decide(question.id, Action.CONTINUE)
        assert await asking is Action.CONTINUE
        assert [one.state for one in peer.outcomes if one.incident == question.id] in ([], ["applied"])


async def test_the_kernel_is_asked_before_anything_is_done(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No round of the repair falls between the deadline and the end of the grace.
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 3600.0)
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=0.2) as kernel,
    ):
        await eventually(lambda: peer.syncs)
        asking = ask(kernel)
        before = peer.syncs
        await eventually(lambda: peer.syncs > before)
        await quiet(asking)
        asking.cancel()


async def test_a_decision_that_was_given_meanwhile_is_stale_and_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    lives: list[int] = []

    async def work(ctx: Any) -> None:
        lives.append(ctx.incarnation)
        if ctx.incarnation == 1:
            peer.silent = True  # before it asks: the kernel has gone, and the broker stays
            await ctx.ask("stuck", deadline_s=0.5)
        await asyncio.sleep(3600)

    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=0.2) as kernel,
        kernel.worker("copy", work),
    ):
        question = await peer.question("copy")
        decision = await peer.decide(question.id, Action.CONTINUE, publish=False)
        await eventually(lambda: lives == [1, 2])
        await peer.publish(decision)
        stale = await eventually(lambda: next((one for one in peer.outcomes if one.state == "stale"), None))
        assert (stale.decision_id, stale.by_itself) == (decision.decision_id, Action.KILL)
        ended = await eventually(lambda: next((one for one in peer.outcomes if one.state == "withdrawn"), None))
        assert (ended.incarnation, ended.new_incarnation, ended.by_itself) == (1, 2, Action.KILL)
        await asyncio.sleep(0.5)
        assert lives == [1, 2]


async def test_a_decision_that_was_taken_over_in_time_is_the_one_that_counts(broker: Broker, tmp_path: Path) -> None:
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=0.2) as kernel,
    ):
        asking = asyncio.create_task(kernel.ask_for_decision("may I go on?", process="p", deadline_s=1.0))
        question = await peer.question()
        given = await peer.decide(question.id, Action.CONTINUE)
        assert (await asking).decision_id == given.decision_id
        await cut(broker, kernel)
        await asyncio.sleep(KEPT_QUIET_S)
        assert kernel.incidents.decision(question.id) == given


def program(directory: Path, when: str) -> "subprocess.Popen[str]":
    """Asks, far from any broker; says what it was answered, and stays."""
    text = textwrap.dedent(f"""
        import time
        from errorkernel.node import BlockingKernel
        kernel = BlockingKernel.from_file({str(unreachable(directory))!r}, journal={str(directory / "journal")!r},
                                          when_isolated={when or None!r}, isolated_grace_s=0.2)
        print("asks", flush=True)
        print(kernel.ask("may I?", process="p", deadline_s=0.3).value, flush=True)
        time.sleep(3600)
    """)
    return subprocess.Popen([sys.executable, "-c", text], env=program_env(), stdout=subprocess.PIPE, text=True)


async def ended_of_its_only_question(broker: Broker, peer: PeerKernel, directory: Path) -> tuple[UUID, Any]:
    """The node is there again, with contact: what becomes of what its former program had asked."""
    async with node(broker, directory) as kernel:
        await kernel.info("again", process="p")
        question = await peer.question("p")
        return question.id, await peer.ended(question.id)


async def test_a_kill_that_its_program_died_over_is_told_by_the_next_incarnation(
    broker: Broker, tmp_path: Path
) -> None:
    alone = program(tmp_path, "kill")
    assert alone.stdout
    assert [alone.stdout.readline(), alone.stdout.readline()] == ["asks\n", "kill\n"]
    alone.kill()
    alone.wait()
    async with peer_kernel(broker) as peer:
        _, ended = await ended_of_its_only_question(broker, peer, tmp_path)
        assert (ended.state, ended.by_itself, ended.new_incarnation) == ("withdrawn", Action.KILL, 2)


async def test_a_program_that_died_before_it_acted_leaves_an_incident_that_is_plainly_withdrawn(
    broker: Broker, tmp_path: Path
) -> None:
    alone = program(tmp_path, "")  # not told to act
    assert alone.stdout
    assert alone.stdout.readline() == "asks\n"
    await asyncio.sleep(0.5)
    alone.kill()
    alone.wait()
    async with peer_kernel(broker) as peer:
        _, ended = await ended_of_its_only_question(broker, peer, tmp_path)
        assert (ended.state, ended.by_itself) == ("withdrawn", None)


async def test_a_clock_that_is_set_hours_ahead_brings_nothing_forward(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        peer_kernel(broker) as peer,
        node(broker, tmp_path, when_isolated="kill", isolated_grace_s=3600) as kernel,
    ):
        asking = ask(kernel)
        await peer.question()
        await cut(broker, kernel)
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + 7 * 24 * 3600)
        await quiet(asking)
        monkeypatch.undo()
        asking.cancel()


@pytest.mark.parametrize(
    "options",
    [{"when_isolated": "stop"}, {"when_isolated": "perhaps"}, {"when_isolated": "kill", "isolated_grace_s": -1.0}],
    ids=["stop", "no action", "negative grace"],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Kernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", **options)
