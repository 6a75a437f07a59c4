"""Heartbeats of the kernel's workers: written every two seconds, read by every page and by the liveness of nodes."""

from datetime import datetime, timedelta

from django.db import transaction

from errorkernel.bypasses import status_queries
from errorkernel.bypasses.status_queries import Heartbeat
from errorkernel.domain import liveness
from errorkernel.models import KernelHeartbeat
from errorkernel.store import rollups

WORKERS_MAX = 20
"""Only the newest heartbeats of so many workers are read."""


def record(worker: str, *, started_at: datetime, lag: int | None, now: datetime, broker_error: str = "") -> None:
    """Write a worker's heartbeat. ``lag``: None where the broker does not reply; the last known one is kept then.
    ``broker_error``: why the broker cannot store.

    Adds up the time for which processes were blocked since the newest heartbeat of any worker, once for all workers.
    """
    with transaction.atomic():
        # A second worker waits here for the first, and continues from its time.
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
    return status_queries.newest_heartbeats(WORKERS_MAX)


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
