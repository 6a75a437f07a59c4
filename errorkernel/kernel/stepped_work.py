"""Runs long work in steps, in the thread of the kernel's other transactions.

A batch of the intake waits for one step at most. After each step the database stays free for as long as the step took:
SQLite gives its lock to the connection that tries at the right moment, and people's decisions come from connections of
other processes.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, TypeVar

from errorkernel.platform.threads import DatabaseThreads

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class PacedSteps:
    """Runs steps one after the other, the longest waiting one first."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._turn = asyncio.Lock()
        self._not_before = 0.0

    async def run(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``step`` in the thread when the pause is over; returns its result, or raises its error."""

        def timed() -> R:
            # Measured without the time that it waited for the thread.
            began = time.monotonic()
            try:
                return step(*args, **kwargs)
            finally:
                ended = time.monotonic()
                self._not_before = ended + (ended - began)

        async with self._turn:
            await asyncio.sleep(self._not_before - time.monotonic())
            return await self._threads.run(timed)


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in parts of ``size``, one for each step."""
    return (items[start : start + size] for start in range(0, len(items), size))
