"""Liveness of nodes and processes, from heartbeats.

A node sends a heartbeat every 30 s. After one missed heartbeat it is late, after three it is gone. A node without any
heartbeat (it may use HTTP only) is never late. Silence does not count while the kernel could not receive heartbeats:
the broker is away, or has been back for less than LATE_AFTER. A process has the liveness of its node, unless the node
reports it as stopped or sends heartbeats without it.
"""

from datetime import datetime, timedelta
from enum import StrEnum

HEARTBEAT_INTERVAL_S = 30
LATE_AFTER = timedelta(seconds=1.5 * HEARTBEAT_INTERVAL_S)
GONE_AFTER = timedelta(seconds=3 * HEARTBEAT_INTERVAL_S)
KERNEL_LATE_S = 15.0
"""A kernel worker writes a heartbeat every few seconds; it counts as away after this long without one."""
STOPPED = "stopped"
"""The state of an ended process in a heartbeat."""
QUARANTINED = "quarantined"
"""The state of a process that its node does not start again until there is a decision."""


class Liveness(StrEnum):
    ALIVE = "alive"
    LATE = "late"
    GONE = "gone"
    NEVER = "never"


def of_node(heartbeat_at: datetime | None, now: datetime) -> Liveness:
    """``heartbeat_at``: arrival of its last heartbeat, by the kernel's clock."""
    if heartbeat_at is None:
        return Liveness.NEVER
    silence = now - heartbeat_at
    if silence < LATE_AFTER:
        return Liveness.ALIVE
    return Liveness.LATE if silence < GONE_AFTER else Liveness.GONE


def is_silence_meaningful(heard_since: datetime | None, now: datetime) -> bool:
    """Whether missing heartbeats mean a fault of the node.

    ``heard_since``: since when a kernel has received heartbeats without a break; None: no kernel does.
    """
    return heard_since is not None and now - heard_since >= LATE_AFTER


def of_process(heartbeat_at: datetime | None, state: str, last_seen: datetime, now: datetime) -> Liveness:
    """``heartbeat_at`` of its node; ``state`` as last reported by the node, empty: never."""
    if state == STOPPED:
        return Liveness.GONE
    if state and heartbeat_at is not None and last_seen <= heartbeat_at - GONE_AFTER:
        return Liveness.GONE
    return of_node(heartbeat_at, now)


def heartbeat_bounds(liveness: Liveness, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The heartbeat times of such nodes: after the first, not after the second (None: no bound)."""
    match liveness:
        case Liveness.ALIVE:
            return now - LATE_AFTER, None
        case Liveness.LATE:
            return now - GONE_AFTER, now - LATE_AFTER
        case _:
            return None, now - GONE_AFTER
