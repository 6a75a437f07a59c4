"""Dead letters: messages on which one process failed three times in a row for the same reason, and messages that an
operator keeps.

Keeping a message decides no incident and stops no process: it is a copy for the operator. Until a dead letter is
dropped, further failures on it are counted on the same row. One that was requeued and failed again is kept again.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from errorkernel.domain.values import Message
from errorkernel.models import DeadLetter, Incident, Process

KEPT_OF_A_NODE = 10_000
"""Dead letters of one node that block no process. A person never reads more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure on a poison message. ``incident``: the id where the process is blocked by it."""

    node_id: int
    process_id: int
    problem_id: int
    digest: str
    message: dict[str, Any]
    failures: int
    seq: int
    incident: UUID | None


def digest_of(message: Message | None) -> str:
    """Identifies a message by its key; empty where it has none."""
    key = message.key if message else ""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if key else ""


def keep(failures: Iterable[Failure], *, now: datetime) -> None:
    """One row a message, process and problem; ``failures`` in the order of their events.

    Called by the intake, inside its transaction. A node that has KEPT_OF_A_NODE of them without an incident gets no
    further one without an incident: its events still hold the messages.
    """
    rooms: dict[int, int] = {}
    latest: dict[tuple[int, int, str], Failure] = {}
    for failure in failures:
        key = failure.process_id, failure.problem_id, failure.digest
        incident = failure.incident or (latest[key].incident if key in latest else None)
        latest[key] = replace(failure, incident=incident)
    for (process, problem, digest), failure in sorted(latest.items()):
        changed: dict[str, Any] = {"failures": failure.failures, "seq": failure.seq, "last_at": now}
        if failure.incident:
            changed["incident_id"] = failure.incident
        same = DeadLetter.objects.filter(process=process, problem=problem, digest=digest)
        if same.filter(state=DeadLetter.State.KEPT).update(**changed) or _came_back(same, changed):
            continue
        if failure.incident is None:
            room = rooms[failure.node_id] if failure.node_id in rooms else _room(failure.node_id)
            rooms[failure.node_id] = room - 1
            if room <= 0:
                continue
        DeadLetter.objects.create(
            process_id=process, problem_id=problem, digest=digest, message=failure.message, first_at=now, **changed
        )


def _room(node: int) -> int:
    """How many more dead letters without an incident the node may have."""
    kept = DeadLetter.objects.filter(process__node=node, state=DeadLetter.State.KEPT, incident__isnull=True)
    return KEPT_OF_A_NODE - kept[:KEPT_OF_A_NODE].count()


def _came_back(same: QuerySet[DeadLetter], changed: dict[str, Any]) -> int:
    """Keep the latest requeued one of ``same`` again; returns how many (0 or 1)."""
    sent = same.filter(state=DeadLetter.State.RESENT)
    latest = sent.order_by("-id").values_list("pk", flat=True).first()
    return sent.filter(pk=latest).update(state=DeadLetter.State.KEPT, **changed) if latest else 0


def keep_again(dead_letter_id: int) -> None:
    """Its process did not take it: keep it again, unless another copy of it is kept already."""
    dead_letter = DeadLetter.objects.get(pk=dead_letter_id)
    same = DeadLetter.objects.filter(
        process=dead_letter.process_id, problem=dead_letter.problem_id, digest=dead_letter.digest
    )
    if not same.filter(state=DeadLetter.State.KEPT).exists():
        same.filter(pk=dead_letter.pk, state=DeadLetter.State.RESENT).update(state=DeadLetter.State.KEPT)


def keep_of(incident: Incident, process: Process, *, now: datetime) -> DeadLetter:
    """The dead letter of the incident's message, a message of ``process``; created where there is none yet."""
    # A message without a key is identified by its incident.
    digest = digest_of(Message(**(incident.message or {}))) or incident.pk.hex
    same = Q(incident=incident) | Q(process=process, problem=incident.problem_id, digest=digest)
    # A requeued one is kept again; "kept" sorts before "resent".
    there = DeadLetter.objects.filter(same, state__in=[DeadLetter.State.KEPT, DeadLetter.State.RESENT])
    kept = there.order_by("state", "-id").first()
    if kept is None:
        return DeadLetter.objects.create(
            process=process,
            problem_id=incident.problem_id,
            digest=digest,
            message=incident.message,
            failures=incident.consecutive,
            incident=incident,
            seq=incident.seq,
            first_at=now,
            last_at=incident.opened_at,
        )
    kept.incident = incident
    kept.save(update_fields=["incident"])
    return kept


def listed(*, node: str = "", process: str = "", state: str = "") -> QuerySet[DeadLetter]:
    """Dead letters with what their list shows, newest first; the parameters filter."""
    found = DeadLetter.objects.select_related("process__node", "problem", "incident").prefetch_related("requeues")
    wanted = {"process__node__name": node, "process__name": process, "state": state}
    return found.order_by("-id").filter(**{column: value for column, value in wanted.items() if value})
