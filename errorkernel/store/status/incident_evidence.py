"""What a person reads before deciding an incident: what its process did before it blocked, what had changed before, and
where else the problem is pending. Every read has a bound, whatever is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count

from errorkernel.domain.incident_state import State
from errorkernel.models import AuditEntry, ErrorEvent, Incarnation, Incident
from errorkernel.store.ingest import event_rows
from errorkernel.store.ingest.event_rows import EventRow

EVENTS_SHOWN = 20
RELEASES_READ = 500
"""Events of the process among which a change of its release is looked for."""
CHANGES_WITHIN = timedelta(days=1)
RULES_SHOWN = 5
RESTARTS_SHOWN = 3


def events_before(incident: Incident) -> list[EventRow]:
    """The last EVENTS_SHOWN events of the process up to the incident's own, oldest first."""
    found = event_rows.stored().filter(process=incident.process_id, seq__lte=incident.seq).order_by("-seq")
    return [EventRow.of(row) for row in found[:EVENTS_SHOWN]][::-1]


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """``now``: the release that the process reported when it blocked. ``before``: the one before it, if the process
    changed it lately; ``at``: its first event with ``now``."""

    now: str
    before: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What had changed before an incident. ``rules``: entries of the audit trail. ``ended``: the incarnations before
    the blocked one, newest first."""

    release: ReleaseChange | None
    rules: Sequence[AuditEntry]
    ended: Sequence[Incarnation]

    def __bool__(self) -> bool:
        return bool((self.release and self.release.before) or self.rules or self.ended)


def changes_before(incident: Incident) -> Changes:
    """Release, rules and restarts before the incident."""
    return Changes(release_of(incident), _rules_before(incident.opened_at), _ended_before(incident))


def release_of(incident: Incident) -> ReleaseChange | None:
    """None where the process reports no release."""
    events = ErrorEvent.objects.filter(process=incident.process_id, seq__lte=incident.seq).order_by("-seq")
    now = ReleaseChange("")
    for release, received_at in events.values_list("release", "received_at")[:RELEASES_READ]:
        if not release:
            continue
        if now.now not in ("", release):
            return ReleaseChange(now.now, release, now.at)
        now = ReleaseChange(release, at=received_at)
    return ReleaseChange(now.now) if now.now else None


def _rules_before(moment: datetime) -> list[AuditEntry]:
    """Changes of rules within CHANGES_WITHIN before ``moment``, newest first."""
    within = AuditEntry.objects.filter(at__gte=moment - CHANGES_WITHIN, at__lte=moment)
    return list(within.filter(target__startswith="rule:").order_by("-at")[:RULES_SHOWN])


def _ended_before(incident: Incident) -> list[Incarnation]:
    if incident.incarnation is None:
        return []
    earlier = Incarnation.objects.filter(process=incident.process_id, number__lt=incident.incarnation)
    recent = earlier.filter(ended_at__gte=incident.opened_at - CHANGES_WITHIN, ended_at__lte=incident.opened_at)
    return list(recent.order_by("-number")[:RESTARTS_SHOWN])


@dataclass(frozen=True, slots=True)
class NodeCount:
    """Pending incidents of one problem on one node. ``share``: in percent of the largest."""

    node: str
    count: int
    share: float


def pending_by_node(problem_ids: Sequence[int], without: UUID | None = None) -> list[NodeCount]:
    """Where incidents of these problems are pending, the node with most of them first; all nodes."""
    found = Incident.objects.filter(problem__in=problem_ids, state=State.OPEN)
    if without is not None:
        found = found.exclude(pk=without)
    counted = found.order_by().values_list("node__name").annotate(count=Count("pk"))
    return node_counts(dict(counted))


def node_counts(counts: dict[str, int]) -> list[NodeCount]:
    """The largest first, then by name."""
    most = max(counts.values(), default=1)
    return [
        NodeCount(node, count, 100 * count / most)
        for node, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def next_pending(incident: Incident, problem_ids: Sequence[int]) -> UUID | None:
    """The pending incident that has waited longest: of these problems, otherwise of any; never ``incident`` itself."""
    waiting = Incident.objects.filter(state=State.OPEN).exclude(pk=incident.pk).order_by("opened_at", "pk")
    keys = waiting.values_list("pk", flat=True)
    return keys.filter(problem__in=problem_ids).first() or keys.first()
