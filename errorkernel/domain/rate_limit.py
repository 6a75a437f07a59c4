"""A rate limit per node; the clock is an argument."""

from typing import NamedTuple


class Left(NamedTuple):
    """The rest of a node's ``burst`` events; it is full again in ``reset_s`` seconds, and from nothing in
    ``full_after_s``."""

    events: int
    burst: int
    reset_s: float
    full_after_s: float


class RateLimit:
    """A token bucket per node, in events. Each web process has its own, so N processes allow N times as much."""

    def __init__(self, per_s: int, burst: int) -> None:
        self._per_s = per_s
        self._burst = max(1, burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, node: str, events: int, now: float) -> float:
        """Take ``events`` and return 0, or take nothing and return the seconds until they could be taken.

        ``now`` is a monotonic clock's. A request larger than the whole burst passes when the bucket is full and
        is paid off afterwards, since it could never pass otherwise. A rate of 0 means no limit.
        """
        if not self._per_s:
            return 0.0
        left, at = self._buckets.get(node, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_s)
        missing = min(events, self._burst) - left
        taken = 0 if missing > 0 else events
        self._buckets[node] = left - taken, now
        return max(0.0, missing / self._per_s)

    def left(self, node: str, now: float) -> Left | None:
        """Events the node may send now; None without a limit."""
        if not self._per_s:
            return None
        left, at = self._buckets.get(node, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_s)
        return Left(max(0, int(left)), self._burst, (self._burst - left) / self._per_s, self._burst / self._per_s)
