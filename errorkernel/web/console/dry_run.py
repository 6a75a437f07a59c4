"""Trying a rule on what has happened: which stored questions it would have had the word on, and how they ended.

Questions are looked at newest first, in steps along their ``seq``, for as long as the budget lasts; whoever wants the
rest goes on from ``next``. So a page answers within about a second and shows how far it is, however many there are.

Conditions are evaluated by the database, by the same tree that judges live questions. What is counted is who would have
had the word: rules before it in the order are respected as they are now; its limits (uses, storm, loop) are not played.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Count, Q

from errorkernel.domain.query.predicate import Tree
from errorkernel.models import Incident, Rule
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.rules import changes
from errorkernel.store.search import incident_q

STEP_INCIDENTS = 20_000
SHOWN = 50
BUDGET_S = 1.0
FULL_BUDGET_S = 30.0
NOBODY = "nobody"


@dataclass(slots=True)
class Tried:
    """``matched`` of the ``looked_at`` questions would have been the rule's; ``shown`` are the newest of them. On
    ``taken`` more, which its condition matches too, rules before it would have had the word. ``waiting``: how many its
    condition finds that wait now, whichever rules come before.

    ``ended``: how many of them were answered continue, kill or stop, or by ``nobody``. ``next``: where to go on (a
    ``seq``), None when everything since then has been looked at. ``back_to``: the oldest moment that was looked at.
    """

    since: datetime
    looked_at: int = 0
    matched: int = 0
    taken: int = 0
    waiting: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    shown: list[Incident] = field(default_factory=list)
    next: int | None = None
    back_to: datetime | None = None

    def done(self, now: datetime) -> float:
        """How much of the time that was asked for has been looked at, 0 to 1."""
        if self.next is None or self.back_to is None:
            return 1.0
        return min(1.0, max(0.0, (now - self.back_to) / (now - self.since)))


def before(rule: Rule | None, now: datetime) -> list[Tree]:
    """Conditions of the rules that come first: all that speak, or for a rule that exists those above it."""
    rows = changes.listed().filter(enabled=True)
    rows = rows.filter(position__lt=rule.position) if rule and rule.removed_at is None else rows
    values = [changes.as_value(row) for row in rows]
    return [value.condition for value in values if value is not None and not value.is_over(now)]


def dry_run(
    condition: Tree,
    earlier: Sequence[Tree],
    *,
    since: datetime,
    start: int | None = None,
    budget_s: float = BUDGET_S,
) -> Tried:
    """Look at questions that opened ``since`` then and are older than number ``start`` (None: from the newest)."""
    tried = Tried(since=since, next=start, waiting=changes.waiting(condition))
    wanted = incident_q(condition)
    others = reduce(or_, map(incident_q, earlier)) if earlier else None
    began = time.monotonic()
    while _step(tried, wanted, others) and time.monotonic() - began < budget_s:
        pass
    return tried


def _step(tried: Tried, wanted: Q, others: Q | None) -> bool:
    """Look at one step more; False at the end."""
    left = Incident.objects.order_by("-seq")
    if tried.next is not None:
        left = left.filter(seq__lt=tried.next)
    edge = left.values_list("seq", "opened_at")[STEP_INCIDENTS - 1 : STEP_INCIDENTS].first()
    step = left.filter(seq__gte=edge[0]) if edge else left
    recent = step.order_by().filter(opened_at__gte=tried.since)
    tried.looked_at += recent.count()
    found = recent.filter(wanted)
    if others is not None:
        tried.taken += found.filter(others).count()
        found = found.exclude(others)
    for action, count in found.values_list("decision__action").annotate(Count("pk")):
        how = action or NOBODY
        tried.ended[how] = tried.ended.get(how, 0) + count
        tried.matched += count
    if len(tried.shown) < SHOWN and tried.matched > len(tried.shown):
        numbers = found.order_by("-seq").values_list("seq", flat=True)[: SHOWN - len(tried.shown)]
        tried.shown += with_relations().filter(seq__in=list(numbers)).order_by("-seq")
    more = edge is not None and edge[1] >= tried.since
    tried.next, tried.back_to = (edge[0], edge[1]) if edge and more else (None, None)
    return more
