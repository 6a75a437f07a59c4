"""Threads of our own for database work.

Channels lets all synchronous calls of all consumers share one thread. The kernel's transactions must not queue behind
a browser's look-up, nor the other way round, so each side has its own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
R = TypeVar("R")


class DatabaseThreads:
    """``count`` threads, each with its own database connection that is renewed when it has gone bad."""

    def __init__(self, name: str, count: int = 1) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in one of the threads and return what it returns, or raise what it raises."""

        def call() -> R:
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Let the threads end after what they are doing, their connections closed."""
        for _ in range(self._executor._max_workers):
            self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)
