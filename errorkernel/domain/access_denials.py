"""Counts access denials in memory first: many denials must not become as many writes."""

from dataclasses import dataclass
from typing import Literal

KEYS_MAX = 20
"""Distinct denials of one node and kind that are counted separately; the rest are counted together. Clients without a
known node share one budget, so memory is bounded by the number of nodes."""
OTHERS = "…"
TARGET_CHARS = 200

DenialKind = Literal["publish", "subscribe", "connect", "http"]


@dataclass(frozen=True, slots=True)
class Denial:
    """``node``: only if the broker authenticated it. ``claimed``: ``key:…``, ``user:…`` or ``token:<digest>``."""

    what: DenialKind
    target: str = ""
    node: str = ""
    claimed: str = ""
    address: str = ""


class DenialCounter:
    """Counts of denials since the last ``take``."""

    def __init__(self) -> None:
        self._counts: dict[Denial, int] = {}
        self._keys: dict[tuple[str, str], int] = {}

    def add(self, attempt: Denial) -> None:
        if attempt not in self._counts:
            source = attempt.node, attempt.what
            self._keys[source] = self._keys.get(source, 0) + 1
            if self._keys[source] > KEYS_MAX:
                attempt = Denial(attempt.what, OTHERS, attempt.node)
        self._counts[attempt] = self._counts.get(attempt, 0) + 1

    def take(self) -> dict[Denial, int]:
        taken, self._counts, self._keys = self._counts, {}, {}
        return taken
