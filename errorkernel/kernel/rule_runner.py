"""Evaluates the rules on stored incidents, at once and in the order in which they opened.

The rule steps of senders run when no incident is left (``KernelExtension.rule_step``).

Each decision is a step (``PacedSteps``), so a batch of the intake waits for one decision at most.
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
"""After this time at most, an incident is found that a kernel left unevaluated or that a changed rule applies to."""
WITHOUT_RULES_S = 0.2
"""Pause before an evaluation where the last one found no active rules: it saves processor time for people's requests.
The first incident after the first rule waits this long."""


class RuleStep(Protocol):
    def __call__(self, *, now: datetime, two_above: int) -> bool: ...


class RuleRunner:
    """``two_above``: rules kill and stop no more processes at once than one person may (0: any number).
    ``sender_steps``: the rule steps of senders."""

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
        """Evaluate now: there are new incidents."""
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
