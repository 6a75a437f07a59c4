"""Poison messages: kept when one process has failed on one message three times in a row for the same reason.

Keeping it answers no question and stops no process: it is the operator's copy, whatever becomes of the process. While
one is kept, further failures on it are counted on the same row. Called by the intake, inside its transaction.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from errorkernel.models import DeadLetter


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure on a message that is poison. ``incident``: where it asked."""

    process_id: int
    problem_id: int
    digest: str
    message: dict[str, Any]
    failures: int
    seq: int
    incident: UUID | None


def keep(failures: Iterable[Failure], *, now: datetime) -> None:
    """One row a message, process and problem; ``failures`` in the order of their events."""
    latest: dict[tuple[int, int, str], Failure] = {}
    for one in failures:
        key = one.process_id, one.problem_id, one.digest
        asked = one.incident or (latest[key].incident if key in latest else None)
        latest[key] = replace(one, incident=asked)
    for (process, problem, digest), one in sorted(latest.items()):
        changed: dict[str, Any] = {"failures": one.failures, "seq": one.seq, "last_at": now}
        if one.incident:
            changed["incident_id"] = one.incident
        kept = DeadLetter.objects.filter(process=process, problem=problem, digest=digest, state=DeadLetter.State.KEPT)
        if not kept.update(**changed):
            DeadLetter.objects.create(
                process_id=process, problem_id=problem, digest=digest, message=one.message, first_at=now, **changed
            )


def listed(*, node: str = "", process: str = "", state: str = "") -> QuerySet[DeadLetter]:
    """With everything that a list of them shows, newest first; of these alone where they are named."""
    found = DeadLetter.objects.select_related("process__node", "problem").order_by("-id")
    wanted = {"process__node__name": node, "process__name": process, "state": state}
    return found.filter(**{column: value for column, value in wanted.items() if value})
