"""Proposals that wait for a second person, with the evidence for the approval, and how the latest ones ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from errorkernel.domain.incident_state import State
from errorkernel.models import AuditEntry, BulkDecision, BulkDecisionItem
from errorkernel.store.status import triage
from errorkernel.store.status.incident_evidence import NodeCount, node_counts
from errorkernel.store.status.triage import Record

PROPOSALS_SHOWN = 20
ENDED_SHOWN = 10
NODES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Proposal:
    """``nodes``: its processes by node, those with most first; ``more_nodes``: further ones. ``pending``: how many of
    its processes are still pending. ``record``: what the same decision on the problem led to; None: never decided."""

    bulk: BulkDecision
    nodes: list[NodeCount]
    more_nodes: int
    pending: int
    record: Record | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A proposal that needed approval and was approved, rejected or expired. ``rejected_by``, ``reason``: of the
    rejection."""

    bulk: BulkDecision
    rejected_by: str = ""
    reason: str = ""


def open_proposals(now: datetime) -> list[Proposal]:
    """Proposals that can still be approved, the next to expire first, PROPOSALS_SHOWN at most."""
    rows = BulkDecision.objects.filter(state=BulkDecision.State.PROPOSED, expires_at__gt=now)
    return proposals(list(rows.select_related("problem").order_by("expires_at", "id")[:PROPOSALS_SHOWN]), now)


def proposals(bulks: Sequence[BulkDecision], now: datetime) -> list[Proposal]:
    """These with their evidence, in as many queries as one of them. Use ``select_related("problem")``."""
    if not bulks:
        return []
    by_node: dict[int, dict[str, int]] = {bulk.pk: {} for bulk in bulks}
    pending = dict.fromkeys(by_node, 0)
    items = BulkDecisionItem.objects.filter(bulk__in=by_node).order_by().values_list("bulk", "incident__node__name")
    counted = items.annotate(Count("pk"), open=Count("pk", filter=Q(incident__state=State.OPEN)))
    for bulk_id, node, count, still_open in counted:
        by_node[bulk_id][node] = count
        pending[bulk_id] += still_open
    records = triage.records([bulk.problem_id for bulk in bulks if bulk.problem_id is not None], now)
    found = []
    for bulk in bulks:
        nodes = node_counts(by_node[bulk.pk])
        same = records.get(bulk.problem_id, []) if bulk.problem_id is not None else []
        record = next((row for row in same if row.action == bulk.action), None)
        found.append(Proposal(bulk, nodes[:NODES_SHOWN], len(nodes[NODES_SHOWN:]), pending[bulk.pk], record))
    return found


def ended() -> list[Ended]:
    """How the latest proposals that needed approval ended, the newest first."""
    decided = BulkDecision.objects.filter(needs_approval=True).exclude(state=BulkDecision.State.PROPOSED)
    bulks = list(decided.select_related("problem").order_by("-id")[:ENDED_SHOWN])
    by_target = _rejections([bulk for bulk in bulks if bulk.state == BulkDecision.State.REJECTED])
    return [Ended(bulk, *by_target.get(bulk.pk, ("", ""))) for bulk in bulks]


def rejection_of(bulk: BulkDecision) -> Ended:
    """Who rejected it and why; empty where nobody did."""
    rejected = [bulk] if bulk.state == BulkDecision.State.REJECTED else []
    return Ended(bulk, *_rejections(rejected).get(bulk.pk, ("", "")))


def _rejections(bulks: Sequence[BulkDecision]) -> dict[int, tuple[str, str]]:
    """Bulk decision → who rejected it, and the reason."""
    if not bulks:
        return {}
    numbers = {f"bulk_decision:{bulk.pk}": bulk.pk for bulk in bulks}
    entries = AuditEntry.objects.filter(target__in=numbers, action="reject")
    return {numbers[entry.target]: (entry.actor, entry.reason) for entry in entries}
