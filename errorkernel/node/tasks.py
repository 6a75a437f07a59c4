"""Ending tasks for certain.

One cancellation is not always enough: Python 3.11's ``asyncio.wait_for`` swallows one that arrives just when what it
waits for is done (CPython issue 86296), and then the task goes on as if nothing had been.
So what has not ended after a moment is cancelled again.
"""

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_S = 1.5
TIMES = 4


async def end_all(tasks: "Collection[asyncio.Task[Any]]", *, first_s: float = 0.0) -> bool:
    """Cancel these until they have ended; False where some would not.

    ``first_s``: how long they may take to end by themselves.
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
