"""Whether a node or a process is heard from: one concept, one home.

A node says hello every 30 s. One that misses one is late, one that misses three is gone; one that has never said hello
(it may speak HTTP only) cannot be missed. Nor is any called missing while nobody could have heard it: the broker is
away, or has been back for no longer than a node may be silent. A process is as its node, unless the node's own word
says otherwise: it says that the process has stopped, or it goes on saying hello without naming the process any more.
"""

from datetime import datetime, timedelta
from enum import StrEnum

HEARTBEAT_INTERVAL_S = 30
LATE_AFTER = timedelta(seconds=1.5 * HEARTBEAT_INTERVAL_S)
GONE_AFTER = timedelta(seconds=3 * HEARTBEAT_INTERVAL_S)
KERNEL_LATE_S = 15.0
"""A kernel worker writes every few seconds that it lives; after this long without, it counts as away."""
STOPPED = "stopped"
"""The state by which a node says that a process has ended."""
QUARANTINED = "quarantined"
"""The state by which a node says that it starts a process no more until somebody has answered."""


class Liveness(StrEnum):
    ALIVE = "alive"
    LATE = "late"
    GONE = "gone"
    NEVER = "never"


def of_node(heartbeat_at: datetime | None, now: datetime) -> Liveness:
    """``heartbeat_at``: when we last heard its hello, by our clock."""
    if heartbeat_at is None:
        return Liveness.NEVER
    silence = now - heartbeat_at
    if silence < LATE_AFTER:
        return Liveness.ALIVE
    return Liveness.LATE if silence < GONE_AFTER else Liveness.GONE


def is_silence_meaningful(heard_since: datetime | None, now: datetime) -> bool:
    """Whether the silence of a node says something of the node.

    ``heard_since``: since when a kernel hears nodes without a break; None: none does.
    """
    return heard_since is not None and now - heard_since >= LATE_AFTER


def of_process(heartbeat_at: datetime | None, state: str, last_seen: datetime, now: datetime) -> Liveness:
    """``heartbeat_at`` of its node; ``state`` as the node last told it, empty where it never did."""
    if state == STOPPED:
        return Liveness.GONE
    if state and heartbeat_at is not None and last_seen <= heartbeat_at - GONE_AFTER:
        return Liveness.GONE
    return of_node(heartbeat_at, now)


def heartbeat_bounds(liveness: Liveness, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The hellos of nodes that are so: later than the first, not later than the second (None: no bound)."""
    match liveness:
        case Liveness.ALIVE:
            return now - LATE_AFTER, None
        case Liveness.LATE:
            return now - GONE_AFTER, now - LATE_AFTER
        case _:
            return None, now - GONE_AFTER
