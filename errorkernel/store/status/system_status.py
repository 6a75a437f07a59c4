"""System status: the numbers on every page."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from errorkernel.bypasses import status_queries
from errorkernel.bypasses.sql_values import when
from errorkernel.store import kernel_heartbeats

FOLDED_LATELY = timedelta(days=1)
FLOODED_LATELY = timedelta(seconds=10)
"""A kernel notes every 2 s which nodes flood."""


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """As it was at ``now``. ``kernel_age_s``: seconds since a kernel worker last wrote a heartbeat; None: never.

    ``lag``: messages that wait at the broker to be stored, as far as they were seen. ``fullest``: to how much of 1 the
    fullest stream is full. Of ``nodes``, which are those that are let in, ``late`` and ``gone`` have not been heard
    from; none of them are while nobody could have heard them. ``nodes_folded``: nodes that reported too many names
    within the last day. ``held_since``: since when a jump of the clock holds deadlines.
    ``flooding``: the node that sends far more events than can be stored; empty: none. ``approvals``: proposed bulk
    decisions that have not expired.
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
    nodes_folded: int
    held_since: datetime | None
    flooding: str
    approvals: int

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
    numbers = status_queries.read_numbers(now, folded_after=now - FOLDED_LATELY, flooded_after=now - FLOODED_LATELY)
    return SystemStatus(
        now=now,
        waiting=numbers.pending,
        rules_suspended=numbers.rules_suspended,
        kernel_age_s=age_s,
        broker=newest is not None and newest.broker_works,
        lag=(newest.lag if newest else 0) + int(numbers.unstored or 0),
        fullest=numbers.fill_ratio or 0.0,
        nodes=numbers.nodes,
        late=numbers.nodes_late if missed else 0,
        gone=numbers.nodes_gone if missed else 0,
        nodes_folded=numbers.nodes_folded,
        held_since=when(numbers.held_since) if numbers.held_since else None,
        flooding=numbers.flooding or "",
        approvals=numbers.approvals,
    )
