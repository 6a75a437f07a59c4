"""Decisions that are obeyed in part: they are reported as applied once all restarted workers run."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from errorkernel.domain.values import Action, Decision, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.supervision.interfaces import Child, Host

log = logging.getLogger("errorkernel.node")

JOURNAL_RETRY_S = 2.0


async def report_outcome(kernel: Host, process: str, decision: Decision, state: OutcomeState, **details: Any) -> None:
    """As ``Kernel.report_outcome``, repeated until the journal takes it. ``process``: the one that asked."""
    while not await try_to_report_outcome(kernel, process, decision, state, **details):
        await asyncio.sleep(JOURNAL_RETRY_S)


async def try_to_report_outcome(
    kernel: Host, process: str, decision: Decision, state: OutcomeState, **details: Any
) -> bool:
    """As ``Kernel.report_outcome``, once. An error of the journal is logged."""
    try:
        await kernel.report_outcome(decision, state, **details)
    except JournalError as exc:
        log.error("The outcome of a decision on %s cannot be written: %s", process, exc)
        return False
    return True


@dataclass(eq=False, slots=True)
class _Pending:
    process: str
    decision: Decision
    waits_for: set[Child]
    incarnation: int | None
    running: list[str] = field(default_factory=list)


class PendingOutcomes:
    """The pending outcomes of one group."""

    def __init__(self, kernel: Host) -> None:
        self._kernel = kernel
        self._all: list[_Pending] = []
        self._retries: set[asyncio.Task[None]] = set()

    def add(self, process: str, decision: Decision, children: Iterable[Child], incarnation: int | None = None) -> None:
        """``process`` asked, and is now ``incarnation`` if it is a new one. Applied when ``children`` run."""
        self._all.append(_Pending(process, decision, set(children), incarnation))

    def decision_for(self, child: Child) -> Decision | None:
        """The decision that starts this child."""
        return next((pending.decision for pending in self._all if child in pending.waits_for), None)

    async def started(self, child: Child) -> None:
        """This child runs."""
        for pending in self._of(child):
            pending.waits_for.remove(child)
            if pending.process == child.name:
                pending.incarnation = child.incarnation
            else:
                pending.running.append(f"{child.name} runs again as incarnation {child.incarnation}.")
            if not pending.waits_for:
                await self._finish(pending, OutcomeState.APPLIED, " ".join(pending.running))

    async def ended(self, child: Child) -> None:
        """This child has ended and is not to be started again: the decision is applied."""
        for pending in self._of(child):
            await self._finish(pending, OutcomeState.APPLIED, "")

    async def failed(self, child: Child, reason: str) -> None:
        """This child should have been started, and is not."""
        for pending in self._of(child):
            await self._finish(pending, OutcomeState.FAILED, reason)

    async def close(self) -> None:
        """The program ends with its children; none is started any more."""
        for task in self._retries:
            task.cancel()  # If the journal can be written by then, the end of the program reports what is left.
        for pending in self._all.copy():
            self._all.remove(pending)
            decision = pending.decision
            if decision.action is Action.CONTINUE:
                await self._kernel.withdraw(decision.incident, "Its program ended before it was started again.")
            else:
                detail = "It has ended with its program."
                await try_to_report_outcome(
                    self._kernel, pending.process, decision, OutcomeState.APPLIED, detail=detail
                )

    async def report(self, process: str, decision: Decision, state: OutcomeState, **details: Any) -> None:
        """Report an outcome. If the journal fails, it is retried in the background."""
        if not await try_to_report_outcome(self._kernel, process, decision, state, **details):
            task = asyncio.create_task(report_outcome(self._kernel, process, decision, state, **details))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)

    def _of(self, child: Child) -> list[_Pending]:
        return [pending for pending in self._all if child in pending.waits_for]

    async def _finish(self, pending: _Pending, state: OutcomeState, detail: str) -> None:
        incarnation = pending.incarnation if state is OutcomeState.APPLIED else None
        await self.report(pending.process, pending.decision, state, new_incarnation=incarnation, detail=detail)
        # Only now: if this program ends meanwhile, ``close`` still finds it.
        self._all.remove(pending)
