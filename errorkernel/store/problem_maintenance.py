"""Ingest-time maintenance of problem state: totals of merged problems, the end of mutes, reopening.

It runs inside the batch's transaction, after the events' counter has been locked. Merging, muting and resolving lock
that counter too, so a batch is stored entirely before or entirely after such a change.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from errorkernel.domain.problem_state import ActiveMute, ProblemState
from errorkernel.domain.releases import release_of
from errorkernel.models import AuditEntry, Counter, Problem
from errorkernel.store import ingest_sql
from errorkernel.store.platform import audit, counters, deadline_hold
from errorkernel.store.platform.actor import Actor


class HandledProblems:
    """The problems of a batch that are merged, muted or resolved. One query; mostly there are none."""

    def __init__(self, problems: Collection[int]) -> None:
        self._known = ingest_sql.handled(problems)

    def whole(self, problem: int) -> int:
        """The problem that ``problem`` is merged into, or itself."""
        return self._known[problem].whole if problem in self._known else problem

    def note(self, events: Iterable[tuple[int, Mapping[str, str]]], *, now: datetime) -> None:
        """Reopen problems and end mutes by the stored ``events`` (problem and tags). Called after the totals are
        updated."""
        releases: dict[int, set[str]] = {}
        for problem, tags in events:
            known = self._known.get(problem)
            if known and known.state in (ProblemState.MUTED, ProblemState.RESOLVED):
                seen = releases.setdefault(known.whole, set())
                if release := release_of(tags):
                    seen.add(release)
        if releases:
            changed = [
                _update_after_event(problem, releases[problem.pk], now)
                for problem in Problem.objects.filter(pk__in=releases)
            ]
            audit.record(*(entry for entry in changed if entry))


def end_mutes(*, now: datetime) -> int:
    """End the mutes whose time is over, also of problems without new events; returns how many."""
    if not _due(now).exists():  # the usual case, which takes no lock
        return 0
    with transaction.atomic():
        counters.lock(Counter.EVENTS)
        entries = [_update_after_event(problem, (), now) for problem in _due(now)]
        audit.record(*(entry for entry in entries if entry))
    return len(entries)


def _due(now: datetime) -> QuerySet[Problem]:
    return Problem.objects.filter(muted_until__lte=now, state=ProblemState.MUTED).order_by("pk")


def _update_after_event(problem: Problem, releases: Collection[str], now: datetime) -> AuditEntry | None:
    """Reopen it or end its mute after a new event; returns the audit entry, if something changed."""
    if problem.state == ProblemState.RESOLVED:
        return put(problem, ProblemState.REOPENED, "It occurred again.", action="reopen", actor=Actor.system(now))
    # While the clock may be wrong, no mute ends by it.
    until = None if deadline_hold.held_since() else problem.muted_until
    muted = ActiveMute(until, problem.muted_until_count, problem.muted_releases)
    why = muted.ended_by(count=problem.count, releases=releases, now=now)
    return put(problem, ProblemState.OPEN, why, action="unmute", actor=Actor.system(now)) if why else None


def put(
    problem: Problem,
    state: ProblemState,
    reason: str,
    *,
    action: str,
    actor: Actor,
    mute: ActiveMute | None = None,
) -> AuditEntry:
    """Store another state, with the limits of its ``mute``; returns the audit entry for the caller to record."""
    before = standing(problem)
    problem.state, problem.state_at, problem.state_actor, problem.state_reason = state.value, actor.at, actor.id, reason
    problem.muted_until = mute.until if mute else None
    problem.muted_until_count = mute.until_count if mute else None
    problem.muted_releases = sorted(mute.releases) if mute and mute.releases is not None else None
    if state is ProblemState.RESOLVED:
        problem.resolved_count = problem.count
    problem.save(update_fields=_WRITTEN)
    after = standing(problem)
    target = f"problem:{problem.pk}"
    return audit.entry(actor, action, target, reason=reason, before=before, after=after)


def standing(problem: Problem) -> dict[str, Any]:
    """The part of a problem's state that the audit trail stores."""
    kept = {
        "state": problem.state,
        "until": problem.muted_until and problem.muted_until.isoformat(),
        "until_count": problem.muted_until_count,
        "releases": problem.muted_releases,
        "count": problem.count,
    }
    return {name: value for name, value in kept.items() if value is not None}


_WRITTEN = [
    "state", "state_at", "state_actor", "state_reason", "muted_until", "muted_until_count", "muted_releases",
    "resolved_count",
]  # fmt: skip
