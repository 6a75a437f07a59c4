"""Carries out confirmed answers to many questions, some at a time, in the thread of the kernel's other transactions.

After each step the database is left alone for as long as the step took, as ``judge`` does. What a kernel that died left
undone is found by the next look.
"""

import asyncio
import time
from datetime import UTC, datetime

from errorkernel.live import Announcer
from errorkernel.store import bulk
from errorkernel.threads import DatabaseThreads

LOOK_INTERVAL_S = 0.5


class BulkAnswering:
    def __init__(self, threads: DatabaseThreads, announcer: Announcer) -> None:
        self._threads = threads
        self._announcer = announcer

    async def run(self) -> None:
        while True:
            done, took_s = await self._threads.run(_timed_step)
            if done.changed:
                self._announcer.add([], done.changed)
            await asyncio.sleep(took_s if done.looked else LOOK_INTERVAL_S)


def _timed_step() -> tuple[bulk.Step, float]:
    """Without the time that it waited for the thread: that was somebody else's turn."""
    began = time.monotonic()
    done = bulk.step(now=datetime.now(UTC))
    return done, time.monotonic() - began
