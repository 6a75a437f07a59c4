"""Threads of the client: one that runs blocking calls in order, and a mark for threads that do the client's own work.

``concurrent.futures`` does not fit: its threads are joined before the exit handlers of a program run, and refuse work
from then on. The last events are written by exit handlers.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_current = threading.local()


def mark_current() -> None:
    """The current thread does the client's own work: its log records are not reported."""
    _current.is_marked = True


def is_current_marked() -> bool:
    return getattr(_current, "is_marked", False)


class SerialThread:
    """Runs calls one after the other, in the order in which they were given."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns or raises what ``function`` does. The call runs to its end, even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def call() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:
                _call_in_loop(loop, _set, done, done.set_exception, exc)
            else:
                _call_in_loop(loop, _set, done, done.set_result, result)

        self._calls.put(call)
        return await done

    def close(self) -> None:
        """End after the calls that were given so far."""
        self._calls.put(None)

    def _work(self) -> None:
        mark_current()
        while call := self._calls.get():
            call()


def _set(done: "asyncio.Future[Any]", setter: Callable[[Any], None], value: Any) -> None:
    if not done.done():
        setter(value)


def _call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(callback, *args)
