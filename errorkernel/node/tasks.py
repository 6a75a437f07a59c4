"""Background tasks: running them again after a fault, and cancelling them for certain."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from errorkernel.node.errors import JournalError

log = logging.getLogger("errorkernel.node")

PAUSE_FIRST_S = 1.0
PAUSE_LAST_S = 30.0
CANCEL_AGAIN_S = 1.5
CANCEL_TIMES = 4


async def keep_running(part: Callable[[], Awaitable[None]]) -> None:
    """Run ``part`` until it is cancelled. A fault is logged; the next run starts after a growing pause."""
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            await part()
        except JournalError as exc:
            log.error("%s Next try in %.0f s.", exc, pause_s)
        except Exception:
            log.exception("A background task of the client failed; it starts again in %.0f s", pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_LAST_S)


async def wait_at_most(event: asyncio.Event, timeout_s: float | None) -> None:
    """Wait for the event, or until the time has passed; None: for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def cancel_all(tasks: "Collection[asyncio.Task[Any]]", *, first_s: float = 0.0) -> bool:
    """Cancel these tasks until they have ended; False where some have not.

    ``first_s``: how long they may take to end by themselves. One cancellation is not always enough: Python 3.11's
    ``asyncio.wait_for`` swallows one that arrives when the inner task is just done (CPython issue 86296).
    """
    left: set[asyncio.Task[Any]] = {task for task in tasks if not task.done()}
    if left and first_s:
        _, left = await asyncio.wait(left, timeout=first_s)
    for _ in range(CANCEL_TIMES):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    return not left
