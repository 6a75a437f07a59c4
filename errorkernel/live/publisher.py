"""Publishes committed changes to the web processes.

The channel layer carries each update to one hub per web process (``errorkernel.live.hub``), which makes frames of it
for its sockets. An update can be lost (a full channel drops silently, a membership expires). Its numbers make every gap
visible, and the hub fills the gap from the database.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Sequence
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
FRAME_INTERVAL_S = 0.015
ROW_INTERVAL_S = 0.0002
CARD_INTERVAL_S = 0.003
"""From one frame to the next: at least the first; for each row or card that the hubs render, more. Rendering competes
with storing events for the processor: at most 5,000 rows a second are rendered, at 55 µs each."""
FRAME_ROWS = 50
BACKLOG_ROWS = 500
"""Up to this many waiting rows are all shown, a frame after another. Beyond it, a storm begins."""
STORM_INTERVAL_S = 0.1
STORM_ROWS = 20
"""In a storm, a frame shows the newest of all waiting rows: nobody reads 500 a second."""
STORM_ENDS_ROWS = 100
"""The storm ends when no more rows than this have come since its last frame."""

_encode_rows = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[EventRow]).decode


class Update(msgspec.Struct, frozen=True):
    """What was committed: the events ``first`` … ``last``, of which ``skipped`` are not among ``rows``; incidents that
    changed; and whether the triage has changed otherwise, by a take of a problem or a bulk decision. Without events no
    number is covered, and a hub puts in its own position."""

    first: int = 1
    last: int = 0
    rows: Sequence[EventRow] = ()
    skipped: int = 0
    changed: Collection[UUID] = ()
    triage: bool = False


def joined(updates: Sequence[Update]) -> Update:
    """One update for several whose numbers follow each other; it shows the newest rows, as in a storm."""
    rows = [row for update in updates for row in update.rows]
    shown = rows[-STORM_ROWS:]
    skipped = sum(update.skipped for update in updates) + len(rows) - len(shown)
    changed = {incident for update in updates for incident in update.changed}
    triage = any(update.triage for update in updates)
    return Update(updates[0].first, updates[-1].last, shown, skipped, changed, triage)


class Announcer:
    """Collects what a kernel worker has committed and sends it out: at once when idle, then in steps
    that grow with what is shown."""

    def __init__(self) -> None:
        self._rows: list[EventRow] = []
        self._changed: set[UUID] = set()
        self._triage = False
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._is_storm = False
        self._unstored = 0

    def add(
        self, rows: list[EventRow], changed: Iterable[UUID], *, unstored: int | None = None, triage: bool = False
    ) -> None:
        """Announce these; returns at once. ``unstored``: events that wait to be stored; while there are many, rendering
        leaves them the processor. ``triage``: whether a bulk decision changed its state."""
        self._rows += rows
        self._unstored = self._unstored if unstored is None else unstored
        self._changed.update(changed)
        self._triage = self._triage or triage
        if self._rows or self._changed or self._triage:
            self._wake.set()
        if self._changed or self._triage:
            self._urgent.set()

    async def run(self) -> None:
        """Send while the worker runs. A changed incident is sent at once, and so is a single event; many events go in
        steps, with their pauses between them."""
        while True:
            await self._wake.wait()
            started = time.monotonic()
            self._wake.clear()
            self._urgent.clear()
            update = self._take()
            if self._rows:
                self._wake.set()
            await _send(update)
            await asyncio.sleep(started + _cards_pause_s(update) - time.monotonic())
            rest_s = started + (STORM_INTERVAL_S if self._is_storm else _rows_pause_s(update)) - time.monotonic()
            try:
                await asyncio.wait_for(self._urgent.wait(), rest_s)
            except TimeoutError:
                pass

    def _take(self) -> Update:
        """The next update. It covers one unbroken run of numbers; in a storm, it shows the end of it."""
        changed, self._changed = self._changed, set()
        triage, self._triage = self._triage, False
        run = 0
        while run < len(self._rows) and self._rows[run].seq == self._rows[0].seq + run:
            run += 1
        if not run:
            return Update(changed=changed, triage=triage)
        shown_completely = STORM_ENDS_ROWS if self._is_storm else BACKLOG_ROWS
        self._is_storm = run > (STORM_ROWS if self._unstored > BACKLOG_ROWS else shown_completely)
        count = run if self._is_storm else min(run, FRAME_ROWS)
        taken, self._rows = self._rows[:count], self._rows[count:]
        shown = taken[-STORM_ROWS:] if self._is_storm else taken
        return Update(taken[0].seq, taken[-1].seq, shown, count - len(shown), changed, triage)


def _rows_pause_s(update: Update) -> float:
    return max(FRAME_INTERVAL_S, len(update.rows) * ROW_INTERVAL_S)


def _cards_pause_s(update: Update) -> float:
    """A single incident waits for no other; many that change together come in steps too."""
    return min(len(update.changed) * CARD_INTERVAL_S, STORM_INTERVAL_S)


def decode_update(message: dict[str, Any]) -> Update:
    """A message of the channel layer's ``GROUP``."""
    changed = [UUID(incident) for incident in message["changed"]]
    return Update(
        message["first"], message["last"], _decode_rows(message["rows"]), message["skipped"], changed, message["triage"]
    )


async def _send(update: Update) -> None:
    """Send an update to the channel layer. If that fails, hubs read the data from the database a second later."""
    message: dict[str, Any] = {
        "type": "live.update",
        "first": update.first,
        "last": update.last,
        "rows": _encode_rows([row.shortened() for row in update.rows]),
        "skipped": update.skipped,
        "changed": [str(incident) for incident in update.changed],
        "triage": update.triage,
    }
    try:
        await get_channel_layer().group_send(GROUP, message)
    except Exception:
        log.exception("The channel layer did not accept an update; browsers get it from the database")


def announce_incidents(incident_ids: Iterable[UUID], *, triage: bool = False) -> None:
    """``announce_incidents_async`` from synchronous code, after the commit."""
    async_to_sync(announce_incidents_async)(incident_ids, triage=triage)


async def announce_incidents_async(incident_ids: Iterable[UUID], *, triage: bool = False) -> None:
    """Announce changed incidents to the hubs, and wake kernels elsewhere: the outbox may hold something for them.
    ``triage``: a take of a problem or a bulk decision has changed."""
    changed = set(incident_ids)
    if changed and not is_published_here():
        await _wake_kernel()
    if changed or triage:
        await _send(Update(changed=changed, triage=triage))


async def _wake_kernel() -> None:
    """Wake a kernel worker for its outbox. If the message is lost, its next read finds the rows."""
    try:
        await get_channel_layer().send(KERNEL_CHANNEL, {"type": "outbox.wake"})
    except ChannelFull:
        pass
    except Exception:
        log.exception("The channel layer did not accept a wake-up for the kernel")
