"""The kernel's periodic work: deadlines, mutes, its own heartbeat and the retention."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from errorkernel.broker import streams
from errorkernel.broker.answer_watch import ANSWER_S
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerError
from errorkernel.kernel.clock_watch import ClockWatch
from errorkernel.kernel.stepped_work import PacedSteps
from errorkernel.live.publisher import Announcer
from errorkernel.platform import metrics
from errorkernel.platform.clocks import Clocks, SystemClocks
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects
from errorkernel.store import kernel_heartbeats, problem_maintenance, rollups
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import broker_streams, deadline_hold, name_retention, repeated_requests, retention
from errorkernel.store.platform.name_retention import NameSweep

DEADLINES_INTERVAL_S = 0.5
DEADLINES_AT_ONCE = 20
LIVENESS_INTERVAL_S = 1.0
MUTES_INTERVAL_S = 5.0
HEARTBEAT_INTERVAL_S = 2.0
HOUSEKEEPING_INTERVAL_S = 60.0
HOUSEKEEPING_PAUSE_S = 0.2


class Prune(Protocol):
    def __call__(self, *, now: datetime) -> int: ...


class Scheduler:
    """``trouble``: why the broker cannot store, see ``StorageProbe``; ``sender_prunes``: the retention of senders;
    ``clocks``: other clocks than the machine's, for tests."""

    def __init__(
        self,
        conf: Conf,
        connection: Connection,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        trouble: Callable[[], str],
        sender_prunes: Sequence[Prune] = (),
        clocks: Clocks | None = None,
    ) -> None:
        self._conf = conf
        self._connection = connection
        self._threads = threads
        self._deadlines = PacedSteps(threads)
        self._announcer = announcer
        self._clock = ClockWatch(clocks or SystemClocks(), threads)
        self._trouble = trouble
        self._sender_prunes = sender_prunes
        self._names = NameSweep(name_retention.keep_days(conf.names_keep_days, conf.retention_days))
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._started_at = datetime.now(UTC)

    async def keep_deadlines(self) -> None:
        """Decide or escalate incidents past their deadline, and count for how long processes are blocked."""
        counted_at = time.monotonic()
        met: list[UUID] = []
        while True:
            if len(met) < DEADLINES_AT_ONCE:
                await asyncio.sleep(DEADLINES_INTERVAL_S)
            met, waiting = await self._deadlines.run(_meet_deadlines, await self._clock.now())
            metrics.add_blocked_seconds(waiting * (time.monotonic() - counted_at))
            counted_at = time.monotonic()
            if met:
                self._announcer.add([], met)

    async def watch_nodes(self) -> None:
        """Mark pending incidents whose node sends no heartbeat, and remove the mark when it sends one again."""
        while True:
            await asyncio.sleep(LIVENESS_INTERVAL_S)
            now = await self._clock.now()
            self._announcer.add([], await self._threads.run(decisions.note_missing_nodes, now=now))

    async def end_mutes(self) -> None:
        """End mutes whose time is over, also of problems without new events."""
        while True:
            await asyncio.sleep(MUTES_INTERVAL_S)
            await self._threads.run(_end_mutes, await self._clock.now())

    async def write_heartbeats(self) -> None:
        """Store this worker's heartbeat with its connection to the broker and its lag."""
        while True:
            await self._clock.see()
            requested_at, status = datetime.now(UTC), await self._stream_status()
            if status:
                metrics.set_lag(status.waiting)
                metrics.set_stream_filled(subjects.EVENTS_STREAM, status.filled)
                await self._threads.run(
                    broker_streams.reaches,
                    subjects.EVENTS_STREAM,
                    made=status.made,
                    last=status.last,
                    requested_at=requested_at,
                )
            await self._threads.run(
                kernel_heartbeats.record,
                self._worker,
                started_at=self._started_at,
                lag=status.waiting if status else None,
                broker_error=self._trouble(),
                now=await self._clock.now(),
            )
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    async def _stream_status(self) -> streams.StreamStatus | None:
        if not self._connection.is_ready:
            # A new connection is first checked for lost messages, by the last known number of waiting ones.
            return None
        try:
            return await streams.stream_status(self._connection, subjects.EVENTS_STREAM, timeout_s=ANSWER_S)
        except BrokerError:
            return None

    async def prune(self) -> None:
        """Delete rows past their retention in steps, with pauses for the intake between them."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            while await self._threads.run(self._prune, await self._clock.now()):
                await asyncio.sleep(HOUSEKEEPING_PAUSE_S)

    def _prune(self, now: datetime) -> int:
        if deadline_hold.held_since():
            return 0  # rows would be deleted by a clock that may be wrong
        retention.prune_heartbeats(now=now)
        removed = retention.prune_rejected_events(keep=self._conf.quarantine_keep) + rollups.prune(now=now)
        removed += sum(prune(now=now) for prune in self._sender_prunes) + self._names.step(now=now)
        removed += repeated_requests.prune(now=now)
        return removed + retention.prune_events(
            days=self._conf.retention_days, keep=self._conf.retention_events, now=now
        )


def _end_mutes(now: datetime) -> None:
    if deadline_hold.held_since() is None:
        problem_maintenance.end_mutes(now=now)


def _meet_deadlines(now: datetime) -> tuple[list[UUID], int]:
    held = deadline_hold.held_since() is not None
    due = decisions.past_deadline(now=now, limit=DEADLINES_AT_ONCE, held=held)
    for incident in due:
        decisions.meet_deadline(incident, now=now, held=held)
    return [incident.pk for incident in due], decisions.waiting_count()
