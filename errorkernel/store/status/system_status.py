"""How things are, in the numbers that stand on every page: what waits, whether a kernel and the broker work, who is
missing. Read in two statements, as text: every page asks, and seven queries of Django's cost it 3 ms.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from errorkernel.domain import liveness
from errorkernel.domain.liveness import Liveness
from errorkernel.store.platform.sql_values import moment, when

WORKERS_MAX = 20
"""So many of the kernel's workers are asked whether they hear nodes: those that wrote last."""
_BEATS = (
    "SELECT CAST(at AS text), broker_connected, CAST(broker_connected_since AS text), lag, broker_error"
    " FROM errorkernel_kernelheartbeat ORDER BY at DESC LIMIT %s"
)
_NUMBERS = (
    "SELECT (SELECT COUNT(*) FROM errorkernel_incident WHERE state = 'open'),"
    " (SELECT COUNT(*) FROM errorkernel_rule WHERE enabled AND removed_at IS NULL AND suspended_at IS NOT NULL),"
    " (SELECT SUM(unstored) FROM errorkernel_brokerstream), (SELECT MAX(fill_ratio) FROM errorkernel_brokerstream),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND heartbeat_at > %s AND heartbeat_at <= %s),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND heartbeat_at <= %s)"
)


@dataclass(frozen=True, slots=True)
class Beat:
    """A kernel worker as it last wrote that it lives, ``at`` that time. ``broker_connected_since``: since when it has
    been connected without a break."""

    at: datetime
    broker_connected: bool
    broker_connected_since: datetime | None
    lag: int
    broker_error: str

    @property
    def broker_works(self) -> bool:
        return self.broker_connected and not self.broker_error


@dataclass(frozen=True, slots=True)
class Condition:
    """As it was at ``now``. ``kernel_age_s``: seconds since a kernel worker last wrote that it lives; None: never.

    ``lag``: messages that wait at the broker to be stored, as far as they were seen. ``fullest``: to how much of 1 the
    fullest stream is full. Of ``nodes``, which are those that are let in, ``late`` and ``gone`` have not been heard
    from; none of them are while nobody could have heard them.
    """

    now: datetime
    waiting: int
    rules_suspended: int
    kernel_age_s: float | None
    broker: bool
    lag: int
    fullest: float
    nodes: int
    late: int
    gone: int

    @property
    def kernel_is_late(self) -> bool:
        return kernel_is_late(self.kernel_age_s)

    @property
    def missing(self) -> int:
        """Nodes that have not been heard from, late or gone."""
        return self.late + self.gone


def read(now: datetime) -> Condition:
    """How things are at ``now``."""
    beats = _beats()
    newest = beats[0] if beats else None
    age_s = max(0.0, (now - newest.at).total_seconds()) if newest else None
    missed = not kernel_is_late(age_s) and liveness.is_silence_meaningful(_heard_since(beats), now)
    waiting, suspended, in_streams, fullest, nodes, late, gone = _numbers(now)
    return Condition(
        now=now,
        waiting=waiting,
        rules_suspended=suspended,
        kernel_age_s=age_s,
        broker=newest is not None and newest.broker_works,
        lag=(newest.lag if newest else 0) + int(in_streams or 0),
        fullest=fullest or 0.0,
        nodes=nodes,
        late=late if missed else 0,
        gone=gone if missed else 0,
    )


def kernel_is_late(age_s: float | None) -> bool:
    """Whether a kernel that was heard ``age_s`` seconds ago, or never, counts as away."""
    return age_s is None or age_s > liveness.KERNEL_LATE_S


def may_miss(now: datetime) -> bool:
    """Whether a node that is silent can be said to be missing, by what the kernel's workers wrote last."""
    return liveness.is_silence_meaningful(_heard_since(_beats()), now)


def _beats() -> list[Beat]:
    """The kernel's workers that wrote last that they live, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(_BEATS, [WORKERS_MAX])
        return [
            Beat(when(at), bool(connected), when(since) if since else None, lag, broker_error)
            for at, connected, since, lag, broker_error in cursor.fetchall()
        ]


def _heard_since(beats: list[Beat]) -> datetime | None:
    """Since when a kernel hears nodes without a break; None: none does."""
    lately = timedelta(seconds=liveness.KERNEL_LATE_S)
    hearing = [one for one in beats if one.broker_connected and beats[0].at - one.at <= lately]
    return min((one.broker_connected_since for one in hearing if one.broker_connected_since), default=None)


def _numbers(now: datetime) -> tuple[Any, ...]:
    bounds = [*liveness.heartbeat_bounds(Liveness.LATE, now), liveness.heartbeat_bounds(Liveness.GONE, now)[1]]
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS, [moment(bound) for bound in bounds])
        return tuple(cursor.fetchone())
