"""One hub per web process: makes frames of the channel layer's updates and fans them out to this process's sockets.

A frame is rendered once for all sockets, and not at all without one.

Each socket has a bounded queue. A socket that cannot keep up is closed, and its browser reconnects with its last
number, so a slow browser never delays the others and misses nothing. Frames reach the sockets in order and without
gaps: lost updates are read from the database, where all smaller numbers are already committed.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from errorkernel.live import rendering, triage_frames
from errorkernel.live.frames import FRAME_CARDS, Frame, TriageFrame
from errorkernel.live.publisher import FRAME_ROWS, GROUP, Update, decode_update, joined
from errorkernel.models import Counter, Incident
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import counters

log = logging.getLogger("errorkernel.live")

QUEUE_FRAMES = 500
"""Frames of several seconds. All queues share the frames themselves."""
BEHIND_UPDATES = 10
"""With so many updates that are not rendered yet, the machine is too slow to show every row."""
CHECK_INTERVAL_S = 1.0
STATUS_INTERVAL_S = 5.0
TRIAGE_INTERVAL_S = 0.5
"""From one triage frame to the next, at least: many changes are one frame …"""
TRIAGE_PAUSE_TIMES = 5
"""… and at least so many times as long as it took to read."""
REJOIN_INTERVAL_S = 3600.0
"""Group memberships expire after a day; ours is renewed long before."""


class Subscriber:
    """A socket's place in the hub: frames with numbers above ``position`` arrive in ``queue``. ``triage``: so do those
    of the triage."""

    def __init__(self, position: int, *, triage: bool) -> None:
        self.position = position
        self.triage = triage
        self.queue: asyncio.Queue[Frame] = asyncio.Queue(QUEUE_FRAMES)
        self.overrun = False

    def put(self, frame: Frame) -> None:
        try:
            self.queue.put_nowait(frame)
        except asyncio.QueueFull:
            if not self.overrun:
                self.overrun = True
                metrics.count_live_dropped()


class Hub:
    """Made on first use, in the event loop that uses it."""

    def __init__(self) -> None:
        self.threads = DatabaseThreads("live", 2)
        self._subscribers: set[Subscriber] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()
        # Frames and the check both read the position, wait for the database, and move it: one at a time.
        self._ordering = asyncio.Lock()
        self._position = 0
        self._change = 0
        self._moved = False
        self._triage: TriageFrame | None = None
        self._triage_changed = asyncio.Event()
        self._updates: deque[Update] = deque()
        self._arrived = asyncio.Event()
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        self._translations: WeakKeyDictionary[Frame, dict[str, asyncio.Task[Frame]]] = WeakKeyDictionary()

    async def join(self, *, triage: bool = False) -> Subscriber:
        """Subscribe from the present position on. ``triage``: the first frame of the triage has all of it."""
        await self._start()
        subscriber = Subscriber(self._position, triage=triage)
        self._subscribers.add(subscriber)
        metrics.set_live_clients(len(self._subscribers))
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        metrics.set_live_clients(len(self._subscribers))

    async def wait_incident(self, incident_id: UUID, timeout_s: float) -> None:
        """Return when that incident changes, or after ``timeout_s``."""
        await self._start()
        changed = asyncio.Event()
        self._waiters.setdefault(incident_id, set()).add(changed)
        try:
            await asyncio.wait_for(changed.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            waiters = self._waiters[incident_id]
            waiters.discard(changed)
            if not waiters:
                del self._waiters[incident_id]

    async def in_language(self, frame: Frame, language: str) -> Frame:
        """The frame with its cards in ``language``; it is rendered and encoded once per language."""
        if not frame.cards:
            return frame
        of_frame = self._translations.setdefault(frame, {})
        if language not in of_frame:
            of_frame[language] = asyncio.create_task(self.threads.run(rendering.translate, frame, language))
        return await asyncio.shield(of_frame[language])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.threads.close()

    async def _start(self) -> None:
        async with self._starting:
            if not self._tasks:
                self._position, self._change = await self.threads.run(_read_counters)
                self._tasks = [
                    asyncio.create_task(self._forever(self._listen), name="live hub: listen"),
                    asyncio.create_task(self._forever(self._take_all), name="live hub: take"),
                    asyncio.create_task(self._forever(self._check), name="live hub: check"),
                    asyncio.create_task(self._forever(self._send_status), name="live hub: status"),
                    asyncio.create_task(self._forever(self._send_triage), name="live hub: triage"),
                ]

    async def _forever(self, what: Callable[[], Any]) -> None:
        """Repeat ``what``: a layer or a database that fails for a while must not end the live updates."""
        while True:
            try:
                await what()
            except Exception:
                log.exception("The live hub failed; it continues")
                await asyncio.sleep(CHECK_INTERVAL_S)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel("live")
        try:
            while True:
                await layer.group_add(GROUP, channel)
                try:
                    async with asyncio.timeout(REJOIN_INTERVAL_S):
                        while True:
                            update = decode_update(await layer.receive(channel))
                            self._wake(update.changed)
                            if update.changed or update.triage:
                                self._triage_changed.set()
                            if update.changed or update.first <= update.last:
                                self._updates.append(update)
                                self._arrived.set()
                except TimeoutError:
                    continue
        finally:
            await layer.group_discard(GROUP, channel)

    async def _take_all(self) -> None:
        while True:
            while self._updates:
                await self._take(self._next_update())
            self._arrived.clear()
            await self._arrived.wait()

    def _next_update(self) -> Update:
        """The oldest update; where rendering is far behind, with those that follow it, in the form of a storm."""
        updates = [self._updates.popleft()]
        if len(self._updates) >= BEHIND_UPDATES and updates[0].last:
            while self._updates and self._updates[0].first == updates[-1].last + 1:
                updates.append(self._updates.popleft())
        return updates[0] if len(updates) == 1 else joined(updates)

    async def _take(self, update: Update) -> None:
        async with self._ordering:
            if self._subscribers:
                rendered = await self.threads.run(_render, update)
                await self._deliver(rendered.frame)
                await self._deliver_cards(rendered.left)
            else:
                # The numbers of changes are not known here: the check reads them.
                self._moved_to(update.last)

    def _wake(self, changed: Iterable[UUID]) -> None:
        for incident in changed:
            for waiter in self._waiters.get(incident, ()):
                waiter.set()

    def _moved_to(self, position: int) -> None:
        if position > self._position:
            self._position = position
            self._moved = True

    async def _deliver(self, frame: Frame) -> None:
        """Renumber a frame for the present position and send it to the sockets."""
        if frame.has_numbers and frame.first > self._position + 1:
            # All smaller numbers are committed, so the gap can be filled at once.
            await self._fill(frame.first - 1)
        if frame.has_numbers and frame.last <= self._position and not frame.cards:
            return
        if not frame.has_numbers or frame.first <= self._position:
            frame = frame.after(self._position)
        self._hand_out(frame)

    async def _deliver_cards(self, cards: Sequence[Incident], pending: int | None = None) -> None:
        """Send these in several frames; sockets take one while the next is rendered, so their queues do not fill."""
        for start in range(0, len(cards), FRAME_CARDS):
            lot = cards[start : start + FRAME_CARDS]
            await self._deliver(await self.threads.run(rendering.cards_frame, lot, self._position, pending))

    async def _fill(self, last: int) -> None:
        first = self._position + 1
        self._hand_out(await self.threads.run(rendering.from_store, first, last, FRAME_ROWS))

    def _hand_out(self, frame: Frame) -> None:
        self._moved_to(frame.last)
        for piece in frame.pieces():
            for subscriber in self._subscribers:
                subscriber.put(piece)
        for card in frame.cards:
            # Out of order, the number stays, and the next check reads what is missing.
            if card.change == self._change + 1:
                self._change = card.change

    async def _check(self) -> None:
        """Read what is committed and did not arrive through the layer, and send it."""
        while True:
            self._moved = False
            await asyncio.sleep(CHECK_INTERVAL_S)
            events, changes = await self.threads.run(_read_counters)
            async with self._ordering:
                if not self._subscribers:
                    self._moved_to(events)
                elif events > self._position and not self._moved:
                    await self._fill(events)
                if changes > self._change:
                    await self._fill_changes(changes)

    async def _fill_changes(self, last: int) -> None:
        if not (self._subscribers or self._waiters):
            self._change = last
            return
        changed = await self.threads.run(decisions.changed_since, self._change)
        if not changed:
            return
        self._wake(incident.pk for incident in changed)
        self._triage_changed.set()
        self._change = max(self._change, changed[-1].change)
        if self._subscribers:
            await self._deliver_cards(changed, await self.threads.run(decisions.waiting_count))

    async def _send_status(self) -> None:
        while True:
            if self._subscribers:
                status = await self.threads.run(rendering.read_status)
                self._hand_out(Frame(self._position + 1, self._position, status=status))
                # Rates, and canaries whose observation ends, change without an update.
                self._triage_changed.set()
            await asyncio.sleep(STATUS_INTERVAL_S)

    async def _send_triage(self) -> None:
        """Send what has changed to the sockets that want it; each gets all of it first."""
        while True:
            await self._triage_changed.wait()
            self._triage_changed.clear()
            wanting = [subscriber for subscriber in self._subscribers if subscriber.triage]
            if not wanting:
                self._triage = None
                continue
            began = time.monotonic()
            now = await self.threads.run(triage_frames.read)
            changes, self._triage = triage_frames.changed(self._triage, now), now
            if changes is not None:
                frame = Frame(self._position + 1, self._position, triage=changes)
                for subscriber in wanting:
                    subscriber.put(frame)
            took_s = time.monotonic() - began
            await asyncio.sleep(max(TRIAGE_INTERVAL_S, TRIAGE_PAUSE_TIMES * took_s))


class _Rendered(NamedTuple):
    """``left``: changed incidents for which the frame has no room."""

    frame: Frame
    left: list[Incident]


def _render(update: Update) -> _Rendered:
    changed = rendering.load_cards(update.changed) if update.changed else []
    frame = Frame(
        update.first,
        update.last,
        rows=rendering.render_rows(update.rows),
        skipped=update.skipped,
        cards=rendering.render_cards(changed[:FRAME_CARDS]),
        pending=decisions.waiting_count() if update.changed else None,
    )
    return _Rendered(frame, changed[FRAME_CARDS:])


class _Counters(NamedTuple):
    events: int
    changes: int


def _read_counters() -> _Counters:
    return _Counters(counters.current(Counter.EVENTS), counters.current(Counter.CHANGES))


_hub: Hub | None = None


def hub() -> Hub:
    """This process's hub."""
    global _hub
    if _hub is None:
        _hub = Hub()
    return _hub
