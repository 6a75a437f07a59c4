"""Supervised siblings are restarted together and in order."""

import asyncio
import random

import pytest

from errorkernel.node import Action, Kernel
from tests.support.node_peer import PeerKernel
from tests.support.supervised import AT_ONCE, Family, shown
from tests.support.waiting import eventually

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


async def test_a_sibling_that_is_taken_along_withdraws_its_incident(kernel: Kernel, peer: PeerKernel) -> None:
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
