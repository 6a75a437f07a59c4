"""``BlockingKernel``: the client for synchronous code, with the same names without ``await``.

An event loop in a thread of its own sends; events are written to the journal in the thread of the caller. A program
that ends without ``close`` is not held up for long: the thread is a daemon, and an exit handler closes as ``close``
does. A forked child must create a kernel of its own, since ``fork`` copies no threads.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar, Unpack
from uuid import UUID

from errorkernel.domain.values import Action, EventType, Message
from errorkernel.node import threads
from errorkernel.node.client import Kernel
from errorkernel.node.errors import NodeError
from errorkernel.node.reporting import once
from errorkernel.node.reporting.context import Reporter
from errorkernel.node.reporting.event_builder import AskDetails, Details, EventDraft, describe

R = TypeVar("R")
CLOSE_S = 3.0


class BlockingKernel(Reporter):
    """``with BlockingKernel.from_file(path) as kernel: kernel.error(exc, process="backup")``. Takes the
    arguments of ``Kernel``, and may be used from several threads."""

    blocks_thread = True
    _kernel: Kernel
    _loop: asyncio.AbstractEventLoop
    _thread: threading.Thread
    _pid: int
    _closed: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._start(lambda: Kernel(*arguments, **options))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """As ``Kernel.from_file``."""
        kernel = cls.__new__(cls)
        kernel._start(lambda: Kernel.from_file(path, **options))
        return kernel

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """As ``Kernel.from_env``."""
        kernel = cls.__new__(cls)
        kernel._start(lambda: Kernel.from_env(**options))
        return kernel

    def error(self, error: BaseException | str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """As ``Kernel.error``."""
        event_id = self.report_now(EventType.ERROR, process, describe(error, details))
        once.mark(error)
        return event_id

    def info(self, text: str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """As ``Kernel.info``."""
        return self.report_now(EventType.INFO, process, describe(text, details))

    def report_now(self, kind: EventType, process: str, draft: EventDraft) -> UUID:
        """As ``Kernel.report_now``."""
        self._check_open()
        return self._kernel.report_now(kind, process, draft)

    def ask(self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]) -> Action:
        """As ``Kernel.ask``; an interrupt (Ctrl-C) withdraws the incident."""
        return self._call(self._kernel.ask(error, process=process, **details))

    def on_requeue(self, process: str, handler: Callable[[Message], object]) -> None:
        """As ``Kernel.on_requeue``; ``handler`` runs in a thread of its own."""
        self._check_open()
        self._loop.call_soon_threadsafe(self._kernel.on_requeue, process, handler)

    def flush(self, timeout_s: float) -> None:
        """As ``Kernel.flush``."""
        self._call(self._kernel.flush(timeout_s))

    def close(self) -> None:
        """Close the client; unacknowledged messages stay in the journal.

        If something is unsent, this waits for the first connection, at most ``close_wait_s`` (of ``Kernel``).
        """
        atexit.unregister(self.close)
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        closing = asyncio.run_coroutine_threadsafe(self._kernel.__aexit__(None, None, None), self._loop)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            closing.result(CLOSE_S + self._kernel.close_wait_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, frames: object) -> None:
        self.notify_failure(exc)
        self.close()

    def _start(self, create: Callable[[], Kernel]) -> None:
        super().__init__()
        self._pid = os.getpid()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="error kernel", daemon=True)
        self._thread.start()

        async def begin() -> Kernel:
            return await create().__aenter__()

        try:
            self._kernel = self._call(begin())
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        atexit.register(self.close)

    def _run(self) -> None:
        threads.mark_current()
        self._loop.run_forever()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, R]) -> R:
        try:
            self._check_open()
        except NodeError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise NodeError("This BlockingKernel belongs to the process that forked this one. Create a new one here.")
        if self._closed:
            raise NodeError("This BlockingKernel is closed.")
