"""Tasks of the client: ones that run again after a fault, and ending them for certain."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from errorkernel.node.errors import JournalError

log = logging.getLogger("errorkernel.node")

PAUSE_FIRST_S = 1.0
PAUSE_LAST_S = 30.0
AGAIN_S = 1.5
TIMES = 4


async def survive(part: Callable[[], Awaitable[None]]) -> None:
    """Run ``part`` until it is cancelled. A fault is logged; the next run starts after a growing pause."""
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            await part()
        except JournalError as exc:
            log.error("%s Tried again in %.0f s.", exc, pause_s)
        except Exception:
            log.exception("A part of the error kernel's client failed; it starts again in %.0f s", pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, PAUSE_LAST_S)


async def end_all(tasks: "Collection[asyncio.Task[Any]]", *, first_s: float = 0.0) -> bool:
    """Cancel these tasks until they have ended; False where some have not.

    ``first_s``: how long they may take to end by themselves. One cancellation is not always enough: Python 3.11's
    ``asyncio.wait_for`` swallows one that arrives when the inner task is just done (CPython issue 86296).
    """
    left: set[asyncio.Task[Any]] = {task for task in tasks if not task.done()}
    if left and first_s:
        _, left = await asyncio.wait(left, timeout=first_s)
    for _ in range(TIMES):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    return not left
