"""One hub per web process: makes frames of the channel layer's news and fans them out to this process's sockets.

A frame is built and encoded once for all of them, and not at all while nobody watches.

A socket has a bounded queue; one that cannot keep up is closed and comes back with the last number that it has seen,
so a slow browser never holds up the others and never misses anything. Frames reach the sockets in order and without
gap: what the layer lost is read from the database, where everything with a smaller number is already committed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from channels.layers import get_channel_layer

from errorkernel.live import frames
from errorkernel.live.frames import Frame
from errorkernel.live.publisher import FRAME_ROWS, GROUP, News
from errorkernel.live.publisher import read as read_news
from errorkernel.models import Counter, Incident
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import counters
from errorkernel.store.status import system_status

log = logging.getLogger("errorkernel.live")

QUEUE_FRAMES = 100
CHECK_INTERVAL_S = 1.0
STATUS_INTERVAL_S = 5.0
TRANSLATED_KEPT_S = 5.0
REJOIN_INTERVAL_S = 3600.0
"""Group memberships expire after a day; ours is renewed long before."""


class Subscriber:
    """A socket's place in the hub: frames with numbers above ``position`` arrive in ``queue``."""

    def __init__(self, position: int) -> None:
        self.position = position
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
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        self._translated: dict[tuple[str, tuple[tuple[str, int], ...]], asyncio.Task[dict[str, Any]]] = {}

    async def join(self) -> Subscriber:
        """Take part from the present position on."""
        await self._start()
        subscriber = Subscriber(self._position)
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
        """The frame with its cards in ``language``; they are rendered once for all who read it."""
        if not frame.changes:
            return frame
        key = (language, frame.changes)
        task = self._translated.get(key)
        if task is None:
            task = asyncio.create_task(self.threads.run(frames.cards_in, language, frame.changes))
            self._translated[key] = task
            asyncio.get_running_loop().call_later(TRANSLATED_KEPT_S, self._translated.pop, key, None)
        return frames.with_cards(frame, await asyncio.shield(task))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.threads.close()

    async def _start(self) -> None:
        async with self._starting:
            if not self._tasks:
                self._position, self._change = await self.threads.run(_numbers)
                self._tasks = [
                    asyncio.create_task(self._forever(self._listen), name="live hub: listen"),
                    asyncio.create_task(self._forever(self._check), name="live hub: check"),
                    asyncio.create_task(self._forever(self._tell_status), name="live hub: status"),
                ]

    async def _forever(self, what: Callable[[], Any]) -> None:
        """A layer or a database that fails for a while must not end the live pages for good."""
        while True:
            try:
                await what()
            except Exception:
                log.exception("The live hub met an error and goes on")
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
                            await self._take(read_news(await layer.receive(channel)))
                except TimeoutError:
                    continue
        finally:
            await layer.group_discard(GROUP, channel)

    async def _take(self, news: News) -> None:
        self._wake(news.changed)
        async with self._ordering:
            if self._subscribers:
                frame, more = await self.threads.run(_frame, news)
                await self._deliver(frame)
                await self._deliver_cards(more)
            else:
                # What changed is not numbered here: the check reads how far that is.
                self._moved_to(news.last)

    def _wake(self, changed: Iterable[UUID]) -> None:
        for incident in changed:
            for waiter in self._waiters.get(incident, ()):
                waiter.set()

    def _moved_to(self, position: int) -> None:
        if position > self._position:
            self._position = position
            self._moved = True

    async def _deliver(self, frame: Frame) -> None:
        """Put a frame in its place in the row of numbers, and hand it out."""
        if frame.first > frame.last:
            frame = self._renumber(frame, [])
        elif frame.first > self._position + 1:
            # Whatever has a smaller number is committed: the gap can be closed at once.
            await self._fill(frame.first - 1)
        if frame.first <= self._position and frame.last > self._position:
            frame = self._renumber(frame, [one for one in frame.events() if one["seq"] > self._position])
        elif 0 < frame.last <= self._position and frame.first <= frame.last:
            if not frame.changes:
                return
            frame = self._renumber(frame, [])
        self._hand_out(frame)

    async def _deliver_cards(self, cards: Sequence[Incident], waiting: int | None = None) -> None:
        """Hand these out, a frame after another; sockets take one while the next is made, so their queues hold."""
        for start in range(0, len(cards), frames.FRAME_CARDS):
            lot, position = cards[start : start + frames.FRAME_CARDS], self._position
            await self._deliver(
                await self.threads.run(frames.build, [], first=position + 1, last=position, cards=lot, waiting=waiting)
            )

    def _renumber(self, frame: Frame, events: list[dict[str, Any]]) -> Frame:
        """The same frame from our position on."""
        body = frame.body()
        last = max(frame.last, self._position)
        return frames.assemble(
            events,
            first=self._position + 1,
            last=last,
            skipped=max(0, last - self._position - len(events)),
            cards=body["incidents"],
            waiting=body["counts"].get("waiting"),
        )

    async def _fill(self, last: int) -> None:
        first = self._position + 1
        self._hand_out(await self.threads.run(frames.from_store, first, last, FRAME_ROWS))

    def _hand_out(self, frame: Frame) -> None:
        self._moved_to(frame.last)
        for piece in frames.pieces(frame):
            for subscriber in self._subscribers:
                subscriber.put(piece)
        for _, change in frame.changes:
            # Out of order, the number stays where it is, and the next check reads what is missing.
            if change == self._change + 1:
                self._change = change

    async def _check(self) -> None:
        """The safety net below the layer: what is committed and did not come by frame is read and handed out."""
        while True:
            self._moved = False
            await asyncio.sleep(CHECK_INTERVAL_S)
            events, changes = await self.threads.run(_numbers)
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
        self._wake(one.pk for one in changed)
        self._change = max(self._change, changed[-1].change)
        if self._subscribers:
            await self._deliver_cards(changed, await self.threads.run(decisions.waiting_count))

    async def _tell_status(self) -> None:
        while True:
            if self._subscribers:
                status = await self.threads.run(read_status)
                position = self._position
                self._hand_out(frames.assemble([], first=position + 1, last=position, extra={"status": status}))
            await asyncio.sleep(STATUS_INTERVAL_S)


def _frame(news: News) -> tuple[Frame, list[Incident]]:
    """The news' frame, and the changed incidents for which it has no room."""
    changed = frames.load_cards(news.changed) if news.changed else []
    waiting = decisions.waiting_count() if news.changed else None
    cards, more = changed[: frames.FRAME_CARDS], changed[frames.FRAME_CARDS :]
    frame = frames.build(
        news.rows, first=news.first, last=news.last, skipped=news.skipped, cards=cards, waiting=waiting
    )
    return frame, more


def read_status() -> dict[str, Any]:
    """How fresh the picture is: the youngest kernel heartbeat, the broker as the kernel sees it, late nodes."""
    now = system_status.read(datetime.now(UTC))
    return {
        "kernel_age_s": None if now.kernel_age_s is None else round(now.kernel_age_s, 1),
        "broker": now.broker,
        "lag": now.lag,
        "nodes": now.nodes,
        "nodes_late": now.missing,
        "nodes_gone": now.gone,
    }


def _numbers() -> tuple[int, int]:
    return counters.current(Counter.EVENTS), counters.current(Counter.CHANGES)


_hub: Hub | None = None


def hub() -> Hub:
    """This process's hub."""
    global _hub
    if _hub is None:
        _hub = Hub()
    return _hub
