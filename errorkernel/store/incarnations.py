"""The incarnations of processes: begun by heartbeats, reports and outcomes, ended by what follows them.

A number that is not larger than the largest known one begins nothing: nodes count upwards, and a heartbeat or report
that was overtaken must not bring a dead incarnation back. Called inside the transaction of what is being recorded."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Max, Q

from errorkernel.domain.incarnations import ending
from errorkernel.domain.incident_state import State
from errorkernel.domain.values import Action, Outcome
from errorkernel.models import Decision, Incarnation
from errorkernel.store import ingest_sql

KEPT = 50
"""Incarnations of one process; a number further back than this is forgotten."""


class StartedIncarnation(NamedTuple):
    """An incarnation that was heard of: of which process, and what is known of it."""

    process: int
    number: int
    pid: int | None = None
    since: datetime | None = None


def begin(heard: Sequence[StartedIncarnation], *, now: datetime) -> None:
    """These live, or have lived; the ones before them are over. Told again, one learns what was not known."""
    if not heard:
        return
    for started in _learnt(heard):
        Incarnation.objects.filter(process=started.process, number=started.number).update(
            pid=started.pid, since=started.since
        )
    of_these = Incarnation.objects.filter(process__in={started.process for started in heard}).order_by()
    last = dict(of_these.values_list("process").annotate(Max("number")))
    new = sorted(
        {started[:2]: started for started in heard if started.number > last.get(started.process, -1)}.values(),
        key=_place,
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
    ingest_sql.forget_incarnations((process, number - KEPT) for process, number in newest.items() if number > KEPT)


def _learnt(heard: Sequence[StartedIncarnation]) -> list[StartedIncarnation]:
    """Of those that are known, what they are with what was not known of them."""
    numbers = {started.number for started in heard}
    found = Incarnation.objects.filter(process__in={started.process for started in heard}, number__in=numbers)
    known = {row[:2]: StartedIncarnation(*row) for row in found.values_list("process", "number", "pid", "since")}
    learnt = []
    for started in heard:
        if before := known.get(started[:2]):
            now = before._replace(pid=started.pid or before.pid, since=started.since or before.since)
            if now != before:
                learnt.append(now)
    return learnt


def _place(incarnation: StartedIncarnation) -> tuple[int, int]:
    return incarnation.process, incarnation.number


def stopped(keys: Collection[tuple[int, int]], *, now: datetime) -> None:
    """(process, incarnation) of those of which their node says that they have stopped."""
    _end(_running(keys), now=now, stopped=True)


def failed(keys: Collection[tuple[int, int]], *, now: datetime) -> None:
    """(process, incarnation) of those that have failed and that no other follows: they are quarantined."""
    ending_now = _running(keys)
    for incarnation in ending_now:
        incarnation.failures = max(1, incarnation.failures)  # though the report of it may still be on its way
    _end(ending_now, now=now, stopped=False)


def _running(keys: Collection[tuple[int, int]]) -> list[Incarnation]:
    if not keys:
        return []
    found = Incarnation.objects.filter(process__in={process for process, _ in keys}, ended_at__isnull=True)
    return [incarnation for incarnation in found if (incarnation.process_id, incarnation.number) in keys]


def obeyed(outcome: Outcome, process: int, incarnation: int | None, action: Action, *, now: datetime) -> None:
    """The node has done what was answered: a kill or stop ends the ``incarnation`` of ``process`` that asked."""
    if action is Action.CONTINUE:
        return
    if incarnation is not None:
        # Whatever was thought of its end before: it is known now.
        Incarnation.objects.filter(process=process, number=incarnation).update(
            ended_at=now, ending=ending(action, stopped=False, failures=0), incident=outcome.incident
        )
    if outcome.new_incarnation is not None:
        begin([StartedIncarnation(process, outcome.new_incarnation)], now=now)


def count_failures(failures: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """(process, incarnation) → failures in reports that have just been stored, 0 included: it has been heard of."""
    if not failures:
        return
    begin(
        [StartedIncarnation(*key) for key in sorted(set(failures) - ingest_sql.incarnations(failures.keys()))], now=now
    )
    ingest_sql.count_failures(
        (process, number, count) for (process, number), count in sorted(failures.items()) if count
    )


def of_process(process: int) -> Iterable[Incarnation]:
    """Newest first."""
    return Incarnation.objects.filter(process=process).select_related("incident__decision__rule").order_by("-number")


def restarts(processes: Iterable[int], since: datetime) -> dict[int, int]:
    """How often each of ``processes`` began anew since then, as far as its incarnations are kept: KEPT are the most."""
    known = Incarnation.objects.filter(process__in=processes).order_by().values_list("process")
    counted = known.annotate(kept=Count("pk"), begun=Count("pk", filter=Q(first_seen__gte=since)))
    # Where no life is older, the first of them was no restart, unless those before it are forgotten.
    return {process: begun - (begun == kept < KEPT) for process, kept, begun in counted}


def _end(ending_now: Sequence[Incarnation], *, now: datetime, stopped: bool) -> None:
    if not ending_now:
        return
    # Where the outcome is still on its way, behind the heartbeat or report of the next incarnation, it puts this right.
    made = Decision.objects.filter(
        incident__process__in={incarnation.process_id for incarnation in ending_now},
        incident__incarnation__in={incarnation.number for incarnation in ending_now},
        incident__state=State.APPLIED.value,
    ).exclude(action=Action.CONTINUE.value)
    rows = made.order_by("decided_at").values_list(
        "incident__process", "incident__incarnation", "action", "incident_id"
    )
    decisions = {(process, number): (Action(action), incident) for process, number, action, incident in rows}
    ended: list[tuple[int, str, UUID | None]] = []
    for incarnation in ending_now:
        action, incident = decisions.get((incarnation.process_id, incarnation.number), (None, None))
        how = ending(action, stopped=stopped, failures=incarnation.failures)
        ended.append((incarnation.pk, how.value, incident))
    ingest_sql.end_incarnations(ended, now=now)
