"""Finds the node, process, problem and error state of each event, or creates them.

Above the limit of its node an event is folded: it is counted on the node's ``other`` process or problem and keeps its
own name. The event of a blocked process never is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from errorkernel.domain.fingerprint.grouping import Grouping
from errorkernel.domain.values import Event, EventType
from errorkernel.store import ingest_sql
from errorkernel.store.ingest.name_cache import NameCache, NewProblem
from errorkernel.store.ingest_sql import StateCount


@dataclass(slots=True)
class Placed:
    """An event on its way into the table."""

    node: str
    event: Event
    group: Grouping
    digest: str
    """Of the event's message; empty where it has none."""
    node_id: int = 0
    process_id: int = 0
    problem_id: int = 0
    seq: int = 0
    repeat: int = 1
    consecutive: int = 0
    is_process_folded: bool = False
    is_folded: bool = False
    """Its process or its problem is its node's ``other`` one. Different messages meet there, so it counts no failures
    in a row."""

    @property
    def is_kept_apart(self) -> bool:
        """A process is blocked: it gets its own process, problem and error state above any limit."""
        return self.event.type is EventType.ACTION

    @property
    def incarnation(self) -> int | None:
        return None if self.is_process_folded else self.event.incarnation

    def fold(self) -> None:
        self.is_folded, self.digest = True, ""


def place(placed: Sequence[Placed], name_cache: NameCache, now: datetime) -> None:
    """Look up the node, process and problem of each event, or create them; above the limit of a node, fold them."""
    name_cache.learn_nodes(item.node for item in placed)
    processes: dict[tuple[int, str], bool] = {}
    problems: dict[str, NewProblem] = {}
    for item in placed:
        item.node_id = name_cache.nodes[item.node]
        event, name, key = item.event, (item.node_id, item.event.process), item.group.key
        processes[name] = processes.get(name, False) or item.is_kept_apart
        if key not in name_cache.problems and (key not in problems or item.is_kept_apart):
            new = NewProblem(item.group, event.kind, event.level.value, item.node_id, item.is_kept_apart)
            problems[key] = problems[key]._replace(is_kept=True) if key in problems else new
    name_cache.learn_processes(processes, now)
    name_cache.learn_problems(problems, now)
    for item in placed:
        process = name_cache.processes.get((item.node_id, item.event.process))
        problem = name_cache.problems.get(item.group.key)
        if process is None:
            item.is_process_folded = True
        if process is None or problem is None:
            item.fold()
        item.process_id = name_cache.other_process(item.node_id, now) if process is None else process
        item.problem_id = _other_problem(item, name_cache, now) if problem is None else problem


def _other_problem(item: Placed, name_cache: NameCache, now: datetime) -> int:
    return name_cache.other_problem(item.node_id, item.event.level.value, now)


def fold_states(placed: list[Placed], name_cache: NameCache, now: datetime) -> dict[tuple[int, int], StateCount]:
    """Count events on their node's ``other`` problem where the node has too many error states; returns the states of
    all of them that exist."""
    known = ingest_sql.states(sorted({(item.process_id, item.problem_id) for item in placed}))
    new: dict[tuple[int, int], int] = {}
    for item in placed:
        pair = item.process_id, item.problem_id
        if pair not in known and not item.is_kept_apart and not item.is_folded:
            new[pair] = item.node_id
    if not new:
        return known
    fitting = set(name_cache.limit.states((node, pair) for pair, node in new.items()))
    folded = [item for item in placed if (item.process_id, item.problem_id) in new.keys() - fitting]
    for item in folded:
        if not item.is_kept_apart:
            item.problem_id = _other_problem(item, name_cache, now)
            item.fold()
    return known | ingest_sql.states(sorted({(item.process_id, item.problem_id) for item in folded}))
