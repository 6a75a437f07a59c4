"""Takes: a person looks into an incident or a problem for some time, and every screen says so.

A take decides nothing and prevents nothing. It ends by itself at ``taken_until``, when its incident is decided, when it
is given back, and when the account is disabled. Another person may take over; the audit trail has both names.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from errorkernel.domain.incident_state import State
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused
from errorkernel.models import Incident, Problem
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart

MINUTES = 30
"""How long a take lasts unless said otherwise."""
MINUTES_MAX = 480


@dataclass(frozen=True, slots=True)
class Taken:
    """``by``: a user name; the take ends at ``until`` by itself."""

    by: str
    until: datetime


class CannotTake(OperationRefused):
    """The take is not possible; the message is one sentence for the person."""


@dataclass(frozen=True, slots=True)
class Take:
    """``row``: the incident or problem as it is now. ``previous``: of a take, the user name of the other person who had
    it; of a release, of the person who had it; empty: nobody."""

    row: Any
    previous: str = ""


def take_of(row: Incident | Problem, now: datetime) -> Taken | None:
    """The present take of ``row`` itself; None where nobody has taken it, the take has ended, or the account is
    disabled. Use ``select_related("taken_by")``."""
    person = row.taken_by
    if person is None or not person.is_active or row.taken_until is None or row.taken_until <= now:
        return None
    return Taken(person.get_username(), row.taken_until)


def take_incident(incident_id: Any, minutes: int, actor: Actor) -> Take:
    """Take a pending incident, also from another person. Raises CannotTake or Incident.DoesNotExist."""
    _check_minutes(minutes)
    with counters.changing():
        incident = _pending(incident_id)
        taken = _put(incident, f"incident:{incident.pk}", actor, minutes)
        decisions.number_change([incident.pk])
    return taken


def release_incident(incident_id: Any, actor: Actor) -> Take:
    """Give an incident back, also that of another person. Raises Incident.DoesNotExist."""
    with counters.changing():
        incident = _lock(Incident.objects.all(), incident_id)
        released = _remove(incident, f"incident:{incident.pk}", actor)
        if released.previous:
            decisions.number_change([incident.pk])
    return released


def take_problem(problem_id: int, minutes: int, actor: Actor) -> Take:
    """Take all incidents of a problem, present and future ones. Raises CannotTake, IsPart or Problem.DoesNotExist."""
    _check_minutes(minutes)
    with transaction.atomic():
        problem = _unmerged(problem_id)
        return _put(problem, f"problem:{problem.pk}", actor, minutes)


def release_problem(problem_id: int, actor: Actor) -> Take:
    """Give a problem back, also that of another person. Raises IsPart or Problem.DoesNotExist."""
    with transaction.atomic():
        problem = _unmerged(problem_id)
        return _remove(problem, f"problem:{problem.pk}", actor)


def _check_minutes(minutes: int) -> None:
    if not 1 <= minutes <= MINUTES_MAX:
        raise CannotTake(_("Take it for 1 to {most} minutes.", most=MINUTES_MAX), "invalid_field", "minutes")


def _lock(rows: QuerySet[Any], key: Any) -> Any:
    return rows.select_for_update(of=("self",)).select_related("taken_by").get(pk=key)


def _pending(incident_id: Any) -> Incident:
    incident: Incident = _lock(Incident.objects.all(), incident_id)
    if incident.state != State.OPEN:
        raise CannotTake(_("The incident is no longer pending, so it cannot be taken."), "not_pending")
    return incident


def _unmerged(problem_id: int) -> Problem:
    problem: Problem = _lock(Problem.objects.all(), problem_id)
    if problem.merged_into_id is not None:
        raise IsPart(problem.merged_into_id)
    return problem


def _put(row: Incident | Problem, target: str, actor: Actor, minutes: int) -> Take:
    before = take_of(row, actor.at)
    row.taken_by, row.taken_until = actor.user, actor.at + timedelta(minutes=minutes)  # type: ignore[assignment]
    row.save(update_fields=["taken_by", "taken_until"])
    after = take_of(row, actor.at)
    audit.record(audit.entry(actor, "take", target, before=_as_values(before), after=_as_values(after)))
    return Take(row, before.by if before and after and before.by != after.by else "")


def _remove(row: Incident | Problem, target: str, actor: Actor) -> Take:
    before = take_of(row, actor.at)
    if before is None:
        return Take(row)
    row.taken_by = row.taken_until = None
    row.save(update_fields=["taken_by", "taken_until"])
    audit.record(audit.entry(actor, "release", target, before=_as_values(before), after={"taken_by": None}))
    return Take(row, before.by)


def _as_values(taken: Taken | None) -> dict[str, Any]:
    return {"taken_by": f"user:{taken.by}", "taken_until": taken.until.isoformat()} if taken else {}
