"""The processes of a node, grouped by name: a node has up to 2,000, and most of them are as they should be."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import QUARANTINED, Liveness, of_process
from errorkernel.domain.name_patterns import OTHERS, by_pattern
from errorkernel.models import Incident, Node, Process
from errorkernel.store import incarnations
from errorkernel.web.console.pager import Pager, first_row

GROUPS_A_PAGE = 30
ROWS_OF_GROUP = 5
ROWS_A_PAGE = 100
RESTARTS_OF = timedelta(hours=24)


@dataclass(slots=True)
class Row:
    """A process with its liveness, its restarts of the last day, and whether an incident of it is pending."""

    process: Process
    liveness: Liveness
    is_pending: bool
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Processes whose names differ by numbers. ``rows``: those that are shown, urgent ones first; none when all is
    well."""

    pattern: str
    total: int
    pending: int
    quarantined: int
    events: int
    rows: list[Row]

    @property
    def is_others(self) -> bool:
        return self.pattern == OTHERS

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True)
class Processes:
    """A page of groups, or of the processes of one group (``chosen``)."""

    total: int
    groups: list[Group]
    chosen: str
    pager: Pager


def processes_of(node: Node, now: datetime, *, chosen: str, page: int) -> Processes:
    """``chosen``: the pattern of one group, whose processes are shown a page at a time; empty for all groups."""
    rows = _rows(node, now)
    named = {row.process.name: row for row in rows}
    groups = by_pattern(named)
    if chosen:
        members = sorted((named[name] for name in groups.get(chosen, ())), key=_urgency)
        first = first_row(page, ROWS_A_PAGE)
        found = [_group(chosen, members, members[first : first + ROWS_A_PAGE])] if members else []
        pager = Pager.numbered({"group": chosen}, page, ROWS_A_PAGE, len(members))
    else:
        every = [_with_urgent(pattern, [named[name] for name in names]) for pattern, names in groups.items()]
        every.sort(key=lambda group: (-group.pending, -group.quarantined, group.is_others, group.pattern))
        first = first_row(page, GROUPS_A_PAGE)
        found = every[first : first + GROUPS_A_PAGE]
        pager = Pager.numbered({}, page, GROUPS_A_PAGE, len(every))
    _count_restarts([row for group in found for row in group.rows], now)
    return Processes(len(rows), found, chosen, pager)


def _rows(node: Node, now: datetime) -> list[Row]:
    asking = set(Incident.objects.filter(node=node, state=State.OPEN).values_list("process_id", flat=True))
    return [
        Row(
            process,
            of_process(node.heard, node.heartbeat_at, process.state, process.last_seen, now),
            process.pk in asking,
        )
        for process in node.processes.all()
    ]


def _with_urgent(pattern: str, members: list[Row]) -> Group:
    """The group with its first rows where one of them wants a person; otherwise it is folded. A few others are shown
    in any case: their line would name none of them."""
    members = sorted(members, key=_urgency)
    is_open = _is_urgent(members[0]) or (pattern == OTHERS and len(members) <= ROWS_OF_GROUP)
    return _group(pattern, members, members[:ROWS_OF_GROUP] if is_open else [])


def _group(pattern: str, members: list[Row], shown: list[Row]) -> Group:
    return Group(
        pattern,
        len(members),
        sum(row.is_pending for row in members),
        sum(row.process.state == QUARANTINED for row in members),
        sum(row.process.events for row in members),
        shown,
    )


def _is_urgent(row: Row) -> bool:
    return row.is_pending or row.process.state == QUARANTINED


def _urgency(row: Row) -> tuple[bool, bool, str]:
    return not row.is_pending, row.process.state != QUARANTINED, row.process.name


def _count_restarts(rows: list[Row], now: datetime) -> None:
    counted = incarnations.restarts([row.process.pk for row in rows], now - RESTARTS_OF)
    for row in rows:
        row.restarts = counted.get(row.process.pk, 0)
