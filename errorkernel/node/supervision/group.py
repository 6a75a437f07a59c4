"""The children of one supervisor: when one ends, which siblings restart and which are quarantined.

One task handles everything that happens to them, one step after the other, so no two steps see half of each other. What
takes long runs elsewhere: a child's end in its ``watch``, pauses as times at which a child is due. Only the end of
siblings that restart with a failed child is waited for here: nothing else may start before.

``restart_policy`` and ``strategy`` decide; this module carries out.
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
from errorkernel.node.supervision.interfaces import Child, ChildState, Ended, Host
from errorkernel.node.supervision.pending_outcomes import JOURNAL_RETRY_S, PendingOutcomes
from errorkernel.node.supervision.quarantine import Quarantine, Quarantines
from errorkernel.node.supervision.restart_policy import (
    Ending,
    History,
    Restart,
    decide_restart,
    is_within_intensity,
    record_restart,
)
from errorkernel.node.supervision.strategy import Strategy, plan

log = logging.getLogger("errorkernel.node")


class Group:
    """``above``: the process that quarantines are incidents of. ``start_above``: starts the next incarnation of that
    process, and keeps the incident of the decision; None for a worker without supervisor, which ends its group."""

    def __init__(
        self,
        kernel: Host,
        above: str,
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        start_above: Callable[[Decision], Awaitable[int | None]] | None = None,
    ) -> None:
        self.children: list[Child] = []
        """In the order in which they are started."""
        self._kernel = kernel
        self._above = above
        self._strategy = strategy
        self._start_above = start_above
        self._outcomes = PendingOutcomes(kernel)
        self._quarantines = Quarantines(kernel, above, self._on_decision)
        self._steps: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def run_alone(self, child: Child) -> None:
        """Run a worker without supervisor. Raises what keeps it from being started."""
        self.children.append(child)
        try:
            self._reset(child)
            await child.start_next(None)
        except BaseException:
            await child.shut_down()
            raise
        self._on_started(child)
        self.run()
        try:
            if await self._kernel.call(self._kernel.processes.has_orphaned_kill, self._above):
                # A former incarnation was killed so that the program itself restarts.
                await self._kernel.call(self._kernel.incarnation_of, self._above)
        except JournalError as exc:
            # The child runs: an exception would make the caller start it a second time.
            log.error("Outcomes of %s cannot be read; its next event reports them: %s", self._above, exc)

    @property
    def is_running(self) -> bool:
        """Whether endings of children have consequences."""
        return self._task is not None

    def run(self) -> None:
        """Handle endings of children from now on."""
        self._task = asyncio.create_task(self._run(), name=f"children of {self._above}")

    def add(self, child: Child) -> None:
        """Start a child, after those that were added before."""
        self.children.append(child)
        self._reset(child)
        self._steps.put_nowait(_nothing)

    async def dismiss(self, child: Child) -> None:
        """End one child for good, by force after the grace."""
        if self._start_above is None:
            await self.close()
        elif self._task and not self._task.done():
            done = asyncio.get_running_loop().create_future()
            self._steps.put_nowait(functools.partial(self._dismiss, child, done))
            await asyncio.wait({done, self._task}, return_when=asyncio.FIRST_COMPLETED)

    async def wait(self, child: Child) -> None:
        """Return when the child has ended and is not to be started again."""
        if self._start_above is None and self._task:
            await asyncio.wait({self._task})
        else:
            await child.finished.wait()

    async def close(self) -> None:
        """End all children for good; a second call changes nothing."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        # A task that is cancelled before its first step never reaches its own ``finally``.
        await self._shut_down()

    async def _run(self) -> None:
        try:
            while self._start_above is not None or not all(child.finished.is_set() for child in self.children):
                step = await self._next_step()
                await step()
                while (child := self._next_due()) is not None:
                    await self._start(child)
        except Exception:
            log.exception("The supervision of the children of %s failed; they are ended", self._above)
        finally:
            await self._shut_down()

    async def _next_step(self) -> Callable[[], Awaitable[None]]:
        """The next step, or none as soon as a child is due."""
        due = [child.due for child in self.children if child.state is ChildState.SCHEDULED and not child.watch]
        try:
            async with asyncio.timeout(max(0.0, min(due) - time.monotonic()) if due else None):
                return await self._steps.get()
        except TimeoutError:
            return _nothing

    def _next_due(self) -> Child | None:
        now = time.monotonic()
        is_ordered = self._strategy is not Strategy.ONE_FOR_ONE
        if is_ordered and any(child.watch and child.state is not ChildState.RUNNING for child in self.children):
            return None  # A child that should have ended still runs: nothing is started beside it.
        for child in self.children:
            if child.state is ChildState.SCHEDULED and not child.watch:
                if child.due <= now:
                    return child
                if is_ordered:
                    return None
        return None

    async def _start(self, child: Child) -> None:
        is_first = child.incarnation == 0
        try:
            await child.start_next(self._outcomes.decision_for(child))
        except JournalError as exc:
            log.error("The worker %s cannot be started yet: %s", child.name, exc)
            child.due = time.monotonic() + JOURNAL_RETRY_S
            return
        except Exception as exc:
            self._record_start(child, is_first)
            await child.try_to_report(describe(exc, {}))
            await self._outcomes.failed(child, f"{child.name} has ended, but a new one cannot be started: {exc}")
            await self._handle_ending(child, Ended(Ending.FAILED), uptime_s=0.0)
            return
        self._record_start(child, is_first)
        self._on_started(child)
        await self._outcomes.started(child)

    def _record_start(self, child: Child, is_first: bool) -> None:
        if not is_first:
            child.history = record_restart(child.policy, child.history, time.monotonic())

    def _on_started(self, child: Child) -> None:
        assert child.watch  # noqa: S101 - narrows the type
        child.state = ChildState.RUNNING
        child.watch.add_done_callback(
            lambda watch: self._steps.put_nowait(functools.partial(self._on_ended, child, watch))
        )

    async def _on_ended(self, child: Child, watch: "asyncio.Task[Ended | None]") -> None:
        if child.watch is not watch:
            return  # The failure of a sibling came first, and has ended this child.
        child.watch = None
        ended = watch.result()
        if child.state is ChildState.RUNNING:
            assert ended  # noqa: S101 - it was not recalled
            await self._handle_ending(child, ended, uptime_s=child.uptime_s)
        else:
            await self._on_recalled(child, ended)

    async def _handle_ending(self, child: Child, ended: Ended, *, uptime_s: float) -> None:
        """A child has ended for reasons of its own: restart, stop or quarantine by the policy."""
        chance = random.random()  # noqa: S311 - spreads restarts
        verdict = decide_restart(child.policy, ended.ending, child.history, uptime_s=uptime_s, chance=chance)
        child.history = verdict.history
        if ended.decision:
            self._outcomes.add(child.name, ended.decision, [child])
        if verdict.pause_s is None:
            is_stopped = ended.ending is Ending.STOPPED
            await self._finish(child, ChildState.STOPPED if is_stopped else ChildState.ENDED)
            return
        # A kill is meant for one worker: its siblings have not failed.
        strategy = Strategy.ONE_FOR_ONE if ended.ending is Ending.KILLED else self._strategy
        leaving = [sibling for sibling in self.children if _must_stay_ended(sibling)]
        todo = plan(strategy, self.children, child, leaving)
        child.state = ChildState.SCHEDULED
        for sibling in todo.stop:
            await self._recall(sibling)
        # Without those that a decision stopped meanwhile.
        start = [each for each in todo.start if each.state is not ChildState.STOPPED]
        at = time.monotonic() + verdict.pause_s
        new = [each for each in start if each.state is not ChildState.QUARANTINED]
        failed = next((each for each in new if not is_within_intensity(each.policy, each.history, at)), None)
        if failed:
            await self._quarantine(start, failed)
            return
        for each in new:
            await self._schedule(each, at)

    async def _recall(self, child: Child) -> None:
        """End a child because of a sibling."""
        if child.watch is None or child.state is not ChildState.RUNNING:
            return
        watch = child.watch
        child.state = ChildState.ENDED if _must_stay_ended(child) else ChildState.SCHEDULED
        child.due = 0.0
        if await child.recall():
            child.watch = None
            await self._on_recalled(child, watch.result())

    async def _on_recalled(self, child: Child, ended: Ended | None) -> None:
        """A child that was to end because of a sibling has ended; ``ended``: if it had reasons of its own."""
        if ended and ended.decision:
            self._outcomes.add(child.name, ended.decision, [child])
        if ended and ended.ending is Ending.STOPPED:
            child.state = ChildState.STOPPED
        if child.state in (ChildState.ENDED, ChildState.STOPPED):
            await self._finish(child, child.state)
        elif child.state is ChildState.QUARANTINED:
            await self._outcomes.failed(child, f"{child.name} has ended, and is quarantined.")
            await child.publish_state("quarantined")
        else:
            await child.publish_state("restarting")

    async def _schedule(self, child: Child, at: float) -> None:
        child.due = max(child.due, at) if child.state is ChildState.SCHEDULED else at
        child.state = ChildState.SCHEDULED
        child.finished.clear()
        if not child.watch and at > time.monotonic():
            await child.publish_state("restarting")

    def _reset(self, child: Child) -> None:
        child.history = History()
        child.state = ChildState.SCHEDULED
        child.due = 0.0
        child.finished.clear()

    async def _finish(self, child: Child, state: ChildState) -> None:
        child.state = state
        await child.publish_state("stopped")
        await self._outcomes.ended(child)
        child.finished.set()

    async def _dismiss(self, child: Child, done: "asyncio.Future[None]") -> None:
        await self._recall(child)
        if not child.watch:
            await self._finish(child, ChildState.STOPPED)
        child.state = ChildState.STOPPED
        await self._quarantines.withdraw(lambda each: each.state is ChildState.STOPPED)
        done.set_result(None)

    async def _quarantine(self, children: Iterable[Child], failed: Child) -> None:
        for child in await self._quarantines.begin(children, failed, self.children):
            child.state = ChildState.QUARANTINED
            child.finished.clear()
            await self._outcomes.failed(child, f"{child.name} has ended; no new one starts, since it is quarantined.")
            if not child.watch:
                await child.publish_state("quarantined")

    def _on_decision(self, quarantine: Quarantine, decision: Decision) -> None:
        self._steps.put_nowait(functools.partial(self._end_quarantine, quarantine, decision))

    async def _end_quarantine(self, quarantine: Quarantine, decision: Decision) -> None:
        if not self._quarantines.end(quarantine):
            return
        incarnation = None
        children = [child for child in quarantine.children if child.state is ChildState.QUARANTINED]
        if decision.action is Action.STOP:
            for child in children:
                child.state = ChildState.STOPPED
                if not child.watch:
                    await self._finish(child, ChildState.STOPPED)
            children = []
        if decision.action is Action.KILL and self._start_above:
            children = await self._recall_all()
            incarnation = await self._start_above(decision)
        for child in children:
            child.history = History()
            child.due = 0.0
            await self._schedule(child, time.monotonic())
        still_running = [child.name for child in children if child.watch]
        if still_running:
            detail = f"These did not end and still run: {', '.join(still_running)}."
            await self._outcomes.report(quarantine.above, decision, OutcomeState.FAILED, detail=detail)
        elif children:
            self._outcomes.add(quarantine.above, decision, children, incarnation)
        else:
            await self._outcomes.report(quarantine.above, decision, OutcomeState.APPLIED, new_incarnation=incarnation)

    async def _recall_all(self) -> list[Child]:
        """End all children; returns those to start again: all but the stopped ones."""
        await self._quarantines.withdraw(_all_children)
        for child in reversed(self.children):
            await self._recall(child)
        return [child for child in self.children if child.state is not ChildState.STOPPED]

    async def _shut_down(self) -> None:
        if self._is_closed:
            return
        await self._quarantines.withdraw(_all_children)
        if self._strategy is Strategy.ONE_FOR_ONE:
            await asyncio.gather(*(child.shut_down() for child in self.children))
        else:
            for child in reversed(self.children):
                await child.shut_down()
        await self._outcomes.close()
        self._is_closed = True


async def _nothing() -> None:
    """A step that only checks which child is due."""


def _all_children(_: Child) -> bool:
    return True


def _must_stay_ended(child: Child) -> bool:
    return child.state is ChildState.STOPPED or child.policy.restart is Restart.TEMPORARY
