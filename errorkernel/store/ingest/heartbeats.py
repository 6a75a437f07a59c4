"""Stores heartbeats, which nodes send every half minute with the state of their processes.

After a broker's restart all nodes send at once, and one node may run thousands of processes. So heartbeats are stored
in parts, each in a short transaction, and for unchanged processes only the time is written.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction

from errorkernel.domain.liveness import LATE_AFTER, QUARANTINED, STOPPED, expect
from errorkernel.domain.values import Heartbeat, ProcessReport
from errorkernel.models import Node, Process
from errorkernel.store import incarnations, ingest_sql
from errorkernel.store.incarnations import StartedIncarnation
from errorkernel.store.ingest.name_limit import NameLimit
from errorkernel.store.ingest_sql import ProcessState


class Row(NamedTuple):
    """A process as it is stored."""

    pk: int
    state: str
    pid: int | None
    since: datetime | None
    incarnation: int | None
    last_seen: datetime


def of_nodes(heartbeats: Sequence[tuple[str, Heartbeat]], *, now: datetime) -> None:
    """Store the heartbeats of these nodes; unknown nodes are created."""
    with transaction.atomic():
        for name, heartbeat in sorted(heartbeats):
            node, _ = Node.objects.get_or_create(name=name)
            late_at, gone_at = expect(now)
            Node.objects.filter(pk=node.pk).update(
                heartbeat_at=now,
                late_at=late_at,
                gone_at=gone_at,
                version=heartbeat.version,
                started_at=heartbeat.started_at,
                clock_skew_s=(heartbeat.at - now).total_seconds() if heartbeat.at else None,
                backlog=heartbeat.backlog,
                dropped=heartbeat.dropped,
                dropped_infos=heartbeat.dropped_infos,
                dropped_errors=heartbeat.dropped_errors,
                refused=heartbeat.refused,
            )


def of_processes(
    node: str, reports: Iterable[ProcessReport], *, now: datetime, limit: NameLimit | None = None
) -> list[str]:
    """Store processes of a node from its heartbeat; returns those whose incarnation numbers start again.

    A heartbeat that is older than a restart must not bring the ended incarnation back. But where the larger number has
    not been reported for so long that no message can still be on its way, the node's number counts. Nothing is stored
    for a node that was removed meanwhile, or where another worker stores the same processes: the next heartbeat comes
    soon. New processes above the ``limit`` of the node are left out."""
    try:
        return _of_processes(node, reports, now, limit)
    except (Node.DoesNotExist, IntegrityError):
        return []


def _of_processes(node: str, reports: Iterable[ProcessReport], now: datetime, limit: NameLimit | None) -> list[str]:
    latest = {report.name: report for report in reports}
    with transaction.atomic():
        pk = Node.objects.values_list("pk", flat=True).get(name=node)
        if limit:
            _leave_out_surplus(pk, latest, limit, now)
        known = _known(pk, latest)
        restarted = [name for name, row in known.items() if _restarts_numbers(latest[name], row, now)]
        current = {name: row for name, row in known.items() if name in restarted or _is_newer(latest[name], row)}
        changed = [(name, _after(latest[name], row)) for name, row in current.items()]
        changed = [(name, after) for name, after in changed if after != current[name]]
        Process.objects.filter(pk__in=[row.pk for row in current.values()]).update(last_seen=now)
        ingest_sql.set_process_states(
            ProcessState(row.pk, row.state, row.pid, row.since, row.incarnation) for _, row in changed
        )
        new = [name for name in latest if name not in known]
        # Another worker may be first, with equal data.
        Process.objects.bulk_create([_made(pk, latest[name], now) for name in new], ignore_conflicts=True)
        rows = known | _known(pk, new)
        _store_incarnations([(rows[name].pk, latest[name]) for name in (*new, *(name for name, _ in changed))], now=now)
    return restarted


def _leave_out_surplus(node: int, latest: dict[str, ProcessReport], limit: NameLimit, now: datetime) -> None:
    """Remove the new processes for which the node has no room. Called before any process is locked: the limit locks the
    events' counter, as the intake does before it changes processes."""
    known = set(Process.objects.filter(node=node, name__in=list(latest)).values_list("name", flat=True))
    new = latest.keys() - known
    surplus = new - set(limit.processes((node, name) for name in latest if name in new)) if new else set()
    for name in surplus:
        del latest[name]
    if surplus:
        Node.objects.filter(pk=node).update(names_folded_at=now)


def _known(node: int, names: Iterable[str]) -> dict[str, Row]:
    """The processes, locked until the transaction ends, in the order in which the intake locks them."""
    found = Process.objects.select_for_update().filter(node=node, name__in=list(names)).order_by("pk")
    rows = found.values_list("name", "pk", "state", "pid", "since", "incarnation", "last_seen")
    return {row[0]: Row(*row[1:]) for row in rows}


def _is_newer(report: ProcessReport, row: Row) -> bool:
    return report.incarnation is None or row.incarnation is None or row.incarnation <= report.incarnation


def _restarts_numbers(report: ProcessReport, row: Row, now: datetime) -> bool:
    return not _is_newer(report, row) and row.last_seen <= now - LATE_AFTER


def _after(report: ProcessReport, row: Row) -> Row:
    """The process after the heartbeat; without an incarnation in it, the stored one is kept."""
    number = row.incarnation if report.incarnation is None else report.incarnation
    return row._replace(state=report.state, pid=report.pid, since=report.since, incarnation=number)


def _made(node: int, report: ProcessReport, now: datetime) -> Process:
    fields = {"state": report.state, "pid": report.pid, "since": report.since, "incarnation": report.incarnation}
    return Process(node_id=node, name=report.name, first_seen=now, last_seen=now, **fields)


def _store_incarnations(reports: Sequence[tuple[int, ProcessReport]], *, now: datetime) -> None:
    """Start their incarnations, and end those that the node reports as ended."""
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
