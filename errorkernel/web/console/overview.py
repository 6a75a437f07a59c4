"""The overview: four numbers beside those of the week before, the objective, charts, and decisions that did not help.

Events are read from rollups (``store.rollups``) and decisions up to a bound, so the cost of the page does not depend on
how many are stored.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Manager
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain import charts
from errorkernel.domain.incident_state import State
from errorkernel.domain.rollups import bucket_of, bucket_range, bucket_start, minute_of
from errorkernel.domain.service_level import Objective, Wait, decided_within, percentile, service_level
from errorkernel.models import Incident, Node, Problem
from errorkernel.platform import conf
from errorkernel.store import facets, rollups
from errorkernel.store.status import decision_history
from errorkernel.store.status.decision_history import DecisionRecord
from errorkernel.templatetags.console import actor_name, duration
from errorkernel.web.auth.permissions import AUDIT, VIEW, needs
from errorkernel.web.console.overview_charts import (
    RANGES,
    Range,
    decided_over_time,
    first_counted,
    over_time,
    range_of,
)

TOP_SHOWN = 10
GROUPS_SHOWN = 10
OBJECTIVE_SPAN = timedelta(days=30)
NIGHT_BEGINS_H, NIGHT_ENDS_H = 20, 8
"""In UTC."""
RULE_DECISIONS, RULE_CAME_BACK = 3, 0.5
"""A rule is to be reviewed if so many of its decisions were applied and this share of them did not help."""


@needs(VIEW, "range")
def overview(request: HttpRequest) -> HttpResponse:
    """The page: numbers of the period beside the period before, and what was decided at night."""
    chosen = range_of(request)
    now = timezone.now()
    since, end = now - chosen.length, now + timedelta(seconds=1)
    settings = conf.get()
    goal = Objective(settings.slo_decided_s, settings.slo_share)
    waits, is_cut = decision_history.waits(now - max(OBJECTIVE_SPAN, chosen.shift + chosen.length))
    found, total = decision_history.newest(since, end)
    counted = first_counted()
    context = {
        "section": "overview",
        "ranges": RANGES,
        "chosen": chosen,
        "since": since,
        "before": (since - chosen.shift, now - chosen.shift),
        "may_audit": request.user.has_perm(AUDIT),
        "figures": _figures(chosen, waits, is_cut, found, counted, now),
        "level": service_level(waits, goal, now - OBJECTIVE_SPAN, now),
        "hour_burn": service_level(waits, goal, now - timedelta(hours=1), now).burn,
        "waits_read": len(waits) if is_cut else None,
        "answered": total,
        "looked_at": len(found),
        "outcomes": decision_history.outcomes(found),
        "deciders": _deciders(found),
        "goal_text": charts.span(goal.within_s) if goal.within_s % 60 == 0 else duration(goal.within_s),
        **over_time(chosen, counted, now),
        **decided_over_time(chosen, waits, goal, now),
        **_decided(found, now),
        **_top(chosen, counted, now),
    }
    return render(request, "errorkernel/overview.html", context)


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the four numbers. ``change``: to the period before, as text; ``is_better`` None: no change, or nothing to
    compare with."""

    label: str
    text: str
    of: str
    change: str
    is_more: bool
    is_better: bool | None
    before: str


def _figure(
    label: str,
    now: float | None,
    before: float | None,
    show: Callable[[float], str],
    *,
    difference: Callable[[float], str] | None = None,
    of: str = "",
) -> Figure:
    """Of all four, less is better. ``difference``: shows the change, if not ``show``."""
    text = _("none") if now is None else show(now)
    if now is None or before is None:
        return Figure(label, text, of, "", False, None, "" if before is None else show(before))
    change = (difference or show)(abs(now - before))
    return Figure(label, text, of, change, now > before, now < before if now != before else None, show(before))


def _figures(
    chosen: Range,
    waits: Sequence[Wait],
    is_cut: bool,
    found: Sequence[DecisionRecord],
    counted: int | None,
    now: datetime,
) -> list[Figure]:
    since, end = now - chosen.length, now + timedelta(seconds=1)
    began, ended = since - chosen.shift, now - chosen.shift
    earlier, _total = decision_history.newest(began, ended)
    is_known = not is_cut or (waits[-1].opened_at <= began)
    has_before = Incident.objects.filter(opened_at__lt=ended).exists()
    opened = (_opened(since, end), _opened(began, ended) if has_before else None)
    back, back_of = _recurrence(found)
    back_before, before_of = _recurrence(earlier)
    return [
        _figure(_("Incidents"), *opened, lambda value: f"{value:,.0f}"),
        _figure(
            _("95 % decided within"),
            decided_within(waits, since, end),
            decided_within(waits, began, ended) if is_known else None,
            duration,
        ),
        _figure(_("Total blocked time"), _blocked_s(since, now, counted), _blocked_s(began, ended, counted), duration),
        _figure(
            _("Came back after Continue"),
            100 * back / back_of if back_of else None,
            100 * back_before / before_of if before_of else None,
            lambda value: f"{value:.1f} %",
            difference=lambda value: _("%(count)s points") % {"count": f"{value:.1f}"},
            of=_("%(count)s of %(total)s") % {"count": back, "total": back_of} if back_of else "",
        ),
    ]


def _opened(since: datetime, until: datetime) -> int:
    return Incident.objects.filter(opened_at__gte=since, opened_at__lt=until).count()


def _recurrence(found: Sequence[DecisionRecord]) -> tuple[int, int]:
    """(came back, applied) of the decisions to continue."""
    outcome = next((made for made in decision_history.outcomes(found) if made.action == "continue"), None)
    return (outcome.came_back, outcome.done) if outcome else (0, 0)


def _blocked_s(since: datetime, until: datetime, counted: int | None) -> float | None:
    """Seconds that processes were blocked; None where counting began later."""
    first, last = minute_of(since), minute_of(until)
    if counted is None or counted > last:
        return None
    return sum(sums[-1] for sums in rollups.by_time(first, last, last - first + 1).values())


def _deciders(found: Sequence[DecisionRecord]) -> list[tuple[str, int, float | None, float | None]]:
    """(actors, decisions, p50, p95) by kind of actor."""
    words = {"user": _("Users"), "rule": _("Matching rule"), "deadline": _("deadlines")}
    rows = []
    for kind, name in words.items():
        waits = sorted(row.waited_s for row in found if row.actor_kind == kind)
        if waits:
            rows.append((name, len(waits), percentile(waits, 0.5), percentile(waits, 0.95)))
    return rows


@dataclass(slots=True)
class Group:
    """Decisions with one action on one problem. ``came_back``: of those that were applied."""

    action: str
    problem: Problem
    decided: int = 0
    applied: int = 0
    came_back: int = 0
    actors: Counter[str] = field(default_factory=Counter)
    helpless: Counter[str] = field(default_factory=Counter)
    """Decisions that did not help, by actor."""

    @property
    def by(self) -> str:
        """``alice 7, rule 12: 5``, the most frequent first."""
        return ", ".join(f"{actor_name(actor)}: {count}" for actor, count in self.actors.most_common(3))


def _decided(found: Sequence[DecisionRecord], now: datetime) -> dict[str, Any]:
    """Decisions that did not help, rules to review, and decisions of the last night."""
    began, ended = _last_night(now)
    at_night, night_total = decision_history.newest(began, ended)
    known = _wholes({row.problem for row in (*found, *at_night)})
    groups = _groups(found, known)
    helpless = sorted((group for group in groups if group.came_back), key=lambda group: -group.came_back)
    return {
        "helpless": helpless[:GROUPS_SHOWN],
        "rules_to_review": _rules_to_review(helpless),
        "night": (began, ended),
        "night_total": night_total,
        "night_groups": _groups(at_night, known)[:GROUPS_SHOWN],
    }


def _last_night(now: datetime) -> tuple[datetime, datetime]:
    """From when to when: the present night, or the one that ended last."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(hours=24 - NIGHT_BEGINS_H), min(now, day + timedelta(hours=NIGHT_ENDS_H))


def _wholes(ids: set[int]) -> dict[int, Problem]:
    """Problem → the one that it is merged into, or itself."""
    rows = Problem.objects.select_related("merged_into").in_bulk(list(ids))
    return {pk: row.merged_into or row for pk, row in rows.items()}


def _groups(found: Sequence[DecisionRecord], known: dict[int, Problem]) -> list[Group]:
    """By action and problem, the largest first."""
    groups: dict[tuple[str, int], Group] = {}
    for row in found:
        whole = known.get(row.problem)
        if whole is None:
            continue
        group = groups.setdefault((row.action, whole.pk), Group(row.action, whole))
        group.decided += 1
        group.actors[row.actor] += 1
        if row.state == State.APPLIED:
            group.applied += 1
            group.came_back += row.came_back
            group.helpless[row.actor] += row.came_back
    return sorted(groups.values(), key=lambda group: -group.decided)


@dataclass(frozen=True, slots=True)
class ReviewedRule:
    """``came_back`` of the rule's ``decided`` decisions on one problem did not help."""

    number: str
    came_back: int
    decided: int
    problem: Problem


def _rules_to_review(groups: Sequence[Group]) -> list[ReviewedRule]:
    return [
        ReviewedRule(actor.partition(":")[2], count, group.actors[actor], group.problem)
        for group in groups
        for actor, count in group.helpless.items()
        if actor.startswith("rule:")
        and group.actors[actor] >= RULE_DECISIONS
        and count >= RULE_CAME_BACK * group.actors[actor]
    ]


@dataclass(frozen=True, slots=True)
class TopProblem:
    """``lately``: events in each of the last 24 hours. ``change``: to the period before; None: nothing is known of
    it."""

    row: Problem
    pending: int
    lately: list[int]
    events: int
    change: int | None


@dataclass(frozen=True, slots=True)
class TopNode:
    """``bar``: relative to the node with most events."""

    row: Node
    events: int
    failures: int
    bar: str


def _top(chosen: Range, counted: int | None, now: datetime) -> dict[str, Any]:
    """Problems and nodes with most events, from the beginning of an hour, day or week."""
    of_problems, of_processes = chosen.top
    first, last = bucket_range(of_problems, now, chosen.length)
    noisy = rollups.noisiest_nodes(of_processes, first, last, TOP_SHOWN)
    most = noisy[0][1] if noisy else 0
    nodes = _known(Node.objects, noisy)
    return {
        "top_since": bucket_start(of_problems, first),
        "top_problems": _top_problems(chosen, first, last, counted, now),
        "top_nodes": [
            TopNode(nodes[pk], events, failures, charts.part(events, most))
            for pk, events, failures in noisy
            if pk in nodes
        ],
    }


def _top_problems(chosen: Range, first: int, last: int, counted: int | None, now: datetime) -> list[TopProblem]:
    series = chosen.top[0]
    largest = rollups.largest_problems(series, first, last, TOP_SHOWN)
    ids = [pk for pk, _events in largest]
    back = bucket_of(series, now) - bucket_of(series, now - chosen.shift)
    # The month before is not kept.
    is_kept = chosen.shift + chosen.length <= rollups.KEPT
    has_before = is_kept and counted is not None and counted <= minute_of(now - chosen.shift)
    before = rollups.problems_by_step(series, ids, first - back, last - back) if has_before else {}
    lately = rollups.problems_by_hour(ids, now)
    known = _known(Problem.objects, largest)
    pending = facets.pending_by_problem()
    return [
        TopProblem(known[pk], pending.get(pk, 0), lately[pk], events, events - sum(before[pk]) if has_before else None)
        for pk, events in largest
        if pk in known
    ]


def _known(rows: Manager[Any], counted: Sequence[tuple[int, ...]]) -> dict[int, Any]:
    return rows.in_bulk([row[0] for row in counted])
