"""Long work in steps, in the thread of the kernel's other transactions.

However much there is to do, a batch of the intake waits for one step at most. Before the next step the database is left
alone for as long as the last one took, since SQLite's lock goes to who asks at the right moment, and people's
answers come from other processes' connections.
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
    """Steps of one kind of work, one after the other; who has waited longest comes next."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._turn = asyncio.Lock()
        self._not_before = 0.0

    async def run(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``step`` in the thread when it is time; returns what it returns, or raises what it raises."""

        def timed() -> R:
            # Without the time that it waited for the thread: that was somebody else's turn.
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
    """What is dealt with in one step each."""
    return (items[start : start + size] for start in range(0, len(items), size))
