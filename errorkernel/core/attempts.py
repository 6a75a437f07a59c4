"""What somebody tried who may not, counted in memory first: a storm of it must not become a storm of writes."""

from dataclasses import dataclass
from typing import Literal

KEYS_MAX = 50
"""Different attempts that one tally tells apart; the rest are counted as one of each node and kind."""
OTHERS = "…"
TARGET_CHARS = 200

What = Literal["publish", "subscribe", "connect", "http"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """``node``: only where the broker vouches for it. ``claimed``: ``key:…``, ``user:…`` or ``token:<digest>``."""

    what: What
    target: str = ""
    node: str = ""
    claimed: str = ""
    address: str = ""


class Tally:
    """Attempts and how often each was made, since ``take`` was last called."""

    def __init__(self) -> None:
        self._counts: dict[Attempt, int] = {}

    def add(self, attempt: Attempt) -> None:
        if attempt not in self._counts and len(self._counts) >= KEYS_MAX:
            attempt = Attempt(attempt.what, OTHERS, attempt.node)
        self._counts[attempt] = self._counts.get(attempt, 0) + 1

    def take(self) -> dict[Attempt, int]:
        taken, self._counts = self._counts, {}
        return taken
