"""The audit trail as people read it: their acts, with the steps of the machines that followed each."""

from collections.abc import Iterable, Mapping, Sequence

from django.db import connection
from django.db.models import Q, QuerySet

from errorkernel.models import AuditEntry

_BULK = "bulk_decision:"
_FIRST_OF_BULK = "propose"
_OF_PEOPLE = Q(actor__startswith="user:")
# An incident that a bulk decision decided: the row of the bulk decision stands for all of them.
_BY_BULK = Q(origin__contains=f" {_BULK}")
_LATER_OF_BULK = Q(target__startswith=_BULK) & ~Q(action=_FIRST_OF_BULK)
_STEPS_READ = 1000
# One range of the index per action: DISTINCT would read every entry.
_ACTIONS = (
    "WITH RECURSIVE known(action) AS (SELECT MIN(action) FROM errorkernel_auditentry UNION ALL"
    " SELECT (SELECT MIN(a.action) FROM errorkernel_auditentry a WHERE a.action > known.action)"
    " FROM known WHERE known.action IS NOT NULL) SELECT action FROM known WHERE action IS NOT NULL"
)


def of_people(entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    """Those of people, a bulk decision as one entry."""
    return entries.filter(_OF_PEOPLE).exclude(_BY_BULK).exclude(_LATER_OF_BULK)


def steps_of(entries: Sequence[AuditEntry]) -> Mapping[int, list[AuditEntry]]:
    """Entry → the steps that followed it on the same incident or bulk decision until the next of ``entries`` on it,
    oldest first. One query; at most _STEPS_READ steps, the oldest."""
    acts: dict[str, list[AuditEntry]] = {}
    for entry in sorted(_with_steps(entries), key=lambda entry: entry.pk):
        acts.setdefault(entry.target, []).append(entry)
    if not acts:
        return {}
    first = min(starts[0].pk for starts in acts.values())
    is_step = ~_OF_PEOPLE | _LATER_OF_BULK
    found = AuditEntry.objects.filter(is_step, target__in=list(acts), id__gt=first).order_by("id")[:_STEPS_READ]
    steps: dict[int, list[AuditEntry]] = {}
    for step in found:
        before = [act for act in acts[step.target] if act.pk < step.pk]
        if before:
            steps.setdefault(before[-1].pk, []).append(step)
    return steps


def _with_steps(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    return [
        entry
        for entry in entries
        if (entry.target.startswith("incident:") and entry.action == "decide")
        or (entry.target.startswith(_BULK) and entry.action == _FIRST_OF_BULK)
    ]


def actions() -> list[str]:
    """Every action in the trail."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIONS)
        return [action for (action,) in cursor.fetchall()]
