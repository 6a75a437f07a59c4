"""Heartbeats of the kernel's workers: written every two seconds, read by every page and by who misses a node."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from errorkernel.domain import liveness
from errorkernel.models import KernelHeartbeat
from errorkernel.store import rollups
from errorkernel.store.platform.sql_values import when

WORKERS_MAX = 20
"""Only the newest heartbeats of so many workers are read."""
_NEWEST = (
    "SELECT CAST(at AS text), broker_connected, CAST(broker_connected_since AS text), lag, broker_error"
    " FROM errorkernel_kernelheartbeat ORDER BY at DESC LIMIT %s"
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest heartbeat of a worker, written ``at``. ``broker_connected_since``: start of the present connection."""

    at: datetime
    broker_connected: bool
    broker_connected_since: datetime | None
    lag: int
    broker_error: str

    @property
    def broker_works(self) -> bool:
        return self.broker_connected and not self.broker_error


def record(worker: str, *, started_at: datetime, lag: int | None, now: datetime, broker_error: str = "") -> None:
    """Write a worker's heartbeat. ``lag``: None where the broker does not reply; the last known one is kept then.
    ``broker_error``: why the broker cannot store.

    Adds up the time for which processes were blocked since the newest heartbeat of any worker, once for all workers.
    """
    with transaction.atomic():
        # Of two workers the second waits here for the first, and continues from where that one stopped.
        last = KernelHeartbeat.objects.select_for_update().order_by("-at").first()
        if last:
            rollups.count_blocked(since=last.at, now=now)
        known = lag if lag is not None else last.lag if last else 0
        before = KernelHeartbeat.objects.filter(worker=worker, broker_connected=True).first()
        since = before.broker_connected_since if before else now
        connected = {"broker_connected": lag is not None, "broker_connected_since": None if lag is None else since}
        KernelHeartbeat.objects.update_or_create(
            worker=worker,
            defaults={"at": now, "started_at": started_at, "lag": known, "broker_error": broker_error, **connected},
        )


def newest() -> list[Heartbeat]:
    """The newest heartbeat of each worker, the latest first."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [WORKERS_MAX])
        return [
            Heartbeat(when(at), bool(connected), when(since) if since else None, lag, error)
            for at, connected, since, lag, error in cursor.fetchall()
        ]


def is_late(age_s: float | None) -> bool:
    """Whether a kernel whose newest heartbeat is ``age_s`` seconds old, or None, counts as down."""
    return age_s is None or age_s > liveness.KERNEL_LATE_S


def can_miss_nodes(now: datetime, heartbeats: list[Heartbeat] | None = None) -> bool:
    """Whether the silence of a node means anything: a kernel has been receiving heartbeats for long enough."""
    found = newest() if heartbeats is None else heartbeats
    return liveness.is_silence_meaningful(_receiving_since(found), now)


def _receiving_since(heartbeats: list[Heartbeat]) -> datetime | None:
    """Since when some kernel receives without interruption; None: none does."""
    lately = timedelta(seconds=liveness.KERNEL_LATE_S)
    receiving = [
        heartbeat
        for heartbeat in heartbeats
        if heartbeat.broker_connected and heartbeats[0].at - heartbeat.at <= lately
    ]
    return min(
        (heartbeat.broker_connected_since for heartbeat in receiving if heartbeat.broker_connected_since), default=None
    )
