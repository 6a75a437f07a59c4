"""Answers that have been obeyed half: they are reported as applied when those that they start anew run."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from errorkernel.domain.values import Action, Decision, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.supervision.interfaces import Child, Host

log = logging.getLogger("errorkernel.node")

JOURNAL_PAUSE_S = 2.0


async def settle(kernel: Host, process: str, decision: Decision, state: OutcomeState, **said: Any) -> None:
    """As ``Kernel.settle``, again and again until the journal takes it. ``process``: who had asked."""
    while not await try_to_settle(kernel, process, decision, state, **said):
        await asyncio.sleep(JOURNAL_PAUSE_S)


async def try_to_settle(kernel: Host, process: str, decision: Decision, state: OutcomeState, **said: Any) -> bool:
    """As ``Kernel.settle``, once. A journal that fails is logged."""
    try:
        await kernel.settle(decision, state, **said)
    except JournalError as exc:
        log.error("What became of an answer to %s cannot be written down: %s", process, exc)
        return False
    return True


@dataclass(eq=False, slots=True)
class _Debt:
    process: str
    decision: Decision
    waiting: set[Child]
    incarnation: int | None
    running: list[str] = field(default_factory=list)


class Owed:
    """Of the children of one group."""

    def __init__(self, kernel: Host) -> None:
        self._kernel = kernel
        self._debts: list[_Debt] = []
        self._late: set[asyncio.Task[None]] = set()

    def add(self, process: str, decision: Decision, children: Iterable[Child], incarnation: int | None = None) -> None:
        """``process`` had asked, and is now ``incarnation`` if it is a new one; applied when ``children`` run."""
        self._debts.append(_Debt(process, decision, set(children), incarnation))

    def order(self, child: Child) -> Decision | None:
        """The answer that starts this child."""
        return next((debt.decision for debt in self._debts if child in debt.waiting), None)

    async def runs(self, child: Child) -> None:
        """It has been started."""
        for debt in self._of(child):
            debt.waiting.remove(child)
            if debt.process == child.name:
                debt.incarnation = child.incarnation
            else:
                debt.running.append(f"{child.name} runs again as incarnation {child.incarnation}.")
            if not debt.waiting:
                await self._settle(debt, OutcomeState.APPLIED, " ".join(debt.running))

    async def ended(self, child: Child) -> None:
        """It is not started again, and was not to be: that was all there was to do."""
        for debt in self._of(child):
            await self._settle(debt, OutcomeState.APPLIED, "")

    async def failed(self, child: Child, why: str) -> None:
        """It was to be started, and is not."""
        for debt in self._of(child):
            await self._settle(debt, OutcomeState.FAILED, why)

    async def leave(self) -> None:
        """The program ends with its children; nobody is started any more."""
        for task in self._late:
            task.cancel()  # If the journal can be written by then, the program's end settles what is open.
        for debt in self._debts.copy():
            self._debts.remove(debt)
            if debt.decision.action is Action.CONTINUE:
                await self._kernel.give_up(debt.decision.incident, "Its program ended before it was started again.")
            else:
                detail = "It was ended, and its program too."
                await try_to_settle(self._kernel, debt.process, debt.decision, OutcomeState.APPLIED, detail=detail)

    async def settle(self, process: str, decision: Decision, state: OutcomeState, **said: Any) -> None:
        """Report what became of an answer; where the journal fails, as soon as it does not, without waiting for it."""
        if not await try_to_settle(self._kernel, process, decision, state, **said):
            task = asyncio.create_task(settle(self._kernel, process, decision, state, **said))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    def _of(self, child: Child) -> list[_Debt]:
        return [one for one in self._debts if child in one.waiting]

    async def _settle(self, debt: _Debt, state: OutcomeState, detail: str) -> None:
        number = debt.incarnation if state is OutcomeState.APPLIED else None
        await self.settle(debt.process, debt.decision, state, new_incarnation=number, detail=detail)
        # Only now: if this program ends meanwhile, ``leave`` still knows of it.
        self._debts.remove(debt)
