"""One worker: its lives, its incarnations, and obeying.

A worker runs as one *life* after the other, each with the next incarnation. When its question is answered *kill*, its
life is ended, a new one begins, and only then is the answer reported as applied, with the new incarnation; a life that
will not end is reported as *failed*, and replaced when it ends after all. What follows an ending, for the worker and
for its siblings, is carried out by its ``Group``; a worker outside of any supervisor is a group of its own.
"""

import asyncio
import logging
import time
from typing import Any, Protocol, Self
from uuid import UUID

from errorkernel.domain.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.errors import JournalError, NodeError, ProcessTaken
from errorkernel.node.journal.processes import Begun
from errorkernel.node.reporting.event_builder import Report, describe, process_name
from errorkernel.node.supervision.group import Group
from errorkernel.node.supervision.interfaces import Ended, Host, Standing
from errorkernel.node.supervision.pending_outcomes import settle, try_to_settle
from errorkernel.node.supervision.restart_policy import (
    INTENSITY,
    PERIOD_S,
    Backoff,
    Ending,
    History,
    Policy,
    Restart,
)

log = logging.getLogger("errorkernel.node")

GRACE_S = 5.0
ON_EXCEPTION = ("report", "ask", "restart")


class Life(Protocol):
    """One incarnation, running. ``ended``: whether it failed. ``failure``: what to report of it, if it has not."""

    ended: "asyncio.Future[bool]"
    pid: int | None
    failure: Report | None

    async def end(self, grace_s: float) -> bool:
        """Make it end; False where it would not."""
        ...


def take_name(kernel: Host, name: str) -> None:
    """A name is one worker's or supervisor's in this program. Raises ProcessTaken."""
    if name in kernel.supervised:
        raise ProcessTaken(f"The process {name} runs already in this program.")
    kernel.supervised.add(name)


class Supervised:
    """``restart``: permanent, transient (again after a failure; the default) or temporary. ``grace_s``: between being
    asked to end and being forced to. ``on_exception``: what a failure does before the restart is decided: ``report``,
    ``ask``, or ``restart`` (it is told as an info, not as an error). More than ``intensity`` restarts within
    ``period_s``: quarantined."""

    def __init__(
        self,
        kernel: Host,
        name: str,
        *,
        restart: Restart | str = Restart.TRANSIENT,
        grace_s: float = GRACE_S,
        backoff: Backoff | None = None,
        on_exception: str = "report",
        intensity: int = INTENSITY,
        period_s: float = PERIOD_S,
    ) -> None:
        if on_exception not in ON_EXCEPTION:
            raise ValueError(f"on_exception is one of {', '.join(ON_EXCEPTION)}.")
        self.kernel = kernel
        self.name = process_name(name)
        self.incarnation = 0
        self.on_exception = on_exception
        self.grace_s = grace_s
        self.last_failure: Report | None = None
        """What it, or its end, last told of a failure."""
        # For the group.
        self.policy = Policy(Restart(restart), backoff or Backoff(), intensity, period_s)
        self.history = History()
        self.standing = Standing.ENDED
        self.due = 0.0
        self.watch: asyncio.Task[Ended | None] | None = None
        self.over = asyncio.Event()
        self.over.set()
        self._group: Group | None = None
        self._life: Life | None = None
        self._born = 0.0
        self._order: asyncio.Future[Decision] | None = None
        # Made anew for each life.
        self._recall: asyncio.Future[None]
        self._lingers: asyncio.Future[None]

    @property
    def asks(self) -> bool:
        """Whether a failure asks before it is decided what follows."""
        return self.on_exception == "ask"

    @property
    def pid(self) -> int | None:
        """The operating-system process that it runs in just now."""
        return self._life.pid if self._life and not self._life.ended.done() else None

    @property
    def started(self) -> bool:
        """Whether its first life has begun, and it is looked after."""
        return self._group is not None and self._group.runs

    @property
    def lived_s(self) -> float:
        """Since its latest life began."""
        return time.monotonic() - self._born

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin the first life. Raises ProcessTaken, JournalError, and what keeps a program from being started."""
        group = Group(self.kernel, self.kernel.process)
        self.join(group)
        await group.run_alone(self)

    async def stop(self) -> None:
        """End the worker for good, by force after the grace."""
        if self._group:
            await self._group.dismiss(self)

    async def wait(self) -> None:
        """Return when the worker has ended and is not to be started again."""
        if self._group:
            await self._group.wait(self)

    def obey(self, decision: Decision) -> None:
        """The answer to this worker's question was *kill* or *stop*."""
        if self._order and not self._order.done():
            self._order.set_result(decision)

    async def begin(self, life_mark: str | None, order: Decision | None) -> Begun:
        """Write the next incarnation down, which ``order`` asked for. Raises ProcessTaken, JournalError."""
        keep = order.incident if order else None
        return await self.kernel.call(self.kernel.roster.begin, self.name, worker=True, life=life_mark, keep=keep)

    async def bring_to_life(self, life_mark: str) -> Life:
        """Start the life of ``self.incarnation``. Raises OSError, ValueError for what cannot be started."""
        raise NotImplementedError

    async def clear_away(self, former_life: str) -> None:
        """End what an incarnation that died with its program may have left behind."""

    def new_mark(self) -> str | None:
        """A mark by which this life's leftovers are found, if it can have any."""
        return None

    async def report_failure(self, report: Report) -> UUID:
        """Tell of a failure as ``on_exception`` has it. Raises JournalError."""
        self.last_failure = report
        kind = EventType.INFO if self.on_exception == "restart" else EventType.ERROR
        return await self.kernel.report(kind, self.name, report)

    def join(self, group: Group) -> None:
        """From now on ``group`` decides what follows. Raises ProcessTaken."""
        take_name(self.kernel, self.name)
        self._group = group

    async def renew(self, order: Decision | None) -> None:
        """Start the next life, which ``order`` asked for, and with it ``watch``.

        Raises ProcessTaken, JournalError, and what keeps it from being started.
        """
        mark = self.new_mark()
        begun = await self.begin(mark, order)
        if begun.former_life:
            await self.clear_away(begun.former_life)
        loop = asyncio.get_running_loop()
        self.incarnation = begun.incarnation
        self._order, self._recall, self._lingers = loop.create_future(), loop.create_future(), loop.create_future()
        self._life = None
        self.kernel.began(self.name, begun.incarnation)
        self._life = await self.bring_to_life(mark or "")
        self._born = time.monotonic()
        if self._life.pid is not None:
            # Whatever happens here: it runs, and must not be started a second time.
            await self.set_state("running", self._life.pid)
        self.kernel.wake()
        self.watch = asyncio.create_task(self._watch(self._life, self._order), name=f"worker {self.name}")

    async def recall(self) -> bool:
        """End this life because a sibling's failure takes it along, withdrawing what it asks.

        ``watch`` is done then; False where it would not end: ``watch`` is done when it ends after all.
        """
        assert self.watch is not None  # noqa: S101 - narrows the type
        if not self._recall.done():
            self._recall.set_result(None)
        happenings: set[asyncio.Future[Any]] = {self.watch, self._lingers}
        await asyncio.wait(happenings, return_when=asyncio.FIRST_COMPLETED)
        return self.watch.done()

    async def shut_down(self) -> None:
        """Leave nothing of it running; again changes nothing."""
        if self.watch:
            self.watch.cancel()
            await asyncio.wait({self.watch})
            self.watch = None
        life, self._life = self._life, None
        if life and not life.ended.done() and not await life.end(self.grace_s):
            log.error("The worker %s did not end within %g s and is left to itself", self.name, self.grace_s)
        if self.standing not in (Standing.ENDED, Standing.STOPPED):
            self.standing = Standing.ENDED
            await self.set_state("stopped")
        if life and self._order and self._order.done():
            detail = "It was ended, and its program too."
            await try_to_settle(self.kernel, self.name, self._order.result(), OutcomeState.APPLIED, detail=detail)
        self.kernel.supervised.discard(self.name)
        self.over.set()

    async def set_state(self, state: str, pid: int | None = None) -> None:
        """For the hello. A journal that fails is logged."""
        try:
            await self.kernel.call(self.kernel.roster.set_state, self.name, state, pid=pid)
        except JournalError as exc:
            log.error("The state of %s cannot be written down: %s", self.name, exc)
        self.kernel.wake()

    async def tell_failure(self, report: Report) -> None:
        """As ``report_failure``. A journal that fails is logged."""
        try:
            await self.report_failure(report)
        except NodeError as exc:  # also ProcessTaken: the name is another program's
            log.error("A failure of %s (%s) cannot be written down: %s", self.name, report.text, exc)

    async def _watch(self, life: Life, order: "asyncio.Future[Decision]") -> Ended | None:
        """Until this life has ended: how; None where it was recalled."""
        happenings: set[asyncio.Future[Any]] = {life.ended, order, self._recall}
        await asyncio.wait(happenings, return_when=asyncio.FIRST_COMPLETED)
        ended = None
        if not order.done():
            if life.ended.done():
                ended = await self._ended(life)
            else:
                await self._obey_recall(life)
        # Also an answer that came just when it had ended by itself.
        return await self._obey_order(life, order.result()) if order.done() else ended

    async def _ended(self, life: Life) -> Ended | None:
        # A task that was cancelled while it asked about its own failure has failed.
        if not life.ended.cancelled() and not life.ended.result():
            return Ended(Ending.DONE)
        if life.failure is None:
            return Ended(Ending.FAILED)
        if self.asks:
            return await self._ask_about(life.failure)
        await self.tell_failure(life.failure)
        return Ended(Ending.FAILED)

    async def _obey_recall(self, life: Life) -> None:
        await self.set_state("stopping", life.pid)
        if not await life.end(self.grace_s):
            text = f"{self.name} is to end with a sibling, did not within {self.grace_s:g} s, and still runs."
            log.error("%s Nothing is started beside it.", text)
            self._lingers.set_result(None)
            await self.tell_failure(describe(text, {"kind": "StillRuns"}))
            await asyncio.wait({life.ended})

    async def _obey_order(self, life: Life, decision: Decision) -> Ended:
        ending = _ending_of(decision)
        if life.ended.done():
            return Ended(ending, decision)
        await self.set_state("stopping", life.pid)
        if await life.end(self.grace_s):
            return Ended(ending, decision)
        detail = f"It did not end within {self.grace_s:g} s, and still runs."
        log.error("The worker %s cannot be ended: %s", self.name, detail)
        self._lingers.set_result(None)
        await settle(self.kernel, self.name, decision, OutcomeState.FAILED, detail=detail)
        await asyncio.wait({life.ended})
        return Ended(ending)

    async def _ask_about(self, failure: Report) -> Ended | None:
        self.last_failure = failure
        asking = asyncio.create_task(self.kernel.put(self.name, failure))
        try:
            happenings: set[asyncio.Future[Any]] = {asking, self._recall}
            await asyncio.wait(happenings, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()  # unless it is done: then this does nothing
            await asyncio.wait({asking})
        if asking.cancelled():
            return None
        try:
            decision = asking.result()
        except JournalError as exc:
            log.error("It cannot be asked about a failure of %s (%s): %s", self.name, failure.text, exc)
            return Ended(Ending.FAILED)
        return Ended(Ending.FAILED if decision.action is Action.CONTINUE else _ending_of(decision), decision)


def _ending_of(order: Decision) -> Ending:
    return Ending.STOPPED if order.action is Action.STOP else Ending.KILLED
