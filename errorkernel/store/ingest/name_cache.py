"""Caches the primary keys of nodes, processes and problems by name; creates missing rows.

One cache per kernel worker. An entry becomes wrong only when its row is removed. The next batch that uses it then fails
on the foreign key, and its retry starts with an empty cache.

A new process or problem of a node that has reached its limit is not created (``name_limit``); ``place`` then gives the
node's ``other`` process or problem. Names that a blocking incident needs are always created.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from errorkernel.domain.fingerprint.grouping import Grouping
from errorkernel.domain.folded_names import OTHER_PROCESS, other_fingerprint
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import Node, Problem, Process
from errorkernel.store.ingest.name_limit import NameLimit

CLEAR_ABOVE = 200_000
"""Entries of one kind before the cache is cleared, so that nodes with random names cannot fill the entries."""
OTHER_PROBLEM = Grouping(
    key="", title="Other events", why="The node has reached its limit of names (STEWARD_NODE_NAMES)."
)


class NewProblem(NamedTuple):
    """What the first event of a problem says of it. ``is_kept``: it is created even above the limit."""

    group: Grouping
    kind: str
    level: str
    node: int
    is_kept: bool


class NameCache:
    """``node_names``: the limit of processes and of problems of a node; 0: none."""

    def __init__(self, node_names: int = 0) -> None:
        self.limit = NameLimit(node_names)
        self.forget()

    def forget(self) -> None:
        self.nodes: dict[str, int] = {}
        self.processes: dict[tuple[int, str], int] = {}
        self.problems: dict[str, int] = {}

    def learn_nodes(self, names: Iterable[str]) -> None:
        missing = sorted({name for name in names if name not in self.nodes})
        if missing:
            _clear_if_full(self.nodes)
            Node.objects.bulk_create([Node(name=name) for name in missing], ignore_conflicts=True)
            self.nodes.update(Node.objects.filter(name__in=missing).values_list("name", "pk"))

    def learn_processes(self, wanted: Mapping[tuple[int, str], bool], now: datetime) -> None:
        """``wanted``: (node, name) → whether it is created even above the limit."""
        missing = [key for key in wanted if key not in self.processes]
        if not missing:
            return
        _clear_if_full(self.processes)
        self._find_processes(missing)
        new = [key for key in missing if key not in self.processes]
        created = [key for key in new if wanted[key]]
        created += self.limit.processes((key[0], key) for key in new if not wanted[key])
        if created:
            Process.objects.bulk_create(
                [Process(node_id=node, name=name, first_seen=now, last_seen=now) for node, name in sorted(created)],
                ignore_conflicts=True,
            )
            self._find_processes(created)

    def learn_problems(self, wanted: Mapping[str, NewProblem], now: datetime) -> None:
        """``wanted``: fingerprint → what to create where there is no such problem."""
        missing = [key for key in wanted if key not in self.problems]
        if not missing:
            return
        _clear_if_full(self.problems)
        self._find_problems(missing)
        new = [key for key in missing if key not in self.problems]
        created = [key for key in new if wanted[key].is_kept]
        created += self.limit.problems((wanted[key].node, key) for key in new if not wanted[key].is_kept)
        if created:
            Problem.objects.bulk_create(
                [_problem(key, wanted[key], now) for key in sorted(created)], ignore_conflicts=True
            )
            self._find_problems(created)

    def other_process(self, node: int, now: datetime) -> int:
        """The process that events of this node beyond its limit are counted on."""
        self.learn_processes({(node, OTHER_PROCESS): True}, now)
        return self.processes[node, OTHER_PROCESS]

    def other_problem(self, node: int, level: str, now: datetime) -> int:
        """The problem that they are counted on."""
        key = other_fingerprint(node)
        self.learn_problems({key: NewProblem(OTHER_PROBLEM, "other", level, node, is_kept=True)}, now)
        return self.problems[key]

    def _find_processes(self, keys: Iterable[tuple[int, str]]) -> None:
        nodes, names = ({key[part] for key in keys} for part in (0, 1))
        found = Process.objects.filter(node_id__in=nodes, name__in=names)
        for pk, node_id, name in found.values_list("pk", "node_id", "name"):
            self.processes[node_id, name] = pk

    def _find_problems(self, keys: Iterable[str]) -> None:
        self.problems.update(Problem.objects.filter(fingerprint__in=keys).values_list("fingerprint", "pk"))


def _problem(key: str, new: NewProblem, now: datetime) -> Problem:
    return Problem(
        fingerprint=key,
        kind=new.kind,
        title=new.group.title,
        why=new.group.why,
        level=new.level,
        level_rank=LEVEL_RANK[new.level],
        first_node_id=new.node,
        first_seen=now,
        last_seen=now,
    )


def _clear_if_full(entries: dict) -> None:
    if len(entries) > CLEAR_ABOVE:
        entries.clear()
