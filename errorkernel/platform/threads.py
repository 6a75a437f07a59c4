"""Threads of our own for database work.

Channels runs all synchronous calls of all consumers in one thread. The kernel's transactions must not queue behind a
browser's queries, nor the other way round, so each has its own threads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections
from django.urls import set_script_prefix

from errorkernel.platform import conf

P = ParamSpec("P")
R = TypeVar("R")


class DatabaseThreads:
    """``count`` threads, each with its own database connection that is renewed when it is broken."""

    def __init__(self, name: str, count: int = 1) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_use_base_path)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``function`` in one of the threads and return what it returns, or raise its error."""

        def call() -> R:
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """End the threads after their present calls, and close their connections."""
        for _ in range(self._executor._max_workers):
            self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)


def _use_base_path() -> None:
    """Rendered addresses have the same prefix as those in requests; Django keeps it by thread."""
    set_script_prefix(f"{conf.get().base_path}/")
