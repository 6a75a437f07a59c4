"""Registry: additions to the contexts of pages by packages that ``web`` does not import."""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

Contribution = Callable[[Any, datetime], dict[str, Any]]
_contributions: dict[str, list[Contribution]] = defaultdict(list)


def contribute(page: str, contribution: Contribution) -> None:
    """``page``: ``node``, ``event``, ``problem`` or ``rule``; the function gets its row (of a problem: the keys of the
    problem and its parts) and the time."""
    _contributions[page].append(contribution)


def contributed(page: str, row: Any, now: datetime) -> dict[str, Any]:
    """The additions to the context of ``page``."""
    context: dict[str, Any] = {}
    for contribution in _contributions[page]:
        context |= contribution(row, now)
    return context
