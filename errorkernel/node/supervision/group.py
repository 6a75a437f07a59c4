"""What one supervisor's children do to each other: who follows an ending, who is taken along, what is quarantined.

Everything that happens to them is handled one after the other in one task, so no two happenings see half of each other.
What takes long happens elsewhere: a worker's own end in its ``watch``, pauses as times at which a child is due. Only
the end of siblings that a failure takes along is waited for here: nothing else may begin before.

What follows is decided in ``restart_policy`` and ``strategy``.
"""

import asyncio
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable

from errorkernel.domain.values import Action, Decision, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.reporting.event_builder import describe
from errorkernel.node.supervision.interfaces import Child, Ended, Host, Standing
from errorkernel.node.supervision.pending_outcomes import JOURNAL_PAUSE_S, Owed
from errorkernel.node.supervision.quarantine import Quarantine, Quarantines
from errorkernel.node.supervision.restart_policy import Ending, History, Restart, after, allowed, restarted
from errorkernel.node.supervision.strategy import Strategy, plan

log = logging.getLogger("errorkernel.node")


class Group:
    """``above``: in whose name a quarantine is asked about. ``renew``: begins that process's next incarnation, keeping
    a question; None for a worker on its own, with which its group ends."""

    def __init__(
        self,
        kernel: Host,
        above: str,
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        renew: Callable[[Decision], Awaitable[int | None]] | None = None,
    ) -> None:
        self.children: list[Child] = []
        """In the order in which they are started."""
        self._kernel = kernel
        self._above = above
        self._strategy = strategy
        self._renew = renew
        self._owed = Owed(kernel)
        self._quarantines = Quarantines(kernel, above, self._answered)
        self._happenings: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def run_alone(self, child: Child) -> None:
        """A worker outside of any supervisor. Raises what keeps it from being started."""
        self.children.append(child)
        try:
            self._prepare(child)
            await child.renew(None)
        except BaseException:
            await child.shut_down()
            raise
        self._runs(child)
        self.run()
        try:
            if await self._kernel.call(self._kernel.roster.owes, self._above):
                # The program's own next incarnation is what a former one was told to make way for.
                await self._kernel.call(self._kernel.incarnation, self._above)
        except JournalError as exc:
            # The child runs: whoever was told that it does not would start it a second time.
            log.error("Whether %s owes an answer cannot be read; its next report tells: %s", self._above, exc)

    @property
    def runs(self) -> bool:
        """Whether what happens to the children has consequences."""
        return self._task is not None

    def run(self) -> None:
        """From now on, it has."""
        self._task = asyncio.create_task(self._run(), name=f"children of {self._above}")

    def add(self, child: Child) -> None:
        """Start it, after those that were added before. Raises ProcessTaken."""
        self.children.append(child)
        self._prepare(child)
        self._happenings.put_nowait(_nothing)

    async def dismiss(self, child: Child) -> None:
        """End one child for good, by force after the grace."""
        if self._renew is None:
            await self.close()
        elif self._task and not self._task.done():
            done = asyncio.get_running_loop().create_future()
            self._happenings.put_nowait(functools.partial(self._dismiss, child, done))
            await asyncio.wait({done, self._task}, return_when=asyncio.FIRST_COMPLETED)

    async def wait(self, child: Child) -> None:
        """Until it has ended and is not to be started again."""
        if self._renew is None and self._task:
            await asyncio.wait({self._task})
        else:
            await child.over.wait()

    async def close(self) -> None:
        """End all of them for good; again changes nothing."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        # A task that is cancelled before its first step never comes to its own end.
        await self._shut_down()

    async def _run(self) -> None:
        try:
            while self._renew is not None or not all(one.over.is_set() for one in self.children):
                handle = await self._next()
                await handle()
                while (child := self._next_due()) is not None:
                    await self._start(child)
        except Exception:
            log.exception("The supervision of the children of %s failed; they are ended", self._above)
        finally:
            await self._shut_down()

    async def _next(self) -> Callable[[], Awaitable[None]]:
        """What has happened, or nothing as soon as a child is due."""
        due = [one.due for one in self.children if one.standing is Standing.RESTING and not one.watch]
        try:
            async with asyncio.timeout(max(0.0, min(due) - time.monotonic()) if due else None):
                return await self._happenings.get()
        except TimeoutError:
            return _nothing

    def _next_due(self) -> Child | None:
        now = time.monotonic()
        bound = self._strategy is not Strategy.ONE_FOR_ONE
        if bound and any(one.watch and one.standing is not Standing.RUNNING for one in self.children):
            return None  # One that should have ended still runs: nothing is started beside it.
        for child in self.children:
            if child.standing is Standing.RESTING and not child.watch:
                if child.due <= now:
                    return child
                if bound:
                    return None
        return None

    async def _start(self, child: Child) -> None:
        first = child.incarnation == 0
        try:
            await child.renew(self._owed.order(child))
        except JournalError as exc:
            log.error("The worker %s cannot be started yet: %s", child.name, exc)
            child.due = time.monotonic() + JOURNAL_PAUSE_S
            return
        except Exception as exc:
            self._count(child, first)
            await child.tell_failure(describe(exc, {}))
            await self._owed.failed(child, f"{child.name} has ended, but a new one cannot be started: {exc}")
            await self._follow(child, Ended(Ending.FAILED), lived_s=0.0)
            return
        self._count(child, first)
        self._runs(child)
        await self._owed.runs(child)

    def _count(self, child: Child, first: bool) -> None:
        if not first:
            child.history = restarted(child.policy, child.history, time.monotonic())

    def _runs(self, child: Child) -> None:
        assert child.watch  # noqa: S101 - narrows the type
        child.standing = Standing.RUNNING
        child.watch.add_done_callback(
            lambda watch: self._happenings.put_nowait(functools.partial(self._ended, child, watch))
        )

    async def _ended(self, child: Child, watch: "asyncio.Task[Ended | None]") -> None:
        if child.watch is not watch:
            return  # A sibling's failure came first, and took it along.
        child.watch = None
        ended = watch.result()
        if child.standing is Standing.RUNNING:
            assert ended  # noqa: S101 - it was not recalled
            await self._follow(child, ended, lived_s=child.lived_s)
        else:
            await self._came_along(child, ended)

    async def _follow(self, child: Child, ended: Ended, *, lived_s: float) -> None:
        """A child has ended for reasons of its own: decide, and do it."""
        chance = random.random()  # noqa: S311 - spreads restarts
        verdict = after(child.policy, ended.ending, child.history, lived_s=lived_s, chance=chance)
        child.history = verdict.history
        if ended.order:
            self._owed.add(child.name, ended.order, [child])
        if verdict.pause_s is None:
            stopped = ended.ending is Ending.STOPPED
            await self._leave(child, Standing.STOPPED if stopped else Standing.ENDED)
            return
        # A kill is meant for one worker: its siblings have not failed.
        strategy = Strategy.ONE_FOR_ONE if ended.ending is Ending.KILLED else self._strategy
        leaving = [one for one in self.children if _stays_away(one)]
        todo = plan(strategy, self.children, child, leaving)
        child.standing = Standing.RESTING
        for sibling in todo.stop:
            await self._take_along(sibling)
        # Without those who were told to stop meanwhile.
        start = [one for one in todo.start if one.standing is not Standing.STOPPED]
        at = time.monotonic() + verdict.pause_s
        new = [one for one in start if one.standing is not Standing.QUARANTINED]
        culprit = next((one for one in new if not allowed(one.policy, one.history, at)), None)
        if culprit:
            await self._quarantine(start, culprit)
            return
        for one in new:
            await self._rest(one, at)

    async def _take_along(self, child: Child) -> None:
        """End a child with a sibling."""
        if child.watch is None or child.standing is not Standing.RUNNING:
            return
        watch = child.watch
        child.standing = Standing.ENDED if _stays_away(child) else Standing.RESTING
        child.due = 0.0
        if await child.recall():
            child.watch = None
            await self._came_along(child, watch.result())

    async def _came_along(self, child: Child, ended: Ended | None) -> None:
        """A child that was to end with a sibling has; ``ended``: if it had reasons of its own."""
        if ended and ended.order:
            self._owed.add(child.name, ended.order, [child])
        if ended and ended.ending is Ending.STOPPED:
            child.standing = Standing.STOPPED
        if child.standing in (Standing.ENDED, Standing.STOPPED):
            await self._leave(child, child.standing)
        elif child.standing is Standing.QUARANTINED:
            await self._owed.failed(child, f"{child.name} has ended, and is quarantined.")
            await child.set_state("quarantined")
        else:
            await child.set_state("restarting")

    async def _rest(self, child: Child, at: float) -> None:
        child.due = max(child.due, at) if child.standing is Standing.RESTING else at
        child.standing = Standing.RESTING
        child.over.clear()
        if not child.watch and at > time.monotonic():
            await child.set_state("restarting")

    def _prepare(self, child: Child) -> None:
        child.history = History()
        child.standing = Standing.RESTING
        child.due = 0.0
        child.over.clear()

    async def _leave(self, child: Child, standing: Standing) -> None:
        child.standing = standing
        await child.set_state("stopped")
        await self._owed.ended(child)
        child.over.set()

    async def _dismiss(self, child: Child, done: "asyncio.Future[None]") -> None:
        await self._take_along(child)
        if not child.watch:
            await self._leave(child, Standing.STOPPED)
        child.standing = Standing.STOPPED
        await self._quarantines.give_up(lambda one: one.standing is Standing.STOPPED)
        done.set_result(None)

    async def _quarantine(self, children: Iterable[Child], culprit: Child) -> None:
        for child in await self._quarantines.begin(children, culprit, self.children):
            child.standing = Standing.QUARANTINED
            child.over.clear()
            await self._owed.failed(child, f"{child.name} has ended; no new one is started, since it is quarantined.")
            if not child.watch:
                await child.set_state("quarantined")

    def _answered(self, quarantine: Quarantine, decision: Decision) -> None:
        self._happenings.put_nowait(functools.partial(self._obey, quarantine, decision))

    async def _obey(self, quarantine: Quarantine, decision: Decision) -> None:
        if not self._quarantines.end(quarantine):
            return
        incarnation = None
        children = [one for one in quarantine.children if one.standing is Standing.QUARANTINED]
        if decision.action is Action.STOP:
            for child in children:
                child.standing = Standing.STOPPED
                if not child.watch:
                    await self._leave(child, Standing.STOPPED)
            children = []
        if decision.action is Action.KILL and self._renew:
            children = await self._end_all()
            incarnation = await self._renew(decision)
        for child in children:
            child.history = History()
            child.due = 0.0
            await self._rest(child, time.monotonic())
        stubborn = [one.name for one in children if one.watch]
        if stubborn:
            detail = f"It did not end and still runs: {', '.join(stubborn)}."
            await self._owed.settle(quarantine.above, decision, OutcomeState.FAILED, detail=detail)
        elif children:
            self._owed.add(quarantine.above, decision, children, incarnation)
        else:
            await self._owed.settle(quarantine.above, decision, OutcomeState.APPLIED, new_incarnation=incarnation)

    async def _end_all(self) -> list[Child]:
        """Before all of them are started anew, but for those that were told to stop."""
        await self._quarantines.give_up(_everybody)
        for child in reversed(self.children):
            await self._take_along(child)
        return [one for one in self.children if one.standing is not Standing.STOPPED]

    async def _shut_down(self) -> None:
        if self._closed:
            return
        await self._quarantines.give_up(_everybody)
        if self._strategy is Strategy.ONE_FOR_ONE:
            await asyncio.gather(*(one.shut_down() for one in self.children))
        else:
            for child in reversed(self.children):
                await child.shut_down()
        await self._owed.leave()
        self._closed = True


async def _nothing() -> None:
    """Look who is due."""


def _everybody(_: Child) -> bool:
    return True


def _stays_away(child: Child) -> bool:
    return child.standing is Standing.STOPPED or child.policy.restart is Restart.TEMPORARY
