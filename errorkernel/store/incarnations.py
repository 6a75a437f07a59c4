"""The incarnations of processes: started by heartbeats, events and outcomes, ended by what follows them.

Only a number above the largest known one starts an incarnation: nodes count upwards, and a delayed heartbeat or event
must not bring an ended incarnation back. The functions run inside the transaction of the caller."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.models import Count, Max, Q

from errorkernel.domain.incarnations import ending
from errorkernel.domain.incident_state import State
from errorkernel.domain.values import Action, Outcome
from errorkernel.models import Decision, Incarnation
from errorkernel.store import ingest_sql
from errorkernel.store.ingest_sql import EndedIncarnation

KEPT = 50
"""Incarnations that are kept of one process; older ones are deleted."""


class StartedIncarnation(NamedTuple):
    """An incarnation named by a heartbeat, event or outcome. ``pid``, ``since``: None where unknown."""

    process: int
    number: int
    pid: int | None = None
    since: datetime | None = None


def begin(reported: Sequence[StartedIncarnation], *, now: datetime) -> None:
    """Store new incarnations and end the ones before them; complete the data of known ones."""
    if not reported:
        return
    for started in _completed(reported):
        Incarnation.objects.filter(process=started.process, number=started.number).update(
            pid=started.pid, since=started.since
        )
    of_these = Incarnation.objects.filter(process__in={started.process for started in reported}).order_by()
    last = dict(of_these.values_list("process").annotate(Max("number")))
    new = sorted(
        {started[:2]: started for started in reported if started.number > last.get(started.process, -1)}.values(),
        key=_sort_key,
    )
    if not new:
        return
    Incarnation.objects.bulk_create(
        Incarnation(
            process_id=started.process, number=started.number, pid=started.pid, since=started.since, first_seen=now
        )
        for started in new
    )
    newest = {started.process: started.number for started in new}
    open_incarnations = Incarnation.objects.filter(process__in=newest, ended_at__isnull=True)
    _end(
        [running for running in open_incarnations if running.number < newest[running.process_id]],
        now=now,
        stopped=False,
    )
    ingest_sql.forget_incarnations({process: number - KEPT for process, number in newest.items() if number > KEPT})


def _completed(reported: Sequence[StartedIncarnation]) -> list[StartedIncarnation]:
    """The known ones among ``reported`` whose data becomes more complete."""
    numbers = {started.number for started in reported}
    found = Incarnation.objects.filter(process__in={started.process for started in reported}, number__in=numbers)
    known = {row[:2]: StartedIncarnation(*row) for row in found.values_list("process", "number", "pid", "since")}
    completed = []
    for started in reported:
        if before := known.get(started[:2]):
            now = before._replace(pid=started.pid or before.pid, since=started.since or before.since)
            if now != before:
                completed.append(now)
    return completed


def _sort_key(incarnation: StartedIncarnation) -> tuple[int, int]:
    return incarnation.process, incarnation.number


def stopped(keys: Collection[tuple[int, int]], *, now: datetime) -> None:
    """``keys``: (process, incarnation) of those that their node reports as stopped."""
    _end(_running(keys), now=now, stopped=True)


def failed(keys: Collection[tuple[int, int]], *, now: datetime) -> None:
    """``keys``: (process, incarnation) of those that failed and are quarantined, so that no other follows."""
    ending_now = _running(keys)
    for incarnation in ending_now:
        incarnation.failures = max(1, incarnation.failures)  # the event may still be on its way
    _end(ending_now, now=now, stopped=False)


def _running(keys: Collection[tuple[int, int]]) -> list[Incarnation]:
    if not keys:
        return []
    found = Incarnation.objects.filter(process__in={process for process, _ in keys}, ended_at__isnull=True)
    return [incarnation for incarnation in found if (incarnation.process_id, incarnation.number) in keys]


def record_applied(outcome: Outcome, process: int, incarnation: int | None, action: Action, *, now: datetime) -> None:
    """Record an applied decision: a kill or stop ends the ``incarnation`` of ``process`` that was blocked."""
    if action is Action.CONTINUE:
        return
    if incarnation is not None:
        # Overwrites an earlier assumption about its end.
        Incarnation.objects.filter(process=process, number=incarnation).update(
            ended_at=now, ending=ending(action, stopped=False, failures=0), incident=outcome.incident
        )
    if outcome.new_incarnation is not None:
        begin([StartedIncarnation(process, outcome.new_incarnation)], now=now)


def count_failures(failures: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """``failures``: (process, incarnation) → failures in the events that have just been stored; 0 counts as a sign of
    the incarnation."""
    if not failures:
        return
    begin(
        [StartedIncarnation(*key) for key in sorted(set(failures) - ingest_sql.incarnations(failures.keys()))], now=now
    )
    ingest_sql.count_failures(failures)


def of_process(process: int) -> Iterable[Incarnation]:
    """Newest first."""
    return Incarnation.objects.filter(process=process).select_related("incident__decision__rule").order_by("-number")


def restarts(processes: Iterable[int], since: datetime) -> dict[int, int]:
    """How often each of ``processes`` restarted since then, at most KEPT."""
    known = Incarnation.objects.filter(process__in=processes).order_by().values_list("process")
    counted = known.annotate(kept=Count("pk"), begun=Count("pk", filter=Q(first_seen__gte=since)))
    # Where none is older, the first of them was no restart, unless older ones were deleted.
    return {process: begun - (begun == kept < KEPT) for process, kept, begun in counted}


def _end(ending_now: Sequence[Incarnation], *, now: datetime, stopped: bool) -> None:
    if not ending_now:
        return
    # An outcome that arrives after the heartbeat or event of the next incarnation corrects this.
    made = Decision.objects.filter(
        incident__process__in={incarnation.process_id for incarnation in ending_now},
        incident__incarnation__in={incarnation.number for incarnation in ending_now},
        incident__state=State.APPLIED.value,
    ).exclude(action=Action.CONTINUE.value)
    rows = made.order_by("decided_at").values_list(
        "incident__process", "incident__incarnation", "action", "incident_id"
    )
    decisions = {(process, number): (Action(action), incident) for process, number, action, incident in rows}
    ended: list[EndedIncarnation] = []
    for incarnation in ending_now:
        action, incident = decisions.get((incarnation.process_id, incarnation.number), (None, None))
        how = ending(action, stopped=stopped, failures=incarnation.failures)
        ended.append(EndedIncarnation(incarnation.pk, how.value, incident))
    ingest_sql.end_incarnations(ended, now=now)
