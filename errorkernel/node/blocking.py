"""The client for plain code: the same names without ``await``, on an event loop in a thread of its own.

Not to be shared across a fork: make one in the child.
"""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from errorkernel.core.values import Action
from errorkernel.node.client import Kernel

T = TypeVar("T")


class BlockingKernel:
    """``with BlockingKernel.from_file(path) as kernel: kernel.error(exc)``. Takes what ``Kernel`` takes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._open(lambda: Kernel(*arguments, **options))

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> "BlockingKernel":
        made = cls.__new__(cls)
        made._open(lambda: Kernel.from_file(path, **options))
        return made

    def _open(self, make: Any) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that forgets to close must still be able to end.
        threading.Thread(target=self._loop.run_forever, name="error kernel", daemon=True).start()

        async def begin() -> Kernel:
            kernel: Kernel = make()
            return await kernel.__aenter__()

        self._kernel = self._call(begin())

    def error(self, error: BaseException | str, **details: Any) -> UUID:
        return self._call(self._kernel.error(error, **details))

    def info(self, text: str, **details: Any) -> UUID:
        return self._call(self._kernel.info(text, **details))

    def ask(self, error: BaseException | str, **details: Any) -> Action:
        return self._call(self._kernel.ask(error, **details))

    def flush(self, timeout_s: float) -> None:
        self._call(self._kernel.flush(timeout_s))

    def close(self) -> None:
        if not self._loop.is_closed():
            self._call(self._kernel.__aexit__(None, None, None))
            self._loop.call_soon_threadsafe(self._loop.stop)

    def __enter__(self) -> "BlockingKernel":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
