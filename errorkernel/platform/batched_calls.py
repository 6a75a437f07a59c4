"""One call for all who ask while the call before it runs: a thousand callers at once cost a few calls."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

KEYS_MAX = 500
"""Keys of one call: statements have a limit of parameters."""


class BatchedCalls(Generic[K, V]):
    """``call`` maps keys to values. It never runs twice at the same time, and a caller's key is in a call that begins
    after it was asked for. Belongs to one event loop."""

    def __init__(self, call: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._call = call
        self._wanted: dict[K, asyncio.Future[V | None]] = {}
        self._running: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V | None:
        """The value of ``key``, None where the call returned none for it. Raises the call's error."""
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        # Others may ask for the same key: who gives up must not take the answer from them.
        return await asyncio.shield(future)

    async def _run(self) -> None:
        while self._wanted:
            keys = list(self._wanted)[:KEYS_MAX]
            futures = {key: self._wanted.pop(key) for key in keys}
            try:
                found = await self._call(keys)
            except Exception as exc:
                for future in futures.values():
                    future.set_exception(exc)
                    future.exception()  # nobody may be left to ask for it, which asyncio would log
            else:
                for key, future in futures.items():
                    future.set_result(found.get(key))
