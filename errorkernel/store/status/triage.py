"""The triage: pending incidents, grouped by problem, with the evidence for one decision on each group.

Merged problems are one. Groups are ordered by impact: pending processes times how long the first of them is blocked;
then by level; then by the nearest deadline. However many groups and incidents there are, the number of queries is the
same.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from errorkernel.bypasses import triage_queries
from errorkernel.bypasses.sql_values import as_uuid, when
from errorkernel.bypasses.triage_queries import ALL, Level, Only
from errorkernel.domain.incident_state import IN_DELIVERY, State
from errorkernel.domain.process_patterns import count_patterns
from errorkernel.domain.rollups import minute_of
from errorkernel.domain.stack_frames import Frame, innermost
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import BulkDecision, ErrorEvent, Incident, Node, Problem
from errorkernel.store import rollups
from errorkernel.store.incidents import bulk_progress
from errorkernel.store.incidents.bulk_progress import Progress
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.incidents.takes import Taken, take_of
from errorkernel.store.status.decision_history import CAME_BACK_WITHIN
from errorkernel.store.status.triage_order import in_order

GROUPS_SHOWN = 50
PARTS_SHOWN = 6
TREND_HOURS = 12
RECORD_OF = timedelta(days=7)
RECORD_MAX = 50
"""Of each problem, so many of its newest applied decisions are read."""
_LAST = "~"
"""After every time as the database writes it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A node, release or pattern of process names, and its number of pending processes."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The largest first. ``more``: how many further ones are not shown."""

    shown: list[Part]
    more: int

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.shown) + self.more


@dataclass(frozen=True, slots=True)
class Record:
    """Decisions that were applied within ``RECORD_OF``: ``times`` of them, after ``came_back`` of which the process
    reported the problem again within an hour. Only the ``RECORD_MAX`` newest of a problem are counted."""

    action: str
    times: int
    came_back: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a group, which change while it is shown. ``key``: id of the longest pending incident.

    ``level``: the highest of its pending incidents. ``taken``: the take of the whole problem; ``taken_alone``: how many
    of its incidents are taken by themselves. ``delivering``: decisions on the problem that are not applied yet.
    ``bulk``: the bulk decision of the problem that is proposed, in progress, or was held.
    """

    problem: int
    key: UUID
    pending: int
    level: str
    oldest_at: datetime
    deadline_at: datetime | None
    nodes: Parts
    releases: Parts
    processes: Parts
    taken: Taken | None
    taken_alone: int
    delivering: int
    bulk: Progress | None


@dataclass(frozen=True, slots=True)
class Group:
    """A problem with pending incidents. ``trend``: its events in each of the latest ``TREND_HOURS``, the present one
    last. ``frames``: of the program itself, the innermost last. ``sample``: the longest pending incident."""

    summary: Summary
    problem: Problem
    sample: Incident
    trend: list[int]
    frames: tuple[Frame, ...]
    record: list[Record]


@dataclass(frozen=True, slots=True)
class Moving:
    """A problem without pending incidents, whose decisions are in delivery or whose bulk decision is in progress."""

    problem: Problem
    delivering: int
    bulk: Progress | None


@dataclass(frozen=True, slots=True)
class Totals:
    """``processes``: pending incidents; ``problems``: their groups. ``events_per_s``: in the last minute.
    ``approvals``: proposals that need a second person."""

    processes: int
    problems: int
    oldest_at: datetime | None
    events_per_s: float
    approvals: int


@dataclass(frozen=True, slots=True)
class Triage:
    """``groups``: the first of ``totals.problems``."""

    groups: list[Group]
    moving: list[Moving]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Numbers:
    """The triage without evidence, for pages that show it already: ``summaries`` of the first groups, in their
    order."""

    summaries: list[Summary]
    moving: list[Moving]
    totals: Totals


def read(now: datetime, *, only: Collection[UUID] | None = None, limit: int = GROUPS_SHOWN) -> Triage:
    """The triage at ``now``. ``only``: restricts the pending incidents; ``limit``: groups, at most."""
    numbers = read_numbers(now, only=only, limit=limit)
    wholes = [summary.problem for summary in numbers.summaries]
    problems = Problem.objects.select_related("assignee", "taken_by").in_bulk(wholes)
    samples = {sample.pk: sample for sample in in_order(summary.key for summary in numbers.summaries)}
    stacks = dict(
        ErrorEvent.objects.filter(pk__in=[sample.seq for sample in samples.values()]).values_list("seq", "stack")
    )
    trends = rollups.problems_by_hour(wholes, now, TREND_HOURS)
    led_to = records(wholes, now)
    groups = [
        Group(
            summary,
            problems[summary.problem],
            sample,
            trends[summary.problem],
            innermost(stacks.get(sample.seq, "")),
            led_to.get(summary.problem, []),
        )
        for summary in numbers.summaries
        if summary.problem in problems and (sample := samples.get(summary.key))
    ]
    return Triage(groups, numbers.moving, numbers.totals)


def read_numbers(
    now: datetime, *, only: Collection[UUID] | None = None, limit: int = GROUPS_SHOWN, parts: bool = True
) -> Numbers:
    """What of the triage changes while it is shown. ``parts``: whether nodes, releases and processes are wanted."""
    restricted = ALL if only is None else Only.these(only)
    levels = triage_queries.levels(restricted)
    merged = _merged(level.problem for level in levels)
    groups: dict[int, _Pending] = {}
    for level in levels:
        groups.setdefault(merged.get(level.problem, level.problem), _Pending()).add(level)
    first = sorted(groups, key=lambda problem: groups[problem].rank(now))[:limit]
    facts = _Facts(now, first, groups, merged, restricted, parts=parts)
    totals = Totals(
        processes=sum(group.count for group in groups.values()),
        problems=len(groups),
        oldest_at=when(min(group.opened_at for group in groups.values())) if groups else None,
        events_per_s=_events_per_s(now),
        approvals=bulk_progress.approvals_pending(now),
    )
    moving = [] if only is not None else _moving(groups, facts.delivering, facts.bulks)
    return Numbers([facts.summary(problem) for problem in first if problem in facts.oldest], moving, totals)


def _merged(problems: Iterable[int]) -> dict[int, int]:
    """Of these, those that are merged → the problem that they are merged into."""
    found = Problem.objects.filter(pk__in=set(problems), merged_into__isnull=False)
    return {problem: whole for problem, whole in found.values_list("pk", "merged_into") if whole is not None}


class _Pending:
    """The pending incidents of a problem with its parts, added up level by level."""

    def __init__(self) -> None:
        self.members: set[int] = set()
        self.count = 0
        self.level = ""
        self.opened_at = _LAST
        self.deadline_at = _LAST

    def add(self, level: Level) -> None:
        self.members.add(level.problem)
        self.count += level.pending
        self.level = max(self.level or level.level, level.level, key=LEVEL_RANK.__getitem__)
        self.opened_at = min(self.opened_at, level.opened_at)
        self.deadline_at = min(self.deadline_at, level.deadline_at or _LAST)

    def rank(self, now: datetime) -> tuple[float, int, str]:
        """Sorts groups by impact, the largest first."""
        blocked_s = (now - when(self.opened_at)).total_seconds()
        return -self.count * blocked_s, -LEVEL_RANK[self.level], self.deadline_at


class _Facts:
    """What the summaries of these groups need, each read once for all of them."""

    def __init__(
        self,
        now: datetime,
        wholes: Sequence[int],
        groups: Mapping[int, _Pending],
        merged: Mapping[int, int],
        only: Only,
        *,
        parts: bool,
    ) -> None:
        self._groups = groups
        self.delivering = _delivering()
        self.bulks = bulk_progress.active_by_problem(now)
        # Of each member the oldest; of those of a group the one that is older.
        members = [(member, whole) for whole in wholes for member in groups[whole].members]
        found = sorted(triage_queries.oldest(members, only), key=lambda row: row[2], reverse=True)
        self.oldest = {whole: as_uuid(key) for whole, key, _ in found}
        taken = Problem.objects.filter(pk__in=wholes, taken_until__gt=now, taken_by__is_active=True)
        self._taken = {
            problem: Taken(name, until)
            for problem, name, until in taken.values_list("pk", "taken_by__username", "taken_until")
            if until
        }
        self._taken_alone: Counter[int] = Counter()
        for problem, count in triage_queries.taken(now, only).items():
            self._taken_alone[merged.get(problem, problem)] += count
        self._nodes, self._releases, self._processes = (
            (
                _node_names(_by_problem(triage_queries.nodes(only), merged, wholes)),
                _by_problem(triage_queries.releases(only), merged, wholes),
                _patterns(triage_queries.processes(only), merged, wholes),
            )
            if parts
            else ({}, {}, {})
        )

    def summary(self, problem: int) -> Summary:
        pending = self._groups[problem]
        return Summary(
            problem=problem,
            key=self.oldest[problem],
            pending=pending.count,
            level=pending.level,
            oldest_at=when(pending.opened_at),
            deadline_at=None if pending.deadline_at == _LAST else when(pending.deadline_at),
            nodes=_cut(self._nodes.get(problem, Counter()).most_common()),
            releases=_cut(self._releases.get(problem, Counter()).most_common()),
            processes=_cut(self._processes.get(problem, [])),
            taken=self._taken.get(problem),
            taken_alone=self._taken_alone[problem],
            delivering=self.delivering[problem],
            bulk=self.bulks.get(problem),
        )


Name = TypeVar("Name", int, str)


def _by_problem(
    rows: Iterable[tuple[int, Name, int]], merged: Mapping[int, int], wholes: Sequence[int]
) -> dict[int, Counter[Name]]:
    """(problem, name, count) as problem with its parts → name → count, for ``wholes``."""
    found: dict[int, Counter[Name]] = {whole: Counter() for whole in wholes}
    for problem, name, count in rows:
        if (counted := found.get(merged.get(problem, problem))) is not None:
            counted[name] += count
    return found


def _node_names(counted: dict[int, Counter[int]]) -> dict[int, Counter[str]]:
    """With the names of the nodes."""
    names = dict(
        Node.objects.filter(pk__in={node for nodes in counted.values() for node in nodes}).values_list("pk", "name")
    )
    return {
        problem: Counter({names[node]: count for node, count in nodes.items() if node in names})
        for problem, nodes in counted.items()
    }


def _patterns(
    rows: Iterable[tuple[int, str]], merged: Mapping[int, int], wholes: Sequence[int]
) -> dict[int, list[tuple[str, int]]]:
    names: dict[int, list[str]] = {}
    for problem, name in rows:
        names.setdefault(problem, []).append(name)
    together: dict[int, list[str]] = {whole: [] for whole in wholes}
    for problem, found in names.items():
        if (whole := merged.get(problem, problem)) in together:
            together[whole] += found
    return {whole: count_patterns(found) for whole, found in together.items()}


def _cut(counted: Sequence[tuple[str, int]]) -> Parts:
    return Parts([Part(name, count) for name, count in counted[:PARTS_SHOWN]], max(0, len(counted) - PARTS_SHOWN))


def _delivering() -> Counter[int]:
    """Problem, with its parts → decisions in delivery."""
    moving = Incident.objects.filter(state__in=IN_DELIVERY).order_by()
    # Not grouped by the database: SQLite would walk all incidents in the order of their problems.
    return Counter(whole or problem for problem, whole in moving.values_list("problem", "problem__merged_into"))


def _moving(pending: Collection[int], delivering: Counter[int], bulks: dict[int, Progress]) -> list[Moving]:
    started = [problem for problem, bulk in bulks.items() if bulk.state in BulkDecision.UNDER_WAY]
    wanted = [problem for problem in dict.fromkeys([*delivering, *started]) if problem not in pending][:GROUPS_SHOWN]
    found = Problem.objects.in_bulk(wanted) if wanted else {}
    return [Moving(found[pk], delivering[pk], bulks.get(pk)) for pk in wanted if pk in found]


def _events_per_s(now: datetime) -> float:
    """Of the last full minute and the present one."""
    last = minute_of(now)
    counted = rollups.by_time(last - 1, last, 1)
    events = sum(sum(numbers[:-1]) for numbers in counted.values())
    return events / (60 + now.timestamp() % 60)


def _parts_of(wholes: Sequence[int]) -> list[tuple[int, int]]:
    """(part, whole) of all problems that are merged into these."""
    merged = Problem.objects.filter(merged_into__in=wholes).values_list("pk", "merged_into")
    return [(part, whole) for part, whole in merged if whole is not None]


def records(wholes: Sequence[int], now: datetime) -> dict[int, list[Record]]:
    """Problem, with its parts → what its decisions led to, the most frequent action first."""
    return _records([*((whole, whole) for whole in wholes), *_parts_of(wholes)], now)


def _records(problems: Sequence[tuple[int, int]], now: datetime) -> dict[int, list[Record]]:
    """Problem, with its parts → what its decisions led to, the most frequent action first."""
    times: dict[int, Counter[str]] = {}
    came_back: dict[int, Counter[str]] = {}
    for row in triage_queries.applied(problems, now - RECORD_OF, RECORD_MAX) if problems else ():
        times.setdefault(row.problem, Counter())[row.action] += 1
        again = row.next_opened_at
        if again is not None and when(again) - when(row.ended_at) <= CAME_BACK_WITHIN:
            came_back.setdefault(row.problem, Counter())[row.action] += 1
    return {
        problem: [
            Record(action, count, came_back.get(problem, Counter())[action]) for action, count in counted.most_common()
        ]
        for problem, counted in times.items()
    }


class Member(NamedTuple):
    """A process of a group, to be decided. ``taken``: its own take, or that of its problem."""

    incident: Incident
    taken: Taken | None


@dataclass(frozen=True, slots=True)
class Members:
    """A page of the processes of a group, the longest pending first."""

    shown: list[Member]
    total: int


def members(
    problem: int, now: datetime, *, first: int = 0, count: int = 50, only: Collection[UUID] | None = None
) -> Members:
    """The processes from place ``first`` on. ``problem``: with the problems that are merged into it."""
    wanted = [problem, *(part for part, _ in _parts_of([problem]))]
    rows = Incident.objects.filter(problem__in=wanted, state=State.OPEN.value).order_by("opened_at", "id")
    if only is not None:
        keys = [key for key in rows.values_list("pk", flat=True) if key in only]
        total, page = len(keys), keys[first : first + count]
    else:
        total, page = rows.count(), list(rows.values_list("pk", flat=True)[first : first + count])
    whole = Problem.objects.select_related("taken_by").filter(pk=problem).first()
    found = with_relations().filter(pk__in=page).order_by("opened_at", "id")
    return Members([Member(row, take_of(row, now) or (take_of(whole, now) if whole else None)) for row in found], total)
