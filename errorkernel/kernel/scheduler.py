"""What the kernel does by the clock: deadlines, its own heartbeat, and keeping the database small."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerError
from errorkernel.kernel.stepped_work import PacedSteps
from errorkernel.live.publisher import Announcer
from errorkernel.platform import metrics
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects
from errorkernel.store import kernel_heartbeats, problem_maintenance, rollups
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import broker_streams, retention

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
    """``trouble``: why the broker cannot store, see ``StorageProbe``; ``sender_prunes``: the retention of senders."""

    def __init__(
        self,
        conf: Conf,
        connection: Connection,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        trouble: Callable[[], str],
        sender_prunes: Sequence[Prune] = (),
    ) -> None:
        self._conf = conf
        self._connection = connection
        self._threads = threads
        self._deadlines = PacedSteps(threads)
        self._announcer = announcer
        self._trouble = trouble
        self._sender_prunes = sender_prunes
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._started_at = datetime.now(UTC)

    async def keep_deadlines(self) -> None:
        """Answer or escalate what is past its deadline, and count how long processes have been standing still."""
        counted_at = time.monotonic()
        met: list[UUID] = []
        while True:
            if len(met) < DEADLINES_AT_ONCE:
                await asyncio.sleep(DEADLINES_INTERVAL_S)
            met, waiting = await self._deadlines.run(_meet_deadlines)
            metrics.add_blocked_seconds(waiting * (time.monotonic() - counted_at))
            counted_at = time.monotonic()
            if met:
                self._announcer.add([], met)

    async def watch_nodes(self) -> None:
        """Say on open incidents that their node has gone silent, and take it back when it is heard again."""
        while True:
            await asyncio.sleep(LIVENESS_INTERVAL_S)
            self._announcer.add([], await self._threads.run(decisions.note_missing_nodes, now=datetime.now(UTC)))

    async def end_mutes(self) -> None:
        """Show muted problems again when their time is over, also those that nothing is heard of."""
        while True:
            await asyncio.sleep(MUTES_INTERVAL_S)
            await self._threads.run(problem_maintenance.end_mutes, now=datetime.now(UTC))

    async def write_heartbeats(self) -> None:
        """Write that this worker lives, what it sees of the broker, and how far behind it is."""
        while True:
            requested_at, stands = datetime.now(UTC), await self._standing()
            if stands:
                metrics.set_lag(stands.waiting)
                await self._threads.run(
                    broker_streams.reaches,
                    subjects.EVENTS_STREAM,
                    made=stands.made,
                    last=stands.last,
                    requested_at=requested_at,
                )
            await self._threads.run(
                kernel_heartbeats.record,
                self._worker,
                started_at=self._started_at,
                lag=stands.waiting if stands else None,
                broker_error=self._trouble(),
                now=datetime.now(UTC),
            )
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    async def _standing(self) -> streams.StreamStatus | None:
        if not self._connection.is_ready:
            # On a new connection it is first looked whether something was lost, by what was last seen waiting.
            return None
        try:
            return await streams.stream_status(self._connection, subjects.EVENTS_STREAM)
        except BrokerError:
            return None

    async def prune(self) -> None:
        """Forget what the retention allows to, a step at a time with room for the intake between steps."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            while await self._threads.run(self._prune, datetime.now(UTC)):
                await asyncio.sleep(HOUSEKEEPING_PAUSE_S)

    def _prune(self, now: datetime) -> int:
        retention.prune_heartbeats(now=now)
        removed = retention.prune_rejected_events(keep=self._conf.quarantine_keep) + rollups.prune(now=now)
        removed += sum(prune(now=now) for prune in self._sender_prunes)
        return removed + retention.prune_events(
            days=self._conf.retention_days, keep=self._conf.retention_events, now=now
        )


def _meet_deadlines() -> tuple[list[UUID], int]:
    now = datetime.now(UTC)
    due = decisions.past_deadline(now=now, limit=DEADLINES_AT_ONCE)
    for incident in due:
        decisions.meet_deadline(incident, now=now)
    return [incident.pk for incident in due], decisions.waiting_count()
