"""What all workers share: incarnations, restarts, and obeying.

A worker runs as one *life* after the other, each with the next incarnation. When its question is answered *kill*, its
life is ended, a new one begins, and only then is the answer reported as applied, with the new incarnation; a life that
will not end is reported as *failed*, and replaced when it ends after all. What follows an ending is decided in
``errorkernel.node.restart``; here it is carried out.
"""

import asyncio
import logging
import random
import time
from typing import Any, Protocol, Self

from errorkernel.core.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.client import Kernel
from errorkernel.node.errors import JournalError, ProcessTaken
from errorkernel.node.reports import Report, describe, process_name
from errorkernel.node.restart import Backoff, Ending, History, Policy, Restart, after
from errorkernel.node.roster import Begun

log = logging.getLogger("errorkernel.node")

GRACE_S = 5.0
ON_EXCEPTION = ("report", "ask")
JOURNAL_PAUSE_S = 2.0


class Life(Protocol):
    """One incarnation, running. ``ended``: whether it failed. ``failure``: what to report of it, if it has not."""

    ended: "asyncio.Future[bool]"
    pid: int | None
    failure: Report | None

    async def end(self, grace_s: float) -> bool:
        """Make it end; False where it would not."""
        ...


class Supervised:
    """``restart``: permanent, transient (again after a failure; the default) or temporary. ``grace_s``: between being
    asked to end and being forced to. ``on_exception``: what a failure does first, ``report`` or ``ask``."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        *,
        restart: Restart | str = Restart.TRANSIENT,
        grace_s: float = GRACE_S,
        backoff: Backoff | None = None,
        on_exception: str = "report",
    ) -> None:
        if on_exception not in ON_EXCEPTION:
            raise ValueError(f"on_exception is one of {', '.join(ON_EXCEPTION)}.")
        self.kernel = kernel
        self.name = process_name(name)
        self.incarnation = 0
        self.asks = on_exception == "ask"
        self.grace_s = grace_s
        self._policy = Policy(Restart(restart), backoff or Backoff())
        self._history = History()
        self._life: Life | None = None
        self._born = 0.0
        self._order: asyncio.Future[Decision] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The operating-system process that it runs in just now."""
        return self._life.pid if self._life else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin the first life. Raises ProcessTaken, JournalError, and what keeps a program from being started."""
        if self.name in self.kernel.supervised:
            raise ProcessTaken(f"The process {self.name} runs already in this program.")
        self.kernel.supervised.add(self.name)
        try:
            self._order = asyncio.get_running_loop().create_future()
            await self._renew(None)
        except BaseException:
            await self._shut_down()
            raise
        self._task = asyncio.create_task(self._supervise(), name=f"worker {self.name}")

    async def stop(self) -> None:
        """End the worker for good, by force after the grace."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
            # A task that is cancelled before its first step never comes to its own end.
            await self._shut_down()

    async def wait(self) -> None:
        """Return when the worker has ended and will not be started again."""
        if self._task:
            await asyncio.wait({self._task})

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

    async def _supervise(self) -> None:
        try:
            while True:
                ending, order = await self._watch()
                verdict = after(
                    self._policy,
                    ending,
                    self._history,
                    lived_s=time.monotonic() - self._born,
                    chance=random.random(),  # noqa: S311 - spreads restarts
                )
                self._history = verdict.history
                if verdict.pause_s is None:
                    await self._over(order)
                    return
                if verdict.pause_s:
                    await self._set_state("restarting")
                    await asyncio.sleep(verdict.pause_s)
                await self._renew_at_last(order)
        except Exception:
            log.exception("The supervision of %s failed; it is ended", self.name)
        finally:
            await self._shut_down()

    async def _watch(self) -> tuple[Ending, Decision | None]:
        """Until this life has ended: how, and the answer whose outcome is still to be reported."""
        life, order = self._life, self._order
        assert life is not None  # noqa: S101 - narrows the type
        assert order is not None  # noqa: S101 - narrows the type
        happenings: set[asyncio.Future[Any]] = {life.ended, order}
        await asyncio.wait(happenings, return_when=asyncio.FIRST_COMPLETED)
        if order.done():
            return await self._obey_order(life, order.result())
        # A task that was cancelled while it asked about its own failure has failed.
        if not life.ended.cancelled() and not life.ended.result():
            return Ending.DONE, None
        if life.failure is None:
            return Ending.FAILED, None
        if not self.asks:
            await self._report(life.failure)
            return Ending.FAILED, None
        return await self._ask_about(life.failure)

    async def _obey_order(self, life: Life, decision: Decision) -> tuple[Ending, Decision | None]:
        ending = Ending.STOPPED if decision.action is Action.STOP else Ending.KILLED
        await self._set_state("stopping", life.pid)
        if await life.end(self.grace_s):
            return ending, decision
        detail = f"It did not end within {self.grace_s:g} s, and still runs."
        log.error("The worker %s cannot be ended: %s", self.name, detail)
        await self._settle(decision, OutcomeState.FAILED, detail=detail)
        await asyncio.wait({life.ended})
        return ending, None

    async def _ask_about(self, failure: Report) -> tuple[Ending, Decision | None]:
        try:
            decision = await self.kernel.put(self.name, failure)
        except JournalError as exc:
            log.error("A question of %s (%s) cannot be asked: %s", self.name, failure.text, exc)
            return Ending.FAILED, None
        if decision.action is Action.CONTINUE:
            return Ending.FAILED, decision
        return (Ending.STOPPED if decision.action is Action.STOP else Ending.KILLED), decision

    async def _renew(self, order: Decision | None) -> None:
        mark = self.new_mark()
        begun = await self.begin(mark, order)
        if begun.former_life:
            await self.clear_away(begun.former_life)
        self.incarnation = begun.incarnation
        self._order = asyncio.get_running_loop().create_future()
        self._life = None
        self.kernel.began(self.name, begun.incarnation)
        self._life = await self.bring_to_life(mark or "")
        self._born = time.monotonic()
        if self._life.pid is not None:
            await self._set_state("running", self._life.pid)

    async def _renew_at_last(self, order: Decision | None) -> None:
        """Begin the next life, however often that fails; then report the answer that asked for it."""
        while True:
            try:
                await self._renew(order)
            except JournalError as exc:
                log.error("The worker %s cannot be started yet: %s", self.name, exc)
                await asyncio.sleep(JOURNAL_PAUSE_S)
                continue
            except (OSError, ValueError) as exc:
                await self._report(describe(exc, {}))
                if order:
                    detail = f"It was ended, but a new one cannot be started: {exc}"
                    await self._settle(order, OutcomeState.FAILED, detail=detail)
                    order = None
                verdict = after(self._policy, Ending.FAILED, self._history, lived_s=0, chance=random.random())  # noqa: S311
                self._history = verdict.history
                await self._set_state("restarting")
                await asyncio.sleep(verdict.pause_s or self._policy.backoff.last_s)
                continue
            if order:
                await self._settle(order, OutcomeState.APPLIED, new_incarnation=self.incarnation)
            return

    async def _over(self, order: Decision | None) -> None:
        self._life = None
        await self._set_state("stopped")
        if order:
            await self._settle(order, OutcomeState.APPLIED)

    async def _shut_down(self) -> None:
        """Leave nothing of it running; again changes nothing."""
        life, self._life = self._life, None
        if life is None:
            self.kernel.supervised.discard(self.name)
            return
        if not life.ended.done() and not await life.end(self.grace_s):
            log.error("The worker %s did not end within %g s and is left to itself", self.name, self.grace_s)
        await self._set_state("stopped")
        if self._order and self._order.done():
            detail = "It was ended, and its program too."
            await self._settle(self._order.result(), OutcomeState.APPLIED, detail=detail)
        self.kernel.supervised.discard(self.name)

    async def _set_state(self, state: str, pid: int | None = None) -> None:
        try:
            await self.kernel.call(self.kernel.roster.set_state, self.name, state, pid=pid)
        except JournalError as exc:
            log.error("The state of %s cannot be written down: %s", self.name, exc)
        self.kernel.wake()

    async def _report(self, report: Report) -> None:
        try:
            await self.kernel.report(EventType.ERROR, self.name, report)
        except JournalError as exc:
            log.error("A failure of %s (%s) cannot be written down: %s", self.name, report.text, exc)

    async def _settle(self, decision: Decision, state: OutcomeState, **said: Any) -> None:
        try:
            await self.kernel.settle(decision, state, **said)
        except JournalError as exc:
            log.error("What became of an answer to %s cannot be written down: %s", self.name, exc)
