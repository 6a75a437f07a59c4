"""The triage: pending incidents, grouped by problem, with the evidence for one decision on each group.

Merged problems are one. Groups are ordered by impact: pending processes times how long the first of them is blocked;
then by level; then by the nearest deadline. However many groups and incidents there are, the number of queries is the
same.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model

from errorkernel.bypasses import triage_queries
from errorkernel.bypasses.sql_values import as_uuid, when
from errorkernel.bypasses.triage_queries import PendingRow
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

READ_MAX = 20_000
"""Only this many of the longest pending incidents are grouped."""
GROUPS_SHOWN = 50
PARTS_SHOWN = 6
TREND_HOURS = 12
RECORD_OF = timedelta(days=7)
RECORD_MAX = 50
"""Of each problem, so many of its newest applied decisions are read."""


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
    ``approvals``: proposals that need a second person. ``ungrouped``: pending incidents above ``READ_MAX``."""

    processes: int
    problems: int
    oldest_at: datetime | None
    events_per_s: float
    approvals: int
    ungrouped: int = 0


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


def read_numbers(now: datetime, *, only: Collection[UUID] | None = None, limit: int = GROUPS_SHOWN) -> Numbers:
    """What of the triage changes while it is shown."""
    rows = triage_queries.pending(READ_MAX)
    ungrouped = _pending_count() - len(rows) if len(rows) == READ_MAX else 0
    if only is not None:
        rows = [row for row in rows if as_uuid(row.key) in only]
    grouped: dict[int, list[PendingRow]] = {}
    for row in rows:
        grouped.setdefault(row.problem, []).append(row)
    first = sorted(grouped.items(), key=lambda item: _rank(item[1], now))[:limit]
    delivering = _delivering()
    bulks = bulk_progress.active_by_problem(now)
    facts = _Facts(
        now, [problem for problem, _ in first], [row for _, rows in first for row in rows], delivering, bulks
    )
    totals = Totals(
        processes=len(rows) + ungrouped,
        problems=len(grouped),
        oldest_at=when(rows[0].opened_at) if rows else None,
        events_per_s=_events_per_s(now),
        approvals=bulk_progress.approvals_pending(now),
        ungrouped=ungrouped,
    )
    moving = [] if only is not None else _moving(grouped, delivering, bulks)
    return Numbers([facts.summary(problem, rows) for problem, rows in first], moving, totals)


def _rank(rows: Sequence[PendingRow], now: datetime) -> tuple[float, int, str]:
    """Sorts groups by impact, the largest first."""
    blocked_s = (now - when(rows[0].opened_at)).total_seconds()
    level = max(LEVEL_RANK[level] for level in {row.level for row in rows})
    return -len(rows) * blocked_s, -level, _nearest_deadline(rows) or "~"


def _nearest_deadline(rows: Sequence[PendingRow]) -> str | None:
    return min((row.deadline_at for row in rows if row.deadline_at), default=None)


class _Facts:
    """What the summaries of these groups need besides their rows, each read once for all."""

    def __init__(
        self,
        now: datetime,
        wholes: Sequence[int],
        rows: Sequence[PendingRow],
        delivering: Counter[int],
        bulks: dict[int, Progress],
    ) -> None:
        self._now, self._delivering, self._bulks = now, delivering, bulks
        self._nodes = dict(Node.objects.filter(pk__in={row.node for row in rows}).values_list("pk", "name"))
        taken = Problem.objects.filter(pk__in=wholes, taken_until__gt=now, taken_by__is_active=True)
        self._taken = {
            problem: Taken(name, until)
            for problem, name, until in taken.values_list("pk", "taken_by__username", "taken_until")
            if until
        }
        people = {row.taken_by for row in rows if row.taken_by}
        active = get_user_model().objects.filter(pk__in=people, is_active=True) if people else ()
        self._active = {person.pk for person in active}

    def summary(self, problem: int, rows: Sequence[PendingRow]) -> Summary:
        deadline = _nearest_deadline(rows)
        taken = [row for row in rows if row.taken_by in self._active and row.taken_until]
        return Summary(
            problem=problem,
            key=as_uuid(rows[0].key),
            pending=len(rows),
            level=max({row.level for row in rows}, key=LEVEL_RANK.__getitem__),
            oldest_at=when(rows[0].opened_at),
            deadline_at=when(deadline) if deadline else None,
            nodes=_cut([(self._nodes[node], count) for node, count in Counter(row.node for row in rows).most_common()]),
            releases=_cut(Counter(row.release for row in rows if row.release).most_common()),
            processes=_cut(count_patterns([row.process for row in rows])),
            taken=self._taken.get(problem),
            taken_alone=sum(when(row.taken_until or "") > self._now for row in taken),
            delivering=self._delivering[problem],
            bulk=self._bulks.get(problem),
        )


def _cut(counted: Sequence[tuple[str, int]]) -> Parts:
    return Parts([Part(name, count) for name, count in counted[:PARTS_SHOWN]], max(0, len(counted) - PARTS_SHOWN))


def _pending_count() -> int:
    return Incident.objects.filter(state=State.OPEN.value).count()


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
