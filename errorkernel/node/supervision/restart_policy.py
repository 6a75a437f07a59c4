"""The restart policy of workers, as pure decisions: whether to start again, after which pause, how often at most.

Terms and defaults are those of OTP (``supervisor(3erl)``). The pause grows as the contract says: 1 s to 300 s,
doubling, ±20 %, reset after 600 s of uptime. Any ``period_s`` sees at most ``intensity`` restarts of a process,
whatever caused them: instead of one more the process is quarantined. Times are seconds of any monotonic clock.
"""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum

INTENSITY = 5
PERIOD_S = 300.0


class Restart(StrEnum):
    """When a worker starts again: always, only after a failure, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Ending(Enum):
    """How an incarnation ended."""

    DONE = "done"
    """By itself, without failure."""
    FAILED = "failed"
    KILLED = "killed"
    """The decision was *kill*: a new incarnation follows."""
    STOPPED = "stopped"
    """The decision was *stop*: no new incarnation."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """``spread``: the pause varies by this share, so that a fleet does not restart in step."""

    first_s: float = 1.0
    last_s: float = 300.0
    factor: float = 2.0
    spread: float = 0.2
    healthy_s: float = 600.0

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.last_s and self.factor >= 1 and 0 <= self.spread < 1 and self.healthy_s > 0):
            raise ValueError(f"{self} is not a valid backoff.")

    def pause_s(self, failures: int, chance: float) -> float:
        """The pause after ``failures`` endings in a row; ``chance`` is a random number in 0 … 1."""
        # The exponent is bounded: 2.0 ** 1100 does not exist.
        plain = min(self.first_s * self.factor ** min(max(failures - 1, 0), 64), self.last_s)
        return plain * (1 + self.spread * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``intensity`` restarts within ``period_s``; 0: none at all."""

    restart: Restart = Restart.TRANSIENT
    backoff: Backoff = Backoff()
    intensity: int = INTENSITY
    period_s: float = PERIOD_S

    def __post_init__(self) -> None:
        if self.intensity < 0 or not self.period_s > 0:
            raise ValueError(f"{self.intensity} restarts in {self.period_s} s is not a valid intensity.")


@dataclass(frozen=True, slots=True)
class History:
    """The relevant past of a worker.

    ``failures``: endings in a row that were followed by a pause. ``restarts``: the times of its restarts, oldest first,
    within the period.
    """

    failures: int = 0
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``pause_s`` None: no restart."""

    pause_s: float | None
    history: History


def decide_restart(policy: Policy, ending: Ending, history: History, *, uptime_s: float, chance: float) -> Verdict:
    """Decide on a restart. ``uptime_s``: of the incarnation that ended."""
    if ending is Ending.KILLED:
        # An operator is in the loop: no pause, and former failures still count.
        return Verdict(0.0, history)
    if ending is Ending.STOPPED or not _restarts_after(policy.restart, ending):
        return Verdict(None, history)
    failures = 1 if uptime_s >= policy.backoff.healthy_s else history.failures + 1
    return Verdict(policy.backoff.pause_s(failures, chance), replace(history, failures=failures))


def is_within_intensity(policy: Policy, history: History, at: float) -> bool:
    """Whether one more restart, at ``at`` or later, keeps within the intensity."""
    return len(_recent(policy, history, at)) < policy.intensity


def record_restart(policy: Policy, history: History, at: float) -> History:
    """The history after a restart at ``at``."""
    return replace(history, restarts=(*_recent(policy, history, at), at))


def _recent(policy: Policy, history: History, at: float) -> tuple[float, ...]:
    return tuple(restart for restart in history.restarts if restart > at - policy.period_s)


def _restarts_after(restart: Restart, ending: Ending) -> bool:
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and ending is Ending.FAILED)
