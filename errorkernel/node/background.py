"""What runs in the background of a program goes on whatever it meets: its faults must not end the program."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from errorkernel.node.errors import JournalError

log = logging.getLogger("errorkernel.node")

PAUSE_FIRST_S = 1.0
PAUSE_LAST_S = 30.0


async def survive(part: Callable[[], Awaitable[None]]) -> None:
    """Run ``part`` again and again, with longer and longer pauses, until it is cancelled."""
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
