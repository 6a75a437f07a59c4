"""Notices jumps of the wall clock, before anything is done by it.

Periodic work that decides by the clock asks ``now``. A jump is recorded first, which moves deadlines with it and holds
them, so nothing is ever decided because the clock was set.
"""

import asyncio
import logging
from datetime import datetime

from errorkernel.domain.clock_jumps import Jump, within_run
from errorkernel.platform.clocks import Clocks, Reading
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import clock_jumps

log = logging.getLogger("errorkernel.kernel")


class ClockWatch:
    def __init__(self, clocks: Clocks, threads: DatabaseThreads) -> None:
        self._clocks = clocks
        self._threads = threads
        self._last: Reading | None = None
        self._turn = asyncio.Lock()

    async def now(self) -> datetime:
        """The wall clock, once a jump is recorded. Raises database errors; the next call tries again."""
        async with self._turn:
            reading = self._clocks.read()
            if self._last is None:
                _report(await self._threads.run(clock_jumps.start, reading))
            elif jump := _between(self._last, reading):
                await self._threads.run(clock_jumps.note_jump, jump, reading)
                _report(jump)
            self._last = reading
            return reading.wall

    async def see(self) -> None:
        """Store where the clock is, for the next start."""
        await self.now()
        if self._last:
            await self._threads.run(clock_jumps.see, self._last)


def _between(last: Reading, reading: Reading) -> Jump | None:
    wall_s = (reading.wall - last.wall).total_seconds()
    return within_run(wall_s, reading.running_s - last.running_s, reading.uptime_s - last.uptime_s)


def _report(jump: Jump | None) -> None:
    if jump and jump.is_certain:
        log.error("The wall clock jumped by %+.0f s; deadlines are held until somebody resumes them", jump.shift_s)
    elif jump:
        log.warning("This machine was suspended for %.0f s; deadlines have moved by as much", jump.shift_s)
