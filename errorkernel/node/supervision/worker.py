"""One supervised worker: its incarnations, and how it obeys decisions.

After a *kill* the current incarnation is ended and a new one starts. Only then is the decision reported as applied,
with the number of the new incarnation. An incarnation that does not end is reported as *failed*, and replaced when it
ends after all. The ``Group`` carries out the consequences of an ending; a worker without supervisor is its own group.
"""

import asyncio
import logging
import time
from typing import Any, Protocol, Self
from uuid import UUID

from errorkernel.domain.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.errors import JournalError, NodeError, ProcessTaken
from errorkernel.node.journal.processes import Started
from errorkernel.node.reporting.event_builder import EventDraft, describe, process_name
from errorkernel.node.supervision.group import Group
from errorkernel.node.supervision.interfaces import ChildState, Ended, Host
from errorkernel.node.supervision.pending_outcomes import report_outcome, try_to_report_outcome
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


class Incarnation(Protocol):
    """A running incarnation. ``ended``: whether it failed. ``failure``: what to report of it, if it has not."""

    ended: "asyncio.Future[bool]"
    pid: int | None
    failure: EventDraft | None

    async def end(self, grace_s: float) -> bool:
        """End it; False if it did not end."""
        ...


def reserve_name(kernel: Host, name: str) -> None:
    """Reserve a name for one worker or supervisor of this program. Raises ProcessTaken."""
    if name in kernel.supervised_names:
        raise ProcessTaken(f"The process {name} already runs in this program.")
    kernel.supervised_names.add(name)


class SupervisedWorker:
    """``restart``: permanent, transient (again after a failure; the default) or temporary. ``grace_s``: time between
    the request to end and the kill. ``on_exception``: handles a failure before the restart is decided: ``report``,
    ``ask``, or ``restart`` (reported as an info, not as an error). More than ``intensity`` restarts within ``period_s``
    quarantine the worker."""

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
        self.last_failure: EventDraft | None = None
        """The last failure that it, or its end, reported."""
        # For the group.
        self.policy = Policy(Restart(restart), backoff or Backoff(), intensity, period_s)
        self.history = History()
        self.state = ChildState.ENDED
        self.due = 0.0
        self.watch: asyncio.Task[Ended | None] | None = None
        self.finished = asyncio.Event()
        self.finished.set()
        self._group: Group | None = None
        self._current: Incarnation | None = None
        self._started_at = 0.0
        self._decision: asyncio.Future[Decision] | None = None
        # New for each incarnation.
        self._recalled: asyncio.Future[None]
        self._survived: asyncio.Future[None]

    @property
    def asks(self) -> bool:
        """Whether a failure opens an incident before the restart is decided."""
        return self.on_exception == "ask"

    @property
    def pid(self) -> int | None:
        """The operating-system process that it runs in now."""
        return self._current.pid if self._current and not self._current.ended.done() else None

    @property
    def is_started(self) -> bool:
        """Whether its first incarnation has started, and it is supervised."""
        return self._group is not None and self._group.is_running

    @property
    def uptime_s(self) -> float:
        """Since its latest incarnation started."""
        return time.monotonic() - self._started_at

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the first incarnation. Raises ProcessTaken, JournalError, and what keeps it from being started."""
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
        """The decision on an incident of this worker is *kill* or *stop*."""
        if self._decision and not self._decision.done():
            self._decision.set_result(decision)

    async def write_start(self, mark: str | None, decision: Decision | None) -> Started:
        """Write the start of the next incarnation, which ``decision`` asked for. Raises ProcessTaken, JournalError."""
        keep = decision.incident if decision else None
        return await self.kernel.call(self.kernel.processes.start, self.name, worker=True, mark=mark, keep=keep)

    async def start_incarnation(self, mark: str) -> Incarnation:
        """Start the incarnation ``self.incarnation``. Raises OSError, ValueError for what cannot be started."""
        raise NotImplementedError

    async def kill_leftovers(self, former_mark: str) -> None:
        """End what an incarnation that died with its program may have left behind."""

    def make_mark(self) -> str | None:
        """A mark by which the leftovers of an incarnation are found, if it can have any."""
        return None

    async def report_failure(self, failure: EventDraft) -> UUID:
        """Report a failure according to ``on_exception``. Raises JournalError."""
        self.last_failure = failure
        kind = EventType.INFO if self.on_exception == "restart" else EventType.ERROR
        return await self.kernel.report(kind, self.name, failure)

    def join(self, group: Group) -> None:
        """Let ``group`` decide on restarts from now on. Raises ProcessTaken."""
        reserve_name(self.kernel, self.name)
        self._group = group

    async def start_next(self, decision: Decision | None) -> None:
        """Start the next incarnation, which ``decision`` asked for, and its ``watch``.

        Raises ProcessTaken, JournalError, and what keeps it from being started.
        """
        mark = self.make_mark()
        started = await self.write_start(mark, decision)
        if started.former_mark:
            await self.kill_leftovers(started.former_mark)
        loop = asyncio.get_running_loop()
        self.incarnation = started.incarnation
        self._decision, self._recalled = loop.create_future(), loop.create_future()
        self._survived = loop.create_future()
        self._current = None
        self.kernel.set_incarnation(self.name, started.incarnation)
        self._current = await self.start_incarnation(mark or "")
        self._started_at = time.monotonic()
        if self._current.pid is not None:
            # A fault here must not raise: it runs, and must not be started a second time.
            await self.publish_state("running", self._current.pid)
        self.kernel.wake()
        self.watch = asyncio.create_task(self._watch(self._current, self._decision), name=f"worker {self.name}")

    async def recall(self) -> bool:
        """End this incarnation because of a sibling, and withdraw its incidents.

        ``watch`` is done then; False if it did not end: ``watch`` is done when it ends after all.
        """
        assert self.watch is not None  # noqa: S101 - narrows the type
        if not self._recalled.done():
            self._recalled.set_result(None)
        either: set[asyncio.Future[Any]] = {self.watch, self._survived}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self.watch.done()

    async def shut_down(self) -> None:
        """Leave nothing of it running; a second call changes nothing."""
        if self.watch:
            self.watch.cancel()
            await asyncio.wait({self.watch})
            self.watch = None
        current, self._current = self._current, None
        if current and not current.ended.done() and not await current.end(self.grace_s):
            log.error("The worker %s did not end within %g s; it is left running", self.name, self.grace_s)
        if self.state not in (ChildState.ENDED, ChildState.STOPPED):
            self.state = ChildState.ENDED
            await self.publish_state("stopped")
        if current and self._decision and self._decision.done():
            decision, detail = self._decision.result(), "It has ended with its program."
            await try_to_report_outcome(self.kernel, self.name, decision, OutcomeState.APPLIED, detail=detail)
        self.kernel.supervised_names.discard(self.name)
        self.finished.set()

    async def publish_state(self, state: str, pid: int | None = None) -> None:
        """Write the state for the heartbeat. An error of the journal is logged."""
        try:
            await self.kernel.call(self.kernel.processes.set_state, self.name, state, pid=pid)
        except JournalError as exc:
            log.error("The state of %s cannot be written: %s", self.name, exc)
        self.kernel.wake()

    async def try_to_report(self, failure: EventDraft) -> None:
        """As ``report_failure``. An error of the journal is logged."""
        try:
            await self.report_failure(failure)
        except NodeError as exc:  # also ProcessTaken: the name is that of another program
            log.error("A failure of %s (%s) cannot be written: %s", self.name, failure.text, exc)

    async def _watch(self, current: Incarnation, decision: "asyncio.Future[Decision]") -> Ended | None:
        """Wait for the end of this incarnation; returns how it ended, None if it was recalled."""
        either: set[asyncio.Future[Any]] = {current.ended, decision, self._recalled}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        ended = None
        if not decision.done():
            if current.ended.done():
                ended = await self._handle_end(current)
            else:
                await self._obey_recall(current)
        # Also a decision that came just when it had ended by itself.
        return await self._obey_decision(current, decision.result()) if decision.done() else ended

    async def _handle_end(self, current: Incarnation) -> Ended | None:
        # A task that was cancelled while it asked about its own failure has failed.
        if not current.ended.cancelled() and not current.ended.result():
            return Ended(Ending.DONE)
        if current.failure is None:
            return Ended(Ending.FAILED)
        if self.asks:
            return await self._ask_about(current.failure)
        await self.try_to_report(current.failure)
        return Ended(Ending.FAILED)

    async def _obey_recall(self, current: Incarnation) -> None:
        await self.publish_state("stopping", current.pid)
        if not await current.end(self.grace_s):
            text = f"{self.name} was to end with a sibling, did not within {self.grace_s:g} s, and still runs."
            log.error("%s Nothing is started beside it.", text)
            self._survived.set_result(None)
            await self.try_to_report(describe(text, {"kind": "StillRuns"}))
            await asyncio.wait({current.ended})

    async def _obey_decision(self, current: Incarnation, decision: Decision) -> Ended:
        ending = _ending_of(decision)
        if current.ended.done():
            return Ended(ending, decision)
        await self.publish_state("stopping", current.pid)
        if await current.end(self.grace_s):
            return Ended(ending, decision)
        detail = f"It did not end within {self.grace_s:g} s, and still runs."
        log.error("The worker %s cannot be ended: %s", self.name, detail)
        self._survived.set_result(None)
        await report_outcome(self.kernel, self.name, decision, OutcomeState.FAILED, detail=detail)
        await asyncio.wait({current.ended})
        return Ended(ending)

    async def _ask_about(self, failure: EventDraft) -> Ended | None:
        self.last_failure = failure
        asking = asyncio.create_task(self.kernel.request_decision(self.name, failure))
        try:
            either: set[asyncio.Future[Any]] = {asking, self._recalled}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()  # no effect if it is done
            await asyncio.wait({asking})
        if asking.cancelled():
            return None
        try:
            decision = asking.result()
        except JournalError as exc:
            log.error("No incident can be opened about a failure of %s (%s): %s", self.name, failure.text, exc)
            return Ended(Ending.FAILED)
        return Ended(Ending.FAILED if decision.action is Action.CONTINUE else _ending_of(decision), decision)


def _ending_of(decision: Decision) -> Ending:
    return Ending.STOPPED if decision.action is Action.STOP else Ending.KILLED
