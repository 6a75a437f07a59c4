"""System status: the numbers on every page. Raw SQL, two statements: seven ORM queries cost each page 3 ms."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from errorkernel.domain import liveness
from errorkernel.domain.liveness import Liveness
from errorkernel.store import kernel_heartbeats
from errorkernel.store.platform.sql_values import moment

_NUMBERS = (
    "SELECT (SELECT COUNT(*) FROM errorkernel_incident WHERE state = 'open'),"
    " (SELECT COUNT(*) FROM errorkernel_rule WHERE enabled AND removed_at IS NULL AND suspended_at IS NOT NULL),"
    " (SELECT SUM(unstored) FROM errorkernel_brokerstream), (SELECT MAX(fill_ratio) FROM errorkernel_brokerstream),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND heartbeat_at > %s AND heartbeat_at <= %s),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND heartbeat_at <= %s)"
)


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """As it was at ``now``. ``kernel_age_s``: seconds since a kernel worker last wrote a heartbeat; None: never.

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
        return kernel_heartbeats.is_late(self.kernel_age_s)

    @property
    def missing(self) -> int:
        """Nodes that have not been heard from, late or gone."""
        return self.late + self.gone


def read(now: datetime) -> SystemStatus:
    """The status at ``now``."""
    beats = kernel_heartbeats.newest()
    newest = beats[0] if beats else None
    age_s = max(0.0, (now - newest.at).total_seconds()) if newest else None
    missed = not kernel_heartbeats.is_late(age_s) and kernel_heartbeats.can_miss_nodes(now, beats)
    waiting, suspended, in_streams, fullest, nodes, late, gone = _numbers(now)
    return SystemStatus(
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


def _numbers(now: datetime) -> tuple[Any, ...]:
    bounds = [*liveness.heartbeat_bounds(Liveness.LATE, now), liveness.heartbeat_bounds(Liveness.GONE, now)[1]]
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS, [moment(bound) for bound in bounds])
        return tuple(cursor.fetchone())
