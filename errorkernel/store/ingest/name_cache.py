"""Caches the primary keys of nodes, processes and problems by name; creates missing rows.

One cache per kernel worker. An entry becomes wrong only when its row is removed. The next batch that uses it then fails
on the foreign key, and its retry starts with an empty cache.
"""

from collections.abc import Iterable
from datetime import datetime

from errorkernel.domain.fingerprint.grouping import Grouping
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import Node, Problem, Process

CLEAR_ABOVE = 200_000
"""Entries of one kind before the cache is cleared, so that nodes with random names cannot fill the entries."""


class NameCache:
    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.processes: dict[tuple[int, str], int] = {}
        self.problems: dict[str, int] = {}

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]

    def learn_nodes(self, names: Iterable[str]) -> None:
        missing = sorted({name for name in names if name not in self.nodes})
        if missing:
            _clear_if_full(self.nodes)
            Node.objects.bulk_create([Node(name=name) for name in missing], ignore_conflicts=True)
            self.nodes.update(Node.objects.filter(name__in=missing).values_list("name", "pk"))

    def learn_processes(self, wanted: Iterable[tuple[int, str]], now: datetime) -> None:
        missing = sorted({key for key in wanted if key not in self.processes})
        if missing:
            _clear_if_full(self.processes)
            Process.objects.bulk_create(
                [Process(node_id=node, name=name, first_seen=now, last_seen=now) for node, name in missing],
                ignore_conflicts=True,
            )
            found = Process.objects.filter(node_id__in={n for n, _ in missing}, name__in={p for _, p in missing})
            for pk, node_id, name in found.values_list("pk", "node_id", "name"):
                self.processes[node_id, name] = pk

    def learn_problems(self, wanted: Iterable[tuple[Grouping, str, str]], now: datetime) -> None:
        """``wanted``: grouping, kind and level of events."""
        missing = {group.key: (group, kind, level) for group, kind, level in wanted if group.key not in self.problems}
        if missing:
            _clear_if_full(self.problems)
            Problem.objects.bulk_create(
                [
                    Problem(
                        fingerprint=key,
                        kind=kind,
                        title=group.title,
                        why=group.why,
                        level=level,
                        level_rank=LEVEL_RANK[level],
                        first_seen=now,
                        last_seen=now,
                    )
                    for key, (group, kind, level) in sorted(missing.items())
                ],
                ignore_conflicts=True,
            )
            self.problems.update(Problem.objects.filter(fingerprint__in=missing).values_list("fingerprint", "pk"))


def _clear_if_full(entries: dict) -> None:
    if len(entries) > CLEAR_ABOVE:
        entries.clear()
