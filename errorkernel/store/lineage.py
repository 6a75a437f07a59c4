"""The incarnations of processes: begun by hellos, reports and outcomes, ended by what follows them.

A number that is not larger than the largest known one begins nothing: nodes count upwards, and a hello or report that
was overtaken must not bring a dead life back. Called inside the transaction of what is being recorded.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Count, Max, Q

from errorkernel.core.incident import State
from errorkernel.core.lineage import ending
from errorkernel.core.values import Action, Outcome
from errorkernel.models import Decision, Incarnation
from errorkernel.store import hotpath

KEPT = 50
"""Incarnations of one process; a number further back than this is forgotten."""


def begin(process: int, number: int, *, now: datetime, pid: int | None = None, since: datetime | None = None) -> None:
    """This incarnation lives, or has lived; the ones before it are over. Told again, it learns what it did not know."""
    known = Incarnation.objects.filter(process=process, number=number)
    told = {name: value for name, value in (("pid", pid), ("since", since)) if value is not None}
    if known.update(**told) if told else known.exists():
        return
    last = Incarnation.objects.filter(process=process).aggregate(last=Max("number"))["last"]
    if last is not None and last >= number:
        return
    Incarnation.objects.create(process_id=process, number=number, first_seen=now, **told)
    for former in Incarnation.objects.filter(process=process, number__lt=number, ended_at__isnull=True):
        _end(former, now=now, stopped=False)
    Incarnation.objects.filter(process=process, number__lte=number - KEPT).delete()


def stopped(process: int, number: int, *, now: datetime) -> None:
    """Its node says that this incarnation has stopped."""
    for life in Incarnation.objects.filter(process=process, number=number, ended_at__isnull=True):
        _end(life, now=now, stopped=True)


def failed(process: int, number: int, *, now: datetime) -> None:
    """Its node says that this incarnation has failed and no other follows: it is quarantined."""
    for life in Incarnation.objects.filter(process=process, number=number, ended_at__isnull=True):
        life.failures = max(1, life.failures)  # though the report of it may still be on its way
        _end(life, now=now, stopped=False)


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
        begin(process, outcome.new_incarnation, now=now)


def count_failures(failures: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """(process, incarnation) → failures in reports that have just been stored, 0 included: it has been heard of."""
    if not failures:
        return
    for process, number in sorted(set(failures) - hotpath.incarnations(failures.keys())):
        begin(process, number, now=now)
    hotpath.count_failures((process, number, count) for (process, number), count in sorted(failures.items()) if count)


def of_process(process: int) -> Iterable[Incarnation]:
    """Newest first."""
    return Incarnation.objects.filter(process=process).select_related("incident__decision__rule").order_by("-number")


def restarts(processes: Iterable[int], since: datetime) -> dict[int, int]:
    """How often each of ``processes`` began anew since then, as far as its lives are kept: KEPT are the most."""
    lives = Incarnation.objects.filter(process__in=processes).order_by().values_list("process")
    counted = lives.annotate(kept=Count("pk"), begun=Count("pk", filter=Q(first_seen__gte=since)))
    # Where no life is older, the first of them was no restart, unless those before it are forgotten.
    return {process: begun - (begun == kept < KEPT) for process, kept, begun in counted}


def _end(life: Incarnation, *, now: datetime, stopped: bool) -> None:
    # Where the outcome is still on its way, behind the hello or report of the next incarnation, it puts this right.
    answered = (
        Decision.objects.filter(
            incident__process=life.process_id,
            incident__incarnation=life.number,
            incident__state=State.APPLIED.value,
        )
        .exclude(action=Action.CONTINUE.value)
        .order_by("-decided_at")
        .first()
    )
    answer = Action(answered.action) if answered else None
    Incarnation.objects.filter(pk=life.pk).update(
        ended_at=now,
        ending=ending(answer, stopped=stopped, failures=life.failures),
        incident_id=answered.incident_id if answered else None,
    )
