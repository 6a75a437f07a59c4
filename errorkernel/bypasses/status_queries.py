"""The SQL of the system status, which every page shows: two statements instead of seven queries that Django builds."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from errorkernel.bypasses.sql_values import moment, when

_NEWEST = (
    "SELECT CAST(at AS text), broker_connected, CAST(broker_connected_since AS text), lag, broker_error"
    " FROM errorkernel_kernelheartbeat ORDER BY at DESC LIMIT %s"
)
_NUMBERS = (
    "SELECT (SELECT COUNT(*) FROM errorkernel_incident WHERE state = 'open'),"
    " (SELECT COUNT(*) FROM errorkernel_rule WHERE enabled AND removed_at IS NULL AND suspended_at IS NOT NULL),"
    " (SELECT SUM(unstored) FROM errorkernel_brokerstream), (SELECT MAX(fill_ratio) FROM errorkernel_brokerstream),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND late_at <= %s AND gone_at > %s),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE enabled AND gone_at <= %s),"
    " (SELECT COUNT(*) FROM errorkernel_node WHERE names_folded_at > %s),"
    " (SELECT CAST(held_since AS text) FROM errorkernel_kernelclock),"
    " (SELECT name FROM errorkernel_node WHERE flooded_at > %s ORDER BY flood_messages DESC LIMIT 1),"
    " (SELECT COUNT(*) FROM errorkernel_bulkdecision WHERE state = 'proposed' AND expires_at > %s)"
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


class Numbers(NamedTuple):
    """``unstored``, ``fill_ratio``: None where no stream is known. ``nodes``: enabled ones. ``held_since``: since when
    deadlines are held, as text. ``flooding``: the node that floods most. ``approvals``: bulk decisions that can be
    approved."""

    pending: int
    rules_suspended: int
    unstored: int | None
    fill_ratio: float | None
    nodes: int
    nodes_late: int
    nodes_gone: int
    nodes_folded: int
    held_since: str | None
    flooding: str | None
    approvals: int


def newest_heartbeats(limit: int) -> list[Heartbeat]:
    """The newest heartbeat of each worker, the latest first."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [limit])
        return [
            Heartbeat(when(at), bool(connected), when(since) if since else None, lag, error)
            for at, connected, since, lag, error in cursor.fetchall()
        ]


def read_numbers(now: datetime, *, folded_after: datetime, flooded_after: datetime) -> Numbers:
    """``now`` decides which nodes are late or gone. ``folded_after``: nodes whose names are folded count.
    ``flooded_after``: a node that flooded then floods now."""
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERS, [moment(bound) for bound in (now, now, now, folded_after, flooded_after, now)])
        return Numbers(*cursor.fetchone())
