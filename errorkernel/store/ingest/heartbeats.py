"""What nodes say of themselves every half a minute, and of their processes.

A fleet says it all at once after a broker's restart, and one node may run thousands of processes: so it is taken in by
parts, each a short transaction, and of what has not changed nothing but the time is written.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction

from errorkernel.domain.liveness import LATE_AFTER, QUARANTINED, STOPPED
from errorkernel.domain.values import Heartbeat, ProcessReport
from errorkernel.models import Node, Process
from errorkernel.store import incarnations, ingest_sql
from errorkernel.store.incarnations import StartedIncarnation


class Row(NamedTuple):
    """A process as it is stored."""

    pk: int
    state: str
    pid: int | None
    since: datetime | None
    incarnation: int | None
    last_seen: datetime


def of_nodes(heartbeats: Sequence[tuple[str, Heartbeat]], *, now: datetime) -> None:
    """These nodes live, and what they say of themselves. One that is not known yet becomes known."""
    with transaction.atomic():
        for name, heartbeat in sorted(heartbeats):
            node, _ = Node.objects.get_or_create(name=name)
            Node.objects.filter(pk=node.pk).update(
                heartbeat_at=now,
                version=heartbeat.version,
                started_at=heartbeat.started_at,
                clock_skew_s=(heartbeat.at - now).total_seconds() if heartbeat.at else None,
                backlog=heartbeat.backlog,
                dropped=heartbeat.dropped,
                dropped_infos=heartbeat.dropped_infos,
                dropped_errors=heartbeat.dropped_errors,
                refused=heartbeat.refused,
            )


def of_processes(node: str, reports: Iterable[ProcessReport], *, now: datetime) -> list[str]:
    """Processes of a node, as its heartbeat has them; returns those that count their incarnations anew.

    A heartbeat that was overtaken by a restart must not bring the dead incarnation back; but where a larger number has
    not been heard of for so long that nothing can be under way any more, the node's word stands. Nothing is written of
    a node that was removed meanwhile, or where another worker is about the same processes: the next heartbeat comes
    soon."""
    try:
        return _of_processes(node, reports, now)
    except (Node.DoesNotExist, IntegrityError):
        return []


def _of_processes(node: str, reports: Iterable[ProcessReport], now: datetime) -> list[str]:
    latest = {report.name: report for report in reports}
    with transaction.atomic():
        pk = Node.objects.values_list("pk", flat=True).get(name=node)
        known = _known(pk, latest)
        anew = [name for name, row in known.items() if _begins_anew(latest[name], row, now)]
        heard = {name: row for name, row in known.items() if name in anew or _is_newer(latest[name], row)}
        changed = [(name, _after(latest[name], row)) for name, row in heard.items()]
        changed = [(name, after) for name, after in changed if after != heard[name]]
        Process.objects.filter(pk__in=[row.pk for row in heard.values()]).update(last_seen=now)
        ingest_sql.set_process_states((row.pk, row.state, row.pid, row.since, row.incarnation) for _, row in changed)
        new = [name for name in latest if name not in known]
        # Another worker, whose word is as good, may be first.
        Process.objects.bulk_create([_made(pk, latest[name], now) for name in new], ignore_conflicts=True)
        rows = known | _known(pk, new)
        _live([(rows[name].pk, latest[name]) for name in (*new, *(name for name, _ in changed))], now=now)
    return anew


def _known(node: int, names: Iterable[str]) -> dict[str, Row]:
    """Held until the transaction ends, and taken in the order in which the intake takes them."""
    found = Process.objects.select_for_update().filter(node=node, name__in=list(names)).order_by("pk")
    rows = found.values_list("name", "pk", "state", "pid", "since", "incarnation", "last_seen")
    return {row[0]: Row(*row[1:]) for row in rows}


def _is_newer(reports: ProcessReport, row: Row) -> bool:
    return reports.incarnation is None or row.incarnation is None or row.incarnation <= reports.incarnation


def _begins_anew(reports: ProcessReport, row: Row, now: datetime) -> bool:
    return not _is_newer(reports, row) and row.last_seen <= now - LATE_AFTER


def _after(reports: ProcessReport, row: Row) -> Row:
    """A process that does not say which incarnation it is, is the one that it was."""
    number = row.incarnation if reports.incarnation is None else reports.incarnation
    return row._replace(state=reports.state, pid=reports.pid, since=reports.since, incarnation=number)


def _made(node: int, reports: ProcessReport, now: datetime) -> Process:
    fields = {"state": reports.state, "pid": reports.pid, "since": reports.since, "incarnation": reports.incarnation}
    return Process(node_id=node, name=reports.name, first_seen=now, last_seen=now, **fields)


def _live(reports: Sequence[tuple[int, ProcessReport]], *, now: datetime) -> None:
    """Their incarnations begin, and end where the node says so."""
    numbered = [(process, report, report.incarnation) for process, report in reports if report.incarnation is not None]
    incarnations.begin(
        [StartedIncarnation(process, number, report.pid, report.since) for process, report, number in numbered], now=now
    )
    incarnations.stopped(
        [(process, number) for process, report, number in numbered if report.state == STOPPED], now=now
    )
    incarnations.failed(
        [(process, number) for process, report, number in numbered if report.state == QUARANTINED], now=now
    )
