"""Stores access denials for administrators: one row for repeated ones, and only the newest rows."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from errorkernel.domain.access_denials import OTHERS, Denial, DenialKind
from errorkernel.models import AccessDenial, Node

KEPT_OF_A_NODE = 100
KEPT_OF_UNKNOWN_SENDERS = 500
STORM = timedelta(hours=1)
"""When half of the rows are younger than this, new ones are counted in one row, so that a storm does not delete the
rest."""


def record(attempts: Mapping[Denial, int], *, now: datetime) -> dict[DenialKind, int]:
    """Count these denials; returns how many of each kind there were. A key or token of a disabled node still identifies
    it. A node that was just added or renewed, and that the broker does not know yet, is none."""
    counted: Counter[DenialKind] = Counter()
    with transaction.atomic():
        nodes = set()
        for attempt, count in attempts.items():
            node, claimed = _identify(attempt)
            if attempt.what == "connect" and _may_connect(node, claimed):
                continue
            nodes.add(node)
            counted[attempt.what] += count
            _count(attempt, node, claimed, count, now)
        for node in sorted(nodes):
            _prune(node)
    return dict(counted)


def _count(attempt: Denial, node: str, claimed: str, count: int, now: datetime) -> None:
    rows = AccessDenial.objects.filter(node=node[:64])
    key = {
        "operation": attempt.what,
        "target": _plain(attempt.target)[:200],
        "credential": _plain(claimed)[:80],
        "address": _plain(attempt.address)[:64],
    }
    if not rows.filter(**key).exists() and rows.filter(last_at__gt=now - STORM).count() >= _kept(node) // 2:
        key |= {"target": OTHERS, "credential": "", "address": ""}
    row, _ = AccessDenial.objects.get_or_create(node=node[:64], **key, defaults={"first_at": now, "last_at": now})
    AccessDenial.objects.filter(pk=row.pk).update(count=F("count") + count, last_at=now)


def _may_connect(node: str, claimed: str) -> bool:
    """Whether the node was just enabled and the broker does not have it yet: that is no access denial."""
    return bool(node) and Node.objects.filter(name=node, enabled=True, public_key=claimed.removeprefix("key:")).exists()


def _identify(attempt: Denial) -> tuple[str, str]:
    """(node, the shown part of its credential)."""
    kind, _, value = attempt.claimed.partition(":")
    if kind == "token":
        found = Node.objects.filter(token_digest=value).values_list("name", flat=True).first() if value else None
        # The beginning distinguishes tokens; the whole digest would verify one.
        return attempt.node or found or "", f"token:{value[:12]}"
    if kind == "key" and not attempt.node:
        found = Node.objects.filter(public_key=value).values_list("name", flat=True).first()
        found = found or Node.objects.filter(previous_public_key=value).values_list("name", flat=True).first()
        return found or "", attempt.claimed
    return attempt.node, attempt.claimed


def _prune(node: str) -> None:
    keep = _kept(node)
    rows = AccessDenial.objects.filter(node=node)
    oldest = list(rows.order_by("-last_at", "-pk").values_list("pk", flat=True)[keep : keep + 1000])
    if oldest:
        AccessDenial.objects.filter(pk__in=oldest).delete()


def _kept(node: str) -> int:
    return KEPT_OF_A_NODE if node else KEPT_OF_UNKNOWN_SENDERS


def _plain(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
