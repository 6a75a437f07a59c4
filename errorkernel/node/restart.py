"""When a worker that ended is started again, and after how long: a decision, without a clock or a process in it."""

from dataclasses import dataclass
from enum import StrEnum


class Restart(StrEnum):
    """OTP's words: always, only after a failure, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class Backoff:
    """``spread``: the delay varies by this share, so that a fleet does not restart in step."""

    first_s: float = 1.0
    last_s: float = 300.0
    factor: float = 2.0
    spread: float = 0.2
    healthy_s: float = 600.0
    """Having run this long, a worker's former failures no longer count."""

    def delay_s(self, failures: int, chance: float) -> float:
        """Before the next start after ``failures`` in a row; ``chance`` in 0 … 1 is the caller's die."""
        plain = min(self.first_s * self.factor ** min(max(failures - 1, 0), 64), self.last_s)
        return plain * (1 + self.spread * (2 * chance - 1))


def starts_again(restart: Restart, *, failed: bool) -> bool:
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and failed)
