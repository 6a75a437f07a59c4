"""The triage page: pending incidents by problem, with the newest events below them; its groups alone for scripts."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from errorkernel.domain.canary import CanaryState
from errorkernel.domain.query.parse import QueryError
from errorkernel.models import BulkDecision, Problem
from errorkernel.platform import conf
from errorkernel.platform.parameters import BadParameter, name_of
from errorkernel.store.incidents.bulk_progress import Progress
from errorkernel.store.status import triage as status
from errorkernel.templatetags.console import action_word, actor_name, one_line
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.permissions import DECIDE, VIEW, is_fetched, needs
from errorkernel.web.console.events import stream_context
from errorkernel.web.console.incidents import fitting
from errorkernel.web.console.search import Search

GROUPS_SHOWN = 40
HINTS = "hints"
"""The cookie of a browser in which the hints were hidden."""
"""Groups on the page; the others follow as these are decided."""
OPEN_MAX = 8
"""Groups whose processes are shown at once."""
MEMBERS_SHOWN = 50
MEMBERS_MAX = 500
READY, PROGRESS, MOVING = "ready", "progress", "moving"
"""Kinds of decide bars: one that decides, one that shows a bulk decision, none."""


@dataclass(frozen=True)
class Shown:
    """What a row says of the bulk decision of its problem."""

    bulk: Progress | None
    delivering: int
    now: datetime
    username: str

    @property
    def is_in_hand(self) -> bool:
        """Whether the bulk decision takes the place of the decide bar."""
        bulk = self.bulk
        if bulk is None or bulk.is_held:
            return False
        return bulk.state == BulkDecision.State.PROPOSED or bulk.state in BulkDecision.UNDER_WAY

    @property
    def rest(self) -> int:
        """Incidents of the bulk decision that are not decided yet."""
        return self.bulk.results["pending"] if self.bulk else 0

    @property
    def decided(self) -> int:
        return self.bulk.bulk.count - self.rest if self.bulk else 0

    @property
    def observed_s(self) -> int:
        """For how long the canary has been observed."""
        canary = self.bulk.canary if self.bulk else None
        if self.bulk is None or canary is None or canary.until is None:
            return 0
        left_s = math.ceil((canary.until - self.now).total_seconds())
        return max(0, (self.bulk.bulk.watch_s or 0) - left_s)

    @property
    def may_go_on(self) -> bool:
        canary = self.bulk.canary if self.bulk else None
        return canary is not None and canary.shows is CanaryState.GOOD

    @property
    def outcome_class(self) -> str:
        if self.bulk is not None and self.bulk.is_held:
            return "is-failed"
        return "is-applied" if self.bulk is not None and self.bulk.state == BulkDecision.State.DONE else "is-decided"

    @cached_property
    def outcome(self) -> str:
        """The result of the latest decision in one line, for the row and for screen readers; empty: there is none."""
        bulk = self.bulk
        if bulk is None:
            if not self.delivering:
                return ""
            text = ngettext("◇ {count} decision in delivery", "◇ {count} decisions in delivery", self.delivering)
            return text.format(count=self.delivering)
        action, actor = action_word(bulk.bulk.action), actor_name(bulk.bulk.actor)
        if bulk.is_held:
            why = translated(bulk.canary.explanation) if bulk.canary else _("The canary is no longer stored.")
            return _("✕ {action} by {who}: {why} The others stay pending.").format(action=action, who=actor, why=why)
        if bulk.state == BulkDecision.State.DONE:
            text = _("✓ {action} by {who}: {decided} decided, {lost} already decided, {gone} withdrawn")
            found = bulk.results
            return text.format(
                action=action,
                who=actor,
                decided=found["decided"],
                lost=found["already_decided"],
                gone=found["withdrawn"],
            )
        if bulk.state == BulkDecision.State.REJECTED:
            return _("○ {action} by {who} was ended; the rest stays pending.").format(action=action, who=actor)
        if bulk.state == BulkDecision.State.EXPIRED:
            return _("○ {action}, proposed by {who}, was not approved in time.").format(action=action, who=actor)
        if bulk.state == BulkDecision.State.PROPOSED:
            return _("◇ {who} proposes: {action}").format(action=action, who=actor)
        return _("◇ {action} by {who} is in progress").format(action=action, who=actor)


@dataclass(frozen=True)
class Row(Shown):
    """One group on the page. ``members``: its processes, where they are shown."""

    group: status.Group
    members: status.Members | None

    @property
    def mode(self) -> str:
        """Whether the same decide bar is shown: a script replaces it only when this changes."""
        return f"{PROGRESS}-{self.bulk.bulk.pk}-{self.bulk.state}" if self.bulk and self.is_in_hand else READY

    @property
    def decide_template(self) -> str:
        return "errorkernel/_triage_progress.html" if self.is_in_hand else "errorkernel/_triage_decide.html"

    @property
    def name(self) -> str:
        return _name(self.group.problem)

    @property
    def rest(self) -> int:
        """Without a bulk decision in hand: what follows the canary."""
        return super().rest if self.is_in_hand else self.group.summary.pending - 1

    @property
    def canary(self) -> UUID | None:
        """The process that is decided first: the longest pending one, if its node is alive. None: the operation chooses
        another one."""
        sample = self.group.sample
        return sample.pk if self.group.summary.pending > 1 and not sample.node_missing else None

    @property
    def is_mine(self) -> bool:
        taken = self.group.summary.taken
        return taken is not None and taken.by == self.username

    @property
    def needs_approval(self) -> bool:
        return 0 < conf.get().kill_needs_two_above < self.group.summary.pending


@dataclass(frozen=True)
class MovingRow(Shown):
    """A problem without pending incidents."""

    problem: Problem

    @property
    def mode(self) -> str:
        return f"{PROGRESS}-{self.bulk.bulk.pk}-{self.bulk.state}" if self.bulk and self.is_in_hand else MOVING

    @property
    def name(self) -> str:
        return _name(self.problem)


def _name(problem: Problem) -> str:
    title = one_line(problem.title)
    return f"{one_line(problem.kind)}: {title}" if problem.kind else title


@needs(VIEW, "q", "open")
def triage(request: HttpRequest) -> HttpResponse:
    """The start page. ``q``: a search of incidents; ``open``: the problems whose processes are shown."""
    context = triage_context(request)
    return render(request, "errorkernel/triage.html", context, status=400 if context["error"] else 200)


@needs(VIEW, "q", "open")
def groups(request: HttpRequest) -> HttpResponse:
    """The groups alone for a script, as the page would have them now; for others the page."""
    if not is_fetched(request):
        return HttpResponseRedirect(reverse("triage"))
    return render(request, "errorkernel/_triage.html", _groups_context(request))


def triage_context(request: HttpRequest) -> dict[str, Any]:
    """Context of the triage page. Raises BadParameter."""
    stream = stream_context(Search.of({}, timezone.now()))
    groups = _groups_context(request)
    return {
        "section": "triage",
        "shows_hints": bool(groups["rows"]) and request.user.has_perm(DECIDE) and request.COOKIES.get(HINTS) != "off",
        **stream,
        **groups,
    }


def _groups_context(request: HttpRequest) -> dict[str, Any]:
    now, settings = timezone.now(), conf.get()
    opened = _opened(name_of(request.GET, "open"))
    query, error = name_of(request.GET, "q").strip(), None
    try:
        only = fitting(query)
    except QueryError as exc:
        only, error = frozenset(), exc
    found = status.read(now, only=only, limit=GROUPS_SHOWN)
    username = request.user.get_username()
    return {
        "triage": found,
        "query": query,
        "error": error,
        "rows": [
            Row(
                bulk=group.summary.bulk,
                delivering=group.summary.delivering,
                now=now,
                username=username,
                group=group,
                members=_members(group.summary.problem, now, opened, only),
            )
            for group in found.groups
        ],
        "moving_rows": [
            MovingRow(
                bulk=moving.bulk, delivering=moving.delivering, now=now, username=username, problem=moving.problem
            )
            for moving in found.moving
        ],
        "more_problems": found.totals.problems - len(found.groups),
        "watch_s": settings.canary_watch_s,
        "two_above": settings.kill_needs_two_above,
    }


def _opened(text: str) -> dict[int, int]:
    """Problem → processes to show, of ``21.50,22``. Raises BadParameter."""
    opened: dict[int, int] = {}
    for part in filter(None, text.split(",")[:OPEN_MAX]):
        problem, _separator, count = part.partition(".")
        if not (problem.isdecimal() and (not count or count.isdecimal()) and len(part) < 20):
            raise BadParameter(_("“{name}” cannot be “{text}”.").format(name="open", text=text[:40]))
        opened[int(problem)] = min(int(count or MEMBERS_SHOWN), MEMBERS_MAX)
    return opened


def _members(
    problem: int, now: datetime, opened: dict[int, int], only: Collection[UUID] | None
) -> status.Members | None:
    return status.members(problem, now, count=opened[problem], only=only) if problem in opened else None
