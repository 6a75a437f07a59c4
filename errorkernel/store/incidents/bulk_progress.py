"""How far bulk decisions are: the results of their incidents, and the state of their canaries."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Q

from errorkernel.domain import incident_state
from errorkernel.domain.canary import APPLIED_WITHIN, CanaryState, canary_state, describe
from errorkernel.domain.messages import TranslatableText
from errorkernel.models import BulkDecision, BulkDecisionItem, ErrorState, Incident
from errorkernel.store.incidents import decisions

ENDED_SHOWN = timedelta(minutes=1)
"""For so long, a bulk decision that has ended is among the active ones of its problem."""
State = BulkDecision.State
Result = BulkDecisionItem.Result


@dataclass(frozen=True, slots=True)
class Watched:
    """The canary's state, and the same as a sentence (``describe``). ``until``: end of the observation; None while its
    process has not applied the decision."""

    incident: Incident
    shows: CanaryState
    until: datetime | None
    explanation: TranslatableText


@dataclass(frozen=True, slots=True)
class Progress:
    """A bulk decision at one moment. ``results``: how many of its incidents are ``decided``, ``already_decided``,
    ``withdrawn`` and ``pending``. ``canary``: None without one, and before the approval."""

    bulk: BulkDecision
    results: dict[str, int]
    canary: Watched | None

    @property
    def state(self) -> str:
        return self.bulk.state

    @property
    def is_held(self) -> bool:
        """Whether the canary showed that the others must not follow; they stay pending."""
        stands = self.canary is not None and self.canary.shows.stands
        return self.state == State.CANARY and (bool(self.bulk.held) or stands)


def results(bulk: BulkDecision) -> dict[str, int]:
    """How many of its incidents are decided, already decided, withdrawn and pending."""
    return _results([bulk.pk])[bulk.pk]


def watched(bulk: BulkDecision, now: datetime) -> Watched | None:
    """The state of its canary; None without a canary or before the approval."""
    return _watched([bulk], now).get(bulk.pk)


def of_all(bulks: Sequence[BulkDecision], now: datetime) -> list[Progress]:
    """The progress of each of these, in as many queries as that of one."""
    if not bulks:
        return []
    counted = _results([bulk.pk for bulk in bulks])
    canaries = _watched(bulks, now)
    return [Progress(bulk, counted[bulk.pk], canaries.get(bulk.pk)) for bulk in bulks]


def active_by_problem(now: datetime) -> dict[int, Progress]:
    """Problem, with its parts → its newest bulk decision that waits for an approval, is in progress, was held, or has
    just ended."""
    active = Q(state__in=BulkDecision.UNDER_WAY) | Q(state=State.PROPOSED, expires_at__gt=now)
    ended = Q(state__in=[State.DONE, State.REJECTED, State.EXPIRED], ended_at__gt=now - ENDED_SHOWN)
    rows = BulkDecision.objects.filter(active | ended, problem__isnull=False).select_related("problem", "user")
    newest = {row.problem.merged_into_id or row.problem.pk: row for row in rows.order_by("id") if row.problem}
    if not newest:
        return {}
    return dict(zip(newest, of_all(list(newest.values()), now), strict=True))


def approvals_pending(now: datetime) -> int:
    """The number of proposals that need a second person and can still be approved."""
    return BulkDecision.objects.filter(state=State.PROPOSED, needs_approval=True, expires_at__gt=now).count()


def _results(bulk_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    found = {bulk_id: {result.value: 0 for result in Result} for bulk_id in bulk_ids}
    counted = BulkDecisionItem.objects.filter(bulk__in=bulk_ids).order_by().values_list("bulk", "result")
    for bulk_id, result, count in counted.annotate(Count("pk")):
        found[bulk_id][result] = count
    return found


def _watched(bulks: Sequence[BulkDecision], now: datetime) -> dict[int, Watched]:
    approved = [bulk for bulk in bulks if bulk.canary_id is not None and bulk.approved_at is not None]
    if not approved:
        return {}
    canaries = decisions.with_relations().in_bulk([bulk.canary_id for bulk in approved])
    of_canary = Q(*(Q(bulk=bulk.pk, incident=bulk.canary_id) for bulk in approved), _connector=Q.OR)
    rows = BulkDecisionItem.objects.filter(of_canary).values_list("bulk", "result")
    shown = dict(rows.order_by())
    returned = _returned(approved, canaries)
    return {
        bulk.pk: _of_canary(bulk, canary, Result(shown[bulk.pk]), bulk.pk in returned, now)
        for bulk in approved
        if bulk.canary_id and bulk.pk in shown and (canary := canaries.get(bulk.canary_id))
    }


def _of_canary(bulk: BulkDecision, canary: Incident, result: Result, returned: bool, now: datetime) -> Watched:
    until = None
    if result in (Result.ALREADY_DECIDED, Result.WITHDRAWN):
        shows = CanaryState(result)
    else:
        until = _watched_until(bulk, canary)
        apply_by = (bulk.approved_at or now) + APPLIED_WITHIN if bulk.then_rest else None
        state = incident_state.State(canary.state)
        shows = canary_state(state, returned=returned, until=until, now=now, apply_by=apply_by)
    left_s = math.ceil((until - now).total_seconds()) if until else 0
    return Watched(canary, shows, until, describe(shows, left_s))


def _watched_until(bulk: BulkDecision, incident: Incident) -> datetime | None:
    if incident.state != incident_state.State.APPLIED.value or incident.ended_at is None:
        return None
    return incident.ended_at + timedelta(seconds=bulk.watch_s or 0)


def _returned(bulks: Iterable[BulkDecision], canaries: dict[UUID, Incident]) -> set[int]:
    """Of these, the bulk decisions whose canary's process reported the same problem again since the decision."""
    wholes = {canary.pk: canary.problem.merged_into_id or canary.problem_id for canary in canaries.values()}
    together = Q(problem__in=wholes.values()) | Q(problem__merged_into__in=wholes.values())
    rows = ErrorState.objects.filter(together, process__in={canary.process_id for canary in canaries.values()})
    states = list(rows.values_list("process", "problem", "problem__merged_into", "last_seq", "last_seen"))
    found = set()
    for bulk in bulks:
        canary = canaries.get(bulk.canary_id) if bulk.canary_id else None
        made = getattr(canary, "decision", None)
        if canary is None or made is None:
            continue
        for process, problem, whole, last_seq, last_seen in states:
            same = process == canary.process_id and (whole or problem) == wholes[canary.pk]
            if same and last_seq > canary.seq and last_seen > made.decided_at:
                found.add(bulk.pk)
    return found
