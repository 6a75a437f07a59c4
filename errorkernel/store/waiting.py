"""The order of the waiting room: how long somebody has been blocked, times how many wait on the same problem.

So one process that has waited for ten minutes and ten that have waited for one are equally urgent.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from errorkernel.models import Incident
from errorkernel.store import thousands
from errorkernel.store.incidents import with_relations

RANKED_MAX = 10_000
"""So many of the longest waiting are weighed; a fleet with more of them has no use for their order."""


class Waiting:
    """All open questions at one moment, the most urgent first, and how many wait on each problem with its parts.

    ``only``: of the questions themselves, these alone; as urgent as they are among all.
    """

    def __init__(self, now: datetime, only: Collection[UUID] | None = None) -> None:
        rows = thousands.open_questions(RANKED_MAX)
        self.on_problem = Counter(problem for _, _, problem in rows)

        def weight(row: tuple[Any, datetime, int]) -> float:
            return (now - row[1]).total_seconds() * self.on_problem[row[2]]

        # Sorting keeps the order of what is equal: the longest waiting first.
        keys = [row[0] for row in sorted(rows, key=weight, reverse=True)]
        self._keys = keys if only is None else [key for key in keys if _uuid(key) in only]

    def __len__(self) -> int:
        return len(self._keys)

    def cards(self, first: int, last: int) -> list[Incident]:
        """The questions in these places, with everything that their cards show."""
        return in_order(map(_uuid, self._keys[first:last]))

    def crowds(self, most: int) -> list[tuple[int, int]]:
        """(problem, how many wait on it) where that is more than one, the most first."""
        return [(problem, count) for problem, count in self.on_problem.most_common(most) if count > 1]


def _uuid(key: Any) -> UUID:
    return key if isinstance(key, UUID) else UUID(key)


def in_order(ids: Iterable[UUID]) -> list[Incident]:
    """These questions in this order; those that are gone are left out."""
    wanted = list(ids)
    found = {one.pk: one for one in with_relations().filter(pk__in=wanted)}
    return [found[one] for one in wanted if one in found]
