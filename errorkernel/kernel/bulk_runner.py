"""Applies approved bulk decisions in steps. Another kernel continues the unfinished ones of a kernel that ended."""

import asyncio
from datetime import UTC, datetime

from errorkernel.kernel.stepped_work import PacedSteps
from errorkernel.live.publisher import Announcer
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import bulk_decisions

LOOK_INTERVAL_S = 0.5


class BulkRunner:
    def __init__(self, threads: DatabaseThreads, announcer: Announcer) -> None:
        self._paced = PacedSteps(threads)
        self._announcer = announcer

    async def run(self) -> None:
        while True:
            done = await self._paced.run(_step)
            if done.looked:
                self._announcer.add([], done.changed, triage=True)
            if not done.looked:
                await asyncio.sleep(LOOK_INTERVAL_S)


def _step() -> bulk_decisions.Step:
    return bulk_decisions.step(now=datetime.now(UTC))
