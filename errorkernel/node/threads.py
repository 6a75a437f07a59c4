"""One thread for the journal's blocking calls, so that a disk that takes its time does not hold the event loop up.

Not ``concurrent.futures``: its threads are joined before a program's exit handlers run, and refuse work from then on,
which is exactly when the last reports are written.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_here = threading.local()


def mark_current() -> None:
    """The current thread does the error kernel's own work."""
    _here.ours = True


def is_current_marked() -> bool:
    """Whether the current thread does. What goes wrong there must not be reported by what went wrong."""
    return getattr(_here, "ours", False)


class OwnThread:
    """Calls run one after the other, in the order in which they were given."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``function`` returns or raises. Once given, it runs to its end, also when the caller is cancelled."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def call() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:
                _tell(loop, _set, done, done.set_exception, exc)
            else:
                _tell(loop, _set, done, done.set_result, result)

        self._calls.put(call)
        return await done

    def close(self) -> None:
        """End after what was given so far."""
        self._calls.put(None)

    def _work(self) -> None:
        mark_current()
        while call := self._calls.get():
            call()


def _set(done: "asyncio.Future[Any]", setter: Callable[[Any], None], value: Any) -> None:
    if not done.done():
        setter(value)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(callback, *args)
