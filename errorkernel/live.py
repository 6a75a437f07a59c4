"""The one place that pushes. It is called after the commit, with what the commit changed.

A frame is built and encoded once; the channel layer carries it to one hub per web process (``errorkernel.hub``), which
fans it out. Frames can get lost on that way (a full channel drops silently, a membership expires): the numbers in them
make every gap visible, and the hub closes it from the database.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from errorkernel import frames
from errorkernel.frames import Frame
from errorkernel.store import incidents as store
from errorkernel.store.rows import EventRow
from errorkernel.threads import DatabaseThreads

log = logging.getLogger("errorkernel.live")

GROUP = "live"
KERNEL_CHANNEL = "error-kernel"
FRAME_INTERVAL_S = 0.1
FRAME_ROWS = 50
STORM_ROWS = 20
"""Rows of a frame in a storm: nobody reads 500 a second, and they are rendered on the processor that stores them."""
BACKLOG_ROWS = 500
"""Up to this many waiting rows are all shown, a frame after another; beyond it only the newest of them are."""


class Announcer:
    """Collects what a kernel worker has committed and sends it out, at most ten frames a second."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._rows: list[EventRow] = []
        self._changed: set[UUID] = set()
        self._wake = asyncio.Event()

    def add(self, rows: list[EventRow], changed: Iterable[UUID]) -> None:
        """Announce these; returns at once."""
        self._rows += rows
        self._changed.update(changed)
        if self._rows or self._changed:
            self._wake.set()

    async def run(self) -> None:
        """Send for as long as the worker lives. A lone event goes out at once, a flood in steps."""
        while True:
            await self._wake.wait()
            started = time.monotonic()
            self._wake.clear()
            rows, skipped = self._take()
            changed, self._changed = self._changed, set()
            frame = await self._threads.run(_render, rows, skipped, changed)
            if self._rows:
                self._wake.set()
            await send(frame)
            await asyncio.sleep(max(0.0, FRAME_INTERVAL_S - (time.monotonic() - started)))

    def _take(self) -> tuple[list[EventRow], int]:
        """The rows of the next frame, and how many before them are left out. A frame covers one unbroken run."""
        run = 0
        while run < len(self._rows) and self._rows[run].seq == self._rows[0].seq + run:
            run += 1
        if run > BACKLOG_ROWS:
            # The first row stays for its number: the frame covers the whole run and shows the end of it.
            taken, self._rows = self._rows[:run], self._rows[run:]
            return [taken[0], *taken[-STORM_ROWS:]], run - STORM_ROWS
        taken, self._rows = self._rows[: min(run, FRAME_ROWS)], self._rows[min(run, FRAME_ROWS) :]
        return taken, 0


def _render(rows: list[EventRow], skipped: int, changed: set[UUID]) -> Frame:
    cards = frames.load_cards(changed) if changed else []
    waiting = store.waiting_count() if changed else None
    if not rows:
        # No number is covered: the hub puts in its own position, which is the only one that fits.
        return frames.build([], first=1, last=0, cards=cards, waiting=waiting)
    first, last = rows[0].seq, rows[-1].seq
    return frames.build(
        rows[1:] if skipped else rows, first=first, last=last, skipped=skipped, cards=cards, waiting=waiting
    )


async def send(frame: Frame) -> None:
    """Hand a frame to the channel layer. A layer that fails costs a second, no data: hubs look into the database."""
    layer = get_channel_layer()
    message: dict[str, Any] = {
        "type": "live.frame",
        "first": frame.first,
        "last": frame.last,
        "skipped": frame.skipped,
        "changes": [list(change) for change in frame.changes],
        "text": frame.text,
    }
    try:
        await layer.group_send(GROUP, message)
    except Exception:
        log.exception("The channel layer did not take a frame; browsers get it from the database")


def announce_incidents(incident_ids: Iterable[UUID]) -> None:
    """Wake the kernel's outbox and push the cards of changed incidents. From synchronous code, after the commit."""
    changed = set(incident_ids)
    if changed:
        # In this order: a process waits for the answer, and to draw its card takes longer than to send it.
        async_to_sync(wake_kernel)()
        async_to_sync(send)(_render([], 0, changed))


async def announce_incidents_async(incident_ids: Iterable[UUID], threads: DatabaseThreads) -> None:
    """As ``announce_incidents``, from asynchronous code."""
    changed = set(incident_ids)
    if changed:
        await wake_kernel()
        await send(await threads.run(_render, [], 0, changed))


async def wake_kernel() -> None:
    """Tell a kernel worker that the outbox has something. Lost wake-ups cost a moment: it looks by itself too."""
    try:
        await get_channel_layer().send(KERNEL_CHANNEL, {"type": "outbox.wake"})
    except ChannelFull:
        pass
    except Exception:
        log.exception("The channel layer did not take a wake-up for the kernel")
