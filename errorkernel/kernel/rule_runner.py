"""Asks the rules about incidents that have been stored, at once and in the order in which they opened.

What senders let rules act on has its turn when no incident is left (``KernelExtension.rule_step``).

An answer is a step (``paced``): however many incidents there are, a batch of the intake waits for one answer at most.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from errorkernel.kernel.stepped_work import PacedSteps
from errorkernel.live.publisher import Announcer
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.rules import evaluation

LOOK_INTERVAL_S = 1.0
"""How soon an incident is found whose kernel died before it asked, or that a changed rule shall be asked about."""
WITHOUT_RULES_S = 0.2
"""Where the last incidents met no rules, nobody waits for their word: for so long the processor is the people's. So
the first incident after the first rule waits so long for it."""


class RuleStep(Protocol):
    def __call__(self, *, now: datetime, two_above: int) -> bool: ...


class RuleRunner:
    """``two_above``: rules kill and stop no more at once than one person may (0: any number). ``sender_steps``: the
    rule steps of senders."""

    def __init__(
        self,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        two_above: int = 0,
        sender_steps: Sequence[RuleStep] = (),
    ) -> None:
        self._threads = threads
        self._paced = PacedSteps(threads)
        self._announcer = announcer
        self._two_above = two_above
        self._sender_steps = sender_steps
        self._wake = asyncio.Event()
        self._without_rules = False

    def wake(self) -> None:
        """There are incidents: do not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_INTERVAL_S)
            except TimeoutError:
                pass
            if self._without_rules:
                await asyncio.sleep(WITHOUT_RULES_S)
            self._wake.clear()
            while found := await self._look():
                self._without_rules = found.without_rules
                while found:
                    await self._step(found)
            for step in self._sender_steps:
                while await self._threads.run(step, now=datetime.now(UTC), two_above=self._two_above):
                    pass

    async def _look(self) -> evaluation.Look:
        return await self._threads.run(evaluation.look, now=datetime.now(UTC), two_above=self._two_above)

    async def _step(self, found: evaluation.Look) -> None:
        done = await self._paced.run(_carry_out, found)
        if done.changed:
            self._announcer.add([], done.changed)


def _carry_out(found: evaluation.Look) -> evaluation.Step:
    return evaluation.step(found, now=datetime.now(UTC))
