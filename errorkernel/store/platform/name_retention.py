"""The retention of names: deletes processes, error states and problems that nothing refers to any more.

A sweep looks at all rows, a range of primary keys at a time, so nothing waits for it. Rows go when their last event is
older than the setting, no event of theirs is stored, and neither an incident nor a person needs them. The rows of a
range are deleted in a transaction that locks the events' counter, so no event is stored for a row that is deleted.
"""

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from errorkernel.domain.problem_state import ProblemState
from errorkernel.models import (
    Comment,
    Counter,
    DeadLetter,
    ErrorEvent,
    ErrorState,
    Incident,
    Problem,
    Process,
    ProcessAction,
    Rule,
)
from errorkernel.store.platform import counters

RANGE_ROWS = 200
"""Deleting them takes some ten milliseconds, for which a batch of the intake may wait."""
SWEEP_INTERVAL_S = 3600.0
_PROBLEM_IN_CONDITION = re.compile(r"problem\s*\W{1,3}\s*(\d+)", re.IGNORECASE)

Rows = QuerySet[ErrorState] | QuerySet[Problem] | QuerySet[Process]


def keep_days(names_keep_days: int, retention_days: int) -> int:
    """For how many days names are kept; 0: for ever. Raises nothing."""
    return names_keep_days or 4 * retention_days


class NameSweep:
    """One sweep an hour, by ``step``. ``days``: see ``keep_days``."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._kinds: list[Callable[[datetime], Rows]] = []
        self._after = 0
        self._next_at = 0.0

    def step(self, *, now: datetime) -> int:
        """Delete what may go of the next range of rows; returns how many rows it looked at, 0 at the end of a sweep."""
        if not self._days:
            return 0
        if not self._kinds:
            if time.monotonic() < self._next_at:
                return 0
            self._next_at = time.monotonic() + SWEEP_INTERVAL_S
            # What refers to others goes first.
            self._kinds, self._after = [removable_states, removable_problems, removable_processes], 0
        looked = self._look(self._kinds[0], now - timedelta(days=self._days))
        if not looked:
            self._kinds.pop(0)
            self._after = 0
        return looked or len(self._kinds)

    def _look(self, removable: Callable[[datetime], Rows], until: datetime) -> int:
        rows = removable(until)
        keys = rows.model._default_manager.filter(pk__gt=self._after).order_by("pk").values_list("pk", flat=True)
        looked = list(keys[:RANGE_ROWS])
        if not looked:
            return 0
        first, last = looked[0], looked[-1]
        self._after = last
        old = list(rows.filter(pk__gte=first, pk__lte=last).values_list("pk", flat=True))
        if old:
            with transaction.atomic():
                counters.lock(Counter.EVENTS)
                # Read again: an event may have come between.
                removable(until).filter(pk__in=old).delete()
        return len(looked)


def removable_states(until: datetime) -> QuerySet[ErrorState]:
    """Error states without an event since ``until`` and without an incident."""
    of_pair = Q(process=OuterRef("process"), problem=OuterRef("problem"))
    incidents = Incident.objects.filter(of_pair)
    kept = DeadLetter.objects.filter(of_pair)
    return ErrorState.objects.filter(~Exists(incidents), ~Exists(kept), last_seen__lt=until)


def removable_problems(until: datetime) -> QuerySet[Problem]:
    """Problems without an event since ``until`` that have no incident and that no person or rule has to do with."""
    untouched = Problem.objects.filter(
        last_seen__lt=until,
        state=ProblemState.OPEN.value,
        state_actor="",
        resolved_count__isnull=True,
        assignee__isnull=True,
        merged_into__isnull=True,
    )
    used = [
        ErrorEvent.objects.filter(problem=OuterRef("pk")),
        ErrorState.objects.filter(problem=OuterRef("pk")),
        Incident.objects.filter(problem=OuterRef("pk")),
        DeadLetter.objects.filter(problem=OuterRef("pk")),
        Comment.objects.filter(problem=OuterRef("pk")),
        ProcessAction.objects.filter(problem=OuterRef("pk")),
        Problem.objects.filter(merged_into=OuterRef("pk")),
    ]
    return untouched.filter(*(~Exists(rows) for rows in used)).exclude(pk__in=_named_in_rules())


def removable_processes(until: datetime) -> QuerySet[Process]:
    """Processes without an event or heartbeat since ``until`` that have no incident."""
    used = [
        ErrorEvent.objects.filter(process=OuterRef("pk")),
        ErrorState.objects.filter(process=OuterRef("pk")),
        Incident.objects.filter(process=OuterRef("pk")),
        DeadLetter.objects.filter(process=OuterRef("pk")),
    ]
    return Process.objects.filter(*(~Exists(rows) for rows in used), last_seen__lt=until)


def _named_in_rules() -> list[int]:
    """Numbers of problems in conditions of rules: a problem that comes again gets another number."""
    conditions = Rule.objects.filter(removed_at__isnull=True).values_list("condition", flat=True)
    return [int(number) for condition in conditions for number in _PROBLEM_IN_CONDITION.findall(condition)]


def was_removed(problem: int) -> bool:
    """Whether there was a problem with this number: newer ones exist, and numbers are not used again."""
    newer = Problem.objects.filter(pk__gt=problem)
    return problem > 0 and newer.exists() and not Problem.objects.filter(pk=problem).exists()
