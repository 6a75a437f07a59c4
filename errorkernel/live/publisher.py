"""The one place that pushes. It is called after the commit, with what the commit changed.

The channel layer carries what is new to one hub per web process (``errorkernel.live.hub``), which makes frames of it
where somebody watches. It can get lost on that way (a full channel drops silently, a membership expires): the numbers
in it make every gap visible, and the hub closes it from the database.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.platform.enqueue import is_published_here

log = logging.getLogger("errorkernel.live")

GROUP = "live"
KERNEL_CHANNEL = "error-kernel"
FRAME_INTERVAL_S = 0.1
FRAME_ROWS = 50
STORM_ROWS = 20
"""Rows of a frame in a storm: nobody reads 500 a second, and they are rendered on the processor that stores them."""
BACKLOG_ROWS = 500
"""Up to this many waiting rows are all shown, a frame after another; beyond it only the newest of them are."""

_encode_rows = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[EventRow]).decode


class News(msgspec.Struct):
    """What was committed: the events ``first`` … ``last``, of which ``skipped`` are not among ``rows``, and incidents
    that changed. Without events, ``first`` is ``last`` + 1."""

    first: int
    last: int
    rows: list[EventRow]
    skipped: int
    changed: list[UUID]


class Announcer:
    """Collects what a kernel worker has committed and sends it out, at most ten times a second."""

    def __init__(self) -> None:
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
            if self._rows:
                self._wake.set()
            await _send(rows, skipped, changed)
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


def read(message: dict[str, Any]) -> News:
    """A message of the channel layer's ``GROUP``."""
    changed = [UUID(one) for one in message["changed"]]
    return News(message["first"], message["last"], _decode_rows(message["rows"]), message["skipped"], changed)


async def _send(rows: Sequence[EventRow], skipped: int, changed: Iterable[UUID]) -> None:
    """Hand news to the channel layer. A layer that fails costs a second, no data: hubs look into the database."""
    message: dict[str, Any] = {
        "type": "live.news",
        # Without rows no number is covered: a hub puts in its own position, which is the only one that fits.
        "first": rows[0].seq if rows else 1,
        "last": rows[-1].seq if rows else 0,
        "rows": _encode_rows([row.shortened() for row in (rows[1:] if skipped else rows)]),
        "skipped": skipped,
        "changed": [str(one) for one in changed],
    }
    try:
        await get_channel_layer().group_send(GROUP, message)
    except Exception:
        log.exception("The channel layer did not take news; browsers get it from the database")


def announce_incidents(incident_ids: Iterable[UUID]) -> None:
    """``announce_incidents_async`` from synchronous code, after the commit."""
    async_to_sync(announce_incidents_async)(incident_ids)


async def announce_incidents_async(incident_ids: Iterable[UUID]) -> None:
    """Tell the hubs of changed incidents, and kernels elsewhere that something may be owed for them."""
    changed = set(incident_ids)
    if changed:
        if not is_published_here():
            await _wake_kernel()
        await _send([], 0, changed)


async def _wake_kernel() -> None:
    """Tell a kernel worker that something is owed to the broker. If that gets lost, its next look finds it."""
    try:
        await get_channel_layer().send(KERNEL_CHANNEL, {"type": "outbox.wake"})
    except ChannelFull:
        pass
    except Exception:
        log.exception("The channel layer did not take a wake-up for the kernel")
