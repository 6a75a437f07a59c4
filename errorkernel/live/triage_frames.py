"""The triage in live frames: the whole for a fresh page, then what has changed."""

from datetime import UTC, datetime

from errorkernel.live.frames import BulkFrame, CanaryFrame, GroupFrame, TriageFrame
from errorkernel.store.incidents.bulk_progress import Progress
from errorkernel.store.status import triage
from errorkernel.store.status.triage import Moving, Numbers, Summary


def read() -> TriageFrame:
    """All of it, as it is now."""
    return _frame(triage.read_numbers(datetime.now(UTC), parts=False))


def changed(before: TriageFrame | None, now: TriageFrame) -> TriageFrame | None:
    """What of ``now`` is new since ``before``; None: nothing."""
    if before is None:
        return now
    known = {group.problem: group for group in before.groups}
    present = {group.problem for group in now.groups}
    groups = [group for group in now.groups if known.get(group.problem) != group]
    gone = [problem for problem in known if problem not in present]
    is_same = not groups and not gone and before.order == now.order and before.approvals == now.approvals
    if is_same and before.events_per_s == now.events_per_s and before.processes == now.processes:
        return None
    return TriageFrame(
        now.processes, now.problems, now.oldest_at, now.events_per_s, now.approvals, now.order, groups, gone
    )


def _frame(numbers: Numbers) -> TriageFrame:
    totals = numbers.totals
    return TriageFrame(
        totals.processes,
        totals.problems,
        totals.oldest_at,
        round(totals.events_per_s, 1),
        totals.approvals,
        [summary.problem for summary in numbers.summaries],
        [*map(_group, numbers.summaries), *map(_moving, numbers.moving)],
        [],
    )


def _group(summary: Summary) -> GroupFrame:
    taken = summary.taken
    return GroupFrame(
        problem=summary.problem,
        pending=summary.pending,
        level=summary.level,
        oldest_at=summary.oldest_at,
        deadline_at=summary.deadline_at,
        taken_by=f"user:{taken.by}" if taken else None,
        taken_until=taken.until if taken else None,
        taken_alone=summary.taken_alone,
        delivering=summary.delivering,
        bulk=_bulk(summary.bulk),
    )


def _moving(moving: Moving) -> GroupFrame:
    """A problem without pending incidents."""
    return GroupFrame(moving.problem.pk, 0, None, None, None, None, None, 0, moving.delivering, _bulk(moving.bulk))


def _bulk(progress: Progress | None) -> BulkFrame | None:
    if progress is None:
        return None
    row, canary = progress.bulk, progress.canary
    return BulkFrame(
        id=row.pk,
        state=row.state,
        action=row.action,
        actor=row.actor,
        approved_by=row.approved_by,
        then_rest=row.then_rest,
        held=row.held or None,
        count=row.count,
        results=progress.results,
        expires_at=row.expires_at,
        canary=CanaryFrame(canary.incident.pk, canary.shows, canary.until) if canary else None,
    )
