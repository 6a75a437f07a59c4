"""How fast incidents are decided: percentiles of the time to decision, and the service level objective (SLO)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """One incident. ``decided_at``: None without a decision, because it is pending or was withdrawn."""

    opened_at: datetime
    decided_at: datetime | None
    is_pending: bool

    def seconds(self, now: datetime) -> float | None:
        """Until the decision, or so far; None for an incident that ended without a decision."""
        if self.decided_at is None and not self.is_pending:
            return None
        return max(0.0, ((self.decided_at or now) - self.opened_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Objective:
    """``share`` (above 0, below 1) of the incidents are decided within ``within_s`` seconds."""

    within_s: int
    share: float


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """``counted`` incidents, of which ``missed`` were decided too late or are pending for longer than the objective."""

    objective: Objective
    counted: int
    missed: int

    @property
    def in_time(self) -> int:
        return self.counted - self.missed

    @property
    def met_share(self) -> float | None:
        """In percent."""
        return 100 * self.in_time / self.counted if self.counted else None

    @property
    def allowed(self) -> int:
        """Misses within the objective."""
        return int((1 - self.objective.share) * self.counted + 1e-9)

    @property
    def left(self) -> int:
        return self.allowed - self.missed

    @property
    def burn(self) -> float | None:
        """The rate of misses divided by the allowed rate: above 1, the objective is being missed."""
        return self.missed / self.counted / (1 - self.objective.share) if self.counted else None


def service_level(waits: Iterable[Wait], objective: Objective, since: datetime, now: datetime) -> ServiceLevel:
    """Of the incidents that opened since ``since``. One that is pending counts once it has missed the objective."""
    counted = missed = 0
    for wait in waits:
        seconds = wait.seconds(now)
        if wait.opened_at < since or seconds is None:
            continue
        is_late = seconds > objective.within_s
        if wait.is_pending and not is_late:
            continue
        counted += 1
        missed += is_late
    return ServiceLevel(objective, counted, missed)


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The smallest of the ``ordered`` values that at least ``part`` (0 to 1) of them do not exceed; None without
    values."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * round(part * 100) // 100) - 1)]


def decided_within(waits: Iterable[Wait], since: datetime, until: datetime, part: float = 0.95) -> float | None:
    """Seconds within which ``part`` of the incidents that were decided from ``since`` until before ``until`` were
    decided; None where none was."""
    taken = [
        (wait.decided_at - wait.opened_at).total_seconds()
        for wait in waits
        if wait.decided_at is not None and since <= wait.decided_at < until
    ]
    return percentile(sorted(taken), part)


def by_column(waits: Sequence[Wait], first: datetime, step: timedelta, columns: int) -> list[float | None]:
    """``decided_within`` for each of ``columns`` steps from ``first`` on."""
    found: list[list[float]] = [[] for _ in range(columns)]
    for wait in waits:
        if wait.decided_at is not None and 0 <= (place := (wait.decided_at - first) // step) < columns:
            found[place].append((wait.decided_at - wait.opened_at).total_seconds())
    return [percentile(sorted(seconds), 0.95) for seconds in found]
