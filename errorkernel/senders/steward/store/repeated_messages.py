"""Which failure a message without a number reports: results are stored, so that a redelivery gets the same one."""

from datetime import UTC, datetime, timedelta

from django.db.models import Count, Max, Q

from errorkernel.domain import sender_names
from errorkernel.models import ErrorEvent, UnnumberedMessage
from errorkernel.senders.steward.protocol.event_mapping import Report
from errorkernel.senders.steward.protocol.repeats import Seen, judge, lateness_s

KEPT = timedelta(days=1)
AROUND_MAX = 5000
"""Arrivals of the same bytes among which the highest occurrence is looked for: more than kernels have in hand."""
DELAYS_COMPARED = 100
"""Errors of a node by which it is seen by how much its clock is off."""


class EarlierDelays:
    """From the time in a text to its arrival, of the errors that a node sent before; read once for a batch."""

    def __init__(self) -> None:
        self._of_nodes: dict[str, list[float]] = {}

    def of(self, node: str, before_s: float) -> list[float]:
        """Of the node's errors that arrived before this time, in seconds."""
        if node not in self._of_nodes:
            before = datetime.fromtimestamp(before_s, UTC)
            earlier = ErrorEvent.objects.filter(node__name=sender_names.with_suffix(node), received_at__lt=before)
            times = earlier.order_by("-seq").values_list("occurred_at", "received_at")[:DELAYS_COMPARED]
            self._of_nodes[node] = [(received - occurred).total_seconds() for occurred, received in times if occurred]
        return self._of_nodes[node]


def occurrence(source: str, at: float, report: Report, delays: EarlierDelays, now: datetime) -> int:
    """How many failures with the same bytes there were before the one that this message reports.

    ``source``: its place in the stream; ``at``: Unix time at which it got there.
    """
    judged = UnnumberedMessage.objects.filter(source=source).values_list("occurrence", flat=True).first()
    if judged is not None:
        return judged
    incoming, sending = report.incoming, report.incoming.sending
    same = UnnumberedMessage.objects.filter(digest=incoming.digest)
    last = same.filter(at__lte=at).order_by("-at", "-occurrence").first()
    seen, late_s = None, 0.0
    if last:
        counted = same.filter(at__gte=at - sending.window_s).aggregate(
            copies=Count("pk", filter=Q(occurrence=last.occurrence)), arrivals=Count("pk")
        )
        seen = Seen(last.occurrence, last.at, **counted)
        if occurred_at := report.event.occurred_at:
            late_s = lateness_s(at - occurred_at.timestamp(), delays.of(report.node, at - sending.interval_s))
    around = same.filter(at__gte=at - sending.window_s).order_by("-at")[:AROUND_MAX]
    near = around.aggregate(highest=Max("occurrence"))["highest"]
    verdict = judge(seen, sending, now_s=at, highest=-1 if near is None else near, late_s=late_s)
    UnnumberedMessage.objects.create(
        source=source, digest=incoming.digest, occurrence=verdict.occurrence, at=at, recorded_at=now
    )
    return verdict.occurrence


def prune(*, now: datetime) -> None:
    """Forget messages that no node repeats any more."""
    UnnumberedMessage.objects.filter(recorded_at__lt=now - KEPT).delete()
