"""The retention: deletes events by age and number, rejected events by number.

It deletes in small steps, so that nothing waits for it. Processes, error states and problems go later
(``name_retention``). Incidents, decisions, dead letters and the audit trail are kept.
"""

from datetime import datetime, timedelta

from django.db.models import Count

from errorkernel.models import Counter, ErrorEvent, KernelHeartbeat, RejectedEvent
from errorkernel.store.platform import counters

STEP_ROWS = 2000
HEARTBEAT_KEPT = timedelta(days=1)


def prune_events(*, days: int, keep: int, now: datetime) -> int:
    """Remove one step of events that are too old or too many (0: no bound); returns how many went."""
    last = counters.current(Counter.EVENTS)
    bounds = []
    if keep and last > keep:
        bounds.append(last - keep)
    if days:
        # Numbers grow with time, so the oldest row shows whether there is anything to delete.
        young = ErrorEvent.objects.filter(received_at__gte=now - timedelta(days=days)).order_by("received_at")
        first = young.values_list("seq", flat=True).first()
        bounds.append(first - 1 if first is not None else last)
    if not bounds:
        return 0
    oldest = list(
        ErrorEvent.objects.filter(seq__lte=max(bounds)).order_by("seq").values_list("seq", flat=True)[:STEP_ROWS]
    )
    if not oldest:
        return 0
    removed, _ = ErrorEvent.objects.filter(seq__gte=oldest[0], seq__lte=oldest[-1]).delete()
    return removed


def prune_rejected_events(*, keep: int) -> int:
    """Remove one step of rejected events beyond ``keep``, the oldest of the node that has most of them, so that a node
    that floods the table removes its own; returns how many went."""
    surplus = RejectedEvent.objects.count() - keep
    if surplus <= 0:
        return 0
    by_node = RejectedEvent.objects.order_by().values("node").annotate(count=Count("pk")).order_by("-count", "node")
    largest = RejectedEvent.objects.filter(node=by_node.values_list("node", flat=True)[0]).order_by("pk")
    removed, _ = RejectedEvent.objects.filter(
        pk__in=list(largest.values_list("pk", flat=True)[: min(surplus, STEP_ROWS)])
    ).delete()
    return removed


def prune_heartbeats(*, now: datetime) -> None:
    """Delete heartbeats of kernel workers that are older than a day."""
    KernelHeartbeat.objects.filter(at__lt=now - HEARTBEAT_KEPT).delete()
