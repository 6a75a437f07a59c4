"""Limits how many processes, problems and error states the events of one node create.

The database counts. A count is made only when a name is new, under the lock of the events' counter, so several kernels
cannot exceed the limit together. A node without room is remembered for RECOUNT_S, so a flood of names costs less than
storing them did: one count in that time instead of two inserts per event.
"""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from errorkernel.domain.folded_names import STATES_PER_NAME
from errorkernel.models import Counter, ErrorState, Problem, Process
from errorkernel.store.platform import counters

T = TypeVar("T")
RECOUNT_S = 5.0


class NameLimit:
    """``names``: the most processes, and the most problems, of a node; 0: no limit."""

    def __init__(self, names: int) -> None:
        self.names = names
        self._full_until: dict[tuple[Callable[[int], int], int], float] = {}

    def processes(self, new: Iterable[tuple[int, T]]) -> list[T]:
        """Of new processes, each with its node, those for which there is room, in their order."""
        return self._fit(new, count_processes, self.names)

    def problems(self, new: Iterable[tuple[int, T]]) -> list[T]:
        """The same of new problems, each with the node whose event creates it."""
        return self._fit(new, count_problems, self.names)

    def states(self, new: Iterable[tuple[int, T]]) -> list[T]:
        """The same of new error states."""
        return self._fit(new, count_states, self.names * STATES_PER_NAME)

    def _fit(self, new: Iterable[tuple[int, T]], count: Callable[[int], int], limit: int) -> list[T]:
        by_node: dict[int, list[T]] = {}
        for node, name in new:
            by_node.setdefault(node, []).append(name)
        fitting: list[T] = []
        for node, names in by_node.items():
            fitting += names if not limit else names[: self._room(node, count, limit)]
        return fitting

    def _room(self, node: int, count: Callable[[int], int], limit: int) -> int:
        key = count, node
        if self._full_until.get(key, 0.0) > time.monotonic():
            return 0
        # Until the commit no other kernel adds names.
        counters.lock(Counter.EVENTS)
        room = max(0, limit - count(node))
        if room:
            self._full_until.pop(key, None)
        else:
            self._full_until[key] = time.monotonic() + RECOUNT_S
        return room


def count_processes(node: int) -> int:
    return Process.objects.filter(node=node).count()


def count_problems(node: int) -> int:
    """Problems that an event of this node created."""
    return Problem.objects.filter(first_node=node).count()


def count_states(node: int) -> int:
    return ErrorState.objects.filter(node=node).count()
