"""What follows when a worker has ended: again or not, after which pause, or too often. Decisions, without any clock.

Words and defaults are OTP's where it has them (``supervisor(3erl)``), and the pause grows as the contract says: 1 s to
300 s, doubling, ±20 %, from the start again after 600 s in health. At most ``intensity`` restarts of a process lie in
any ``period_s``, whoever asked for them: what would be one more is not carried out, the process is quarantined. Times
are seconds of any clock that does not jump.
"""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum

INTENSITY = 5
PERIOD_S = 300.0


class Restart(StrEnum):
    """Always, only after a failure, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Ending(Enum):
    """How an incarnation ended."""

    DONE = "done"
    """By itself and in good order."""
    FAILED = "failed"
    KILLED = "killed"
    """Somebody answered *kill*: log, stop the worker, spawn a new one."""
    STOPPED = "stopped"
    """Somebody answered *stop*: no new one."""


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
            raise ValueError(f"{self} is no backoff.")

    def pause_s(self, failures: int, chance: float) -> float:
        """Before the start that follows ``failures`` endings in a row; ``chance`` in 0 … 1 is the caller's die."""
        # The exponent is bounded: 2.0 ** 1100 does not exist.
        plain = min(self.first_s * self.factor ** min(max(failures - 1, 0), 64), self.last_s)
        return plain * (1 + self.spread * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Policy:
    """``intensity`` restarts within ``period_s`` are borne; 0: none at all."""

    restart: Restart = Restart.TRANSIENT
    backoff: Backoff = Backoff()
    intensity: int = INTENSITY
    period_s: float = PERIOD_S

    def __post_init__(self) -> None:
        if self.intensity < 0 or not self.period_s > 0:
            raise ValueError(f"{self.intensity} restarts in {self.period_s} s are no intensity.")


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of former incarnations.

    ``failures``: endings in a row that were followed by a pause. ``restarts``: when it was started anew, oldest first,
    as far back as matters.
    """

    failures: int = 0
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``pause_s`` None: not again."""

    pause_s: float | None
    history: History


def after(policy: Policy, ending: Ending, history: History, *, lived_s: float, chance: float) -> Verdict:
    """Decide. ``lived_s``: how long the incarnation that ended had lived."""
    if ending is Ending.KILLED:
        # A person is in the loop: what they order happens at once, and does not excuse former failures.
        return Verdict(0.0, history)
    if ending is Ending.STOPPED or not _again(policy.restart, ending):
        return Verdict(None, history)
    failures = 1 if lived_s >= policy.backoff.healthy_s else history.failures + 1
    return Verdict(policy.backoff.pause_s(failures, chance), replace(history, failures=failures))


def allowed(policy: Policy, history: History, at: float) -> bool:
    """Whether one more restart, at ``at`` or later, keeps within the intensity."""
    return len(_recent(policy, history, at)) < policy.intensity


def restarted(policy: Policy, history: History, at: float) -> History:
    """The history after a restart that was complete at ``at``."""
    return replace(history, restarts=(*_recent(policy, history, at), at))


def _recent(policy: Policy, history: History, at: float) -> tuple[float, ...]:
    return tuple(one for one in history.restarts if one > at - policy.period_s)


def _again(restart: Restart, ending: Ending) -> bool:
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and ending is Ending.FAILED)
