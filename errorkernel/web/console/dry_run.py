"""Dry run of a rule: the stored incidents that it would have decided, and how they ended.

Incidents are searched newest first, in steps of their ``seq``, until the time budget is used; ``next`` continues the
search. So a page responds within about a second and shows its progress, for any number of incidents.

The database evaluates the conditions, with the same tree as for new incidents. Incidents that an earlier rule matches,
by the present rules, are counted separately; the limits of the rule (uses, storm, loop) are not simulated.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import Count, Q

from errorkernel.domain import rule_policy
from errorkernel.domain.query.tree import Tree
from errorkernel.models import Incident, Rule
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.rules import changes
from errorkernel.store.search import incident_q

STEP_INCIDENTS = 20_000
SHOWN = 50
BUDGET_S = 1.0
FULL_BUDGET_S = 30.0
GUARD_BUDGET_S = 5.0
NOBODY = "nobody"


@dataclass(slots=True)
class Tried:
    """Of ``looked_at`` incidents, the rule would have decided ``matched``; ``shown`` are the newest of these. Its
    condition matches ``taken`` more, which earlier rules would have decided. ``waiting``: pending incidents that its
    condition matches, regardless of earlier rules.

    ``ended``: number by decision (continue, kill, stop, or ``nobody``). ``next``: the ``seq`` to continue from, None at
    the end. ``back_to``: the oldest searched time.
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
        """The searched share of the requested time, from 0 to 1."""
        if self.next is None or self.back_to is None:
            return 1.0
        return min(1.0, max(0.0, (now - self.back_to) / (now - self.since)))


def before(rule: Rule | None, now: datetime) -> list[Tree]:
    """Conditions of earlier rules: all active ones, or for an existing rule those above it."""
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
    """Search incidents that opened since ``since`` and are older than number ``start`` (None: from the newest)."""
    tried = Tried(since=since, next=start, waiting=changes.waiting(condition))
    wanted = incident_q(condition)
    others = reduce(or_, map(incident_q, earlier)) if earlier else None
    began = time.monotonic()
    while _step(tried, wanted, others) and time.monotonic() - began < budget_s:
        pass
    return tried


def last_week(condition: Tree, rule: Rule | None, now: datetime) -> Tried:
    """What ``condition`` would have decided in the days that a rule is tried on before it is enabled. ``rule``: the
    rule that has it already. After GUARD_BUDGET_S it covers the newest of these incidents."""
    since = now - timedelta(days=rule_policy.GUARD_DAYS)
    return dry_run(condition, before(rule, now), since=since, budget_s=GUARD_BUDGET_S)


def _step(tried: Tried, wanted: Q, others: Q | None) -> bool:
    """Search one more step; False at the end."""
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
