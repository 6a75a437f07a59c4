"""Liveness of nodes and processes, from heartbeats.

A node of ours sends a heartbeat every 30 s. A Steward or ctrl node has an interval of its own, which is learned from
the pauses between its heartbeats. After one missed heartbeat a node is late, after three it is gone. A node without any
heartbeat (it uses HTTP only, or its heartbeats are switched off) is never late. Silence does not count while the kernel
could not receive heartbeats: the broker is away, or has been back for less than LATE_AFTER. A process has the liveness
of its node, unless the node reports it as stopped or sends heartbeats without it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median_low
from typing import NamedTuple

HEARTBEAT_INTERVAL_S = 30
LATE_AFTER = timedelta(seconds=1.5 * HEARTBEAT_INTERVAL_S)
GONE_AFTER = timedelta(seconds=3 * HEARTBEAT_INTERVAL_S)
KERNEL_LATE_S = 15.0
"""A kernel worker writes a heartbeat every few seconds; it counts as away after this long without one."""
STOPPED = "stopped"
"""The state of an ended process in a heartbeat."""
QUARANTINED = "quarantined"
"""The state of a process that its node does not start again until there is a decision."""


PAUSES_KEPT = 3
"""With three, neither one lost heartbeat nor one restart between two changes the learned interval."""
PAUSE_MAX_S = 3600.0
"""A longer pause between two heartbeats is an outage."""


class Liveness(StrEnum):
    """``NO_HEARTBEAT``: it was heard, but never by a heartbeat, so its silence means nothing. ``NEVER``: not heard."""

    ALIVE = "alive"
    LATE = "late"
    GONE = "gone"
    NO_HEARTBEAT = "no_heartbeat"
    NEVER = "never"


class Expectation(NamedTuple):
    """From when on a node is late or gone without another heartbeat."""

    late_at: datetime
    gone_at: datetime


class Heard(NamedTuple):
    """A node's contacts, by the kernel's clock. ``expectation``: None without any heartbeat. ``contact_at``: the
    last time it was heard in another way than by a heartbeat."""

    expectation: Expectation | None
    contact_at: datetime | None = None


def expect(heartbeat_at: datetime, interval_s: float = HEARTBEAT_INTERVAL_S) -> Expectation:
    """After a heartbeat at this time, from a node that sends one every ``interval_s``."""
    share = interval_s / HEARTBEAT_INTERVAL_S
    return Expectation(heartbeat_at + share * LATE_AFTER, heartbeat_at + share * GONE_AFTER)


def with_pause(pauses: Sequence[float], pause_s: float) -> list[float]:
    """The last pauses between a node's heartbeats after another one, in seconds, the latest last."""
    if not 0 < pause_s <= PAUSE_MAX_S:
        return list(pauses)
    return [*pauses, round(pause_s, 1)][-PAUSES_KEPT:]


def learned_interval_s(pauses: Sequence[float]) -> float:
    """The interval of a node's heartbeats, from the pauses between the last ones; never shorter than our own."""
    return max(median_low(pauses), HEARTBEAT_INTERVAL_S) if pauses else HEARTBEAT_INTERVAL_S


def of_node(heard: Heard, now: datetime) -> Liveness:
    """The liveness of a node."""
    if heard.expectation is None:
        return Liveness.NO_HEARTBEAT if heard.contact_at else Liveness.NEVER
    if now < heard.expectation.late_at:
        return Liveness.ALIVE
    return Liveness.LATE if now < heard.expectation.gone_at else Liveness.GONE


def is_silence_meaningful(heard_since: datetime | None, now: datetime) -> bool:
    """Whether missing heartbeats mean a fault of the node.

    ``heard_since``: since when a kernel has received heartbeats without a break; None: no kernel does.
    """
    return heard_since is not None and now - heard_since >= LATE_AFTER


def of_process(heard: Heard, heartbeat_at: datetime | None, state: str, last_seen: datetime, now: datetime) -> Liveness:
    """``heard``, ``heartbeat_at``: of its node; ``state`` as last reported by the node, empty: never."""
    if state == STOPPED:
        return Liveness.GONE
    if state and heartbeat_at is not None and last_seen <= heartbeat_at - GONE_AFTER:
        return Liveness.GONE
    return of_node(heard, now)
