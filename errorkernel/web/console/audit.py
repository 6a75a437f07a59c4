"""The audit trail: a page of it, and all of it as a file."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from errorkernel.models import AuditEntry
from errorkernel.platform.parameters import BadParameter, hint, moment, name_of, number, word
from errorkernel.store.status import audit_trail
from errorkernel.web.auth.permissions import AUDIT, needs
from errorkernel.web.console import exports
from errorkernel.web.console.pager import Pager

ROWS_A_PAGE = 100
COLUMNS = ("id", "at", "actor", "action", "target", "reason", "before", "after", "origin")
_READ_AT_ONCE = 500
FILTERS = ("actor", "action", "target", "since", "until")
_NAMELESS = ("system", "deadline")
_KINDS = ("user", "rule", "node")
"""Of actors with a name."""


@needs(AUDIT, *FILTERS, "before", "show")
def audit(request: HttpRequest) -> HttpResponse:
    """Audit entries, newest first, in pages by number, so that new entries do not shift them.

    ``show``: ``people`` (the default where no actor, action or target is chosen) has the acts of people, each with
    the steps that followed; ``all`` every entry.
    """
    before = number(request.GET, "before")
    chosen = Chosen.of(request.GET)
    chosen.check(audit_trail.actions())
    show = word(request.GET, "show", ["people", "all"]) or chosen.show
    entries = chosen.entries().order_by("-id")
    if show == "people":
        entries = audit_trail.of_people(entries)
    if before is not None:
        entries = entries.filter(id__lt=before)
    found = list(entries[: ROWS_A_PAGE + 1])
    older = found[ROWS_A_PAGE - 1].pk if len(found) > ROWS_A_PAGE else None
    steps = audit_trail.steps_of(found[:ROWS_A_PAGE]) if show == "people" else {}
    shown = {"show": show} if show != chosen.show else {}
    context = {
        "section": "audit",
        "entries": [(entry, steps.get(entry.pk, [])) for entry in found[:ROWS_A_PAGE]],
        "chosen": chosen,
        "show": show,
        "incident_id": _incident_of(chosen.target),
        "parts": urlencode(chosen.parts()),
        "pager": Pager.by_position(chosen.parts() | shown, before, older),
    }
    return render(request, "errorkernel/audit.html", context)


@needs(AUDIT, *FILTERS, "format")
def export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """What the same parameters choose on the page, oldest first, as ``format`` csv or json (one object a line).

    It is sent as it is read.

    In CSV an apostrophe precedes a cell that a spreadsheet would run as a formula; JSON lines are exact.
    """
    form = word(request.GET, "format", ["csv", "json"]) or "csv"
    entries = Chosen.of(request.GET).entries()
    return exports.streamed(_parts(entries, form), "audit", form)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filters; empty and None mean "any". A name that ends with ``*`` is a prefix."""

    actor: str = ""
    action: str = ""
    target: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Chosen":
        """Raises BadParameter."""
        actor, action, target = (name_of(given, name).strip() for name in ("actor", "action", "target"))
        return cls(actor, action, target, moment(given, "since"), moment(given, "until"))

    @property
    def show(self) -> str:
        """What the page shows where the address does not say it."""
        return "all" if self.actor or self.action or self.target else "people"

    def check(self, actions: Sequence[str]) -> None:
        """Raises BadParameter for values that cannot match any entry. ``actions``: those in the trail."""
        if actions and self.action and not self.action.endswith("*") and self.action not in actions:
            text = _("There is no entry with the action “{action}”.").format(action=self.action[:40])
            raise BadParameter(text + hint(self.action, actions))
        kind, separator, _name = self.actor.partition(":")
        if separator and kind not in _KINDS:
            text = _("There is no kind of actor “{kind}”.").format(kind=kind[:40])
            raise BadParameter(text + hint(kind, _KINDS))
        if self.since and self.until and self.since >= self.until:
            raise BadParameter(_("“since” must be before “until”."))

    def parts(self) -> dict[str, str]:
        """As parameters of an address."""
        times = {"since": self.since, "until": self.until}
        given = {"actor": self.actor, "action": self.action, "target": self.target}
        given |= {name: f"{at:%Y-%m-%dT%H:%M:%S}" for name, at in times.items() if at}
        return {name: value for name, value in given.items() if value}

    def entries(self) -> QuerySet[AuditEntry]:
        # A name without a kind is that of a user.
        actor = self.actor if not self.actor or ":" in self.actor or self.actor in _NAMELESS else f"user:{self.actor}"
        found = AuditEntry.objects.all()
        for column, wanted in (("actor", actor), ("action", self.action), ("target", self.target)):
            if wanted.endswith("*"):
                found = found.filter(**{f"{column}__startswith": wanted[:-1]})
            elif wanted:
                found = found.filter(**{column: wanted})
        if self.since:
            found = found.filter(at__gte=self.since)
        return found.filter(at__lt=self.until) if self.until else found


async def _parts(entries: QuerySet[AuditEntry], form: str) -> AsyncIterator[bytes]:
    """Reads chunks, so that a slow reader holds neither memory nor a database thread."""
    last, first = 0, True
    while True:
        some = entries.filter(id__gt=last).order_by("id").values_list(*COLUMNS)[:_READ_AT_ONCE]
        rows = [row async for row in some]
        yield exports.lines(rows, COLUMNS, form, has_head=first)
        if len(rows) < _READ_AT_ONCE:
            return
        last, first = rows[-1][0], False


def _incident_of(target: str) -> UUID | None:
    kind, _, key = target.partition(":")
    try:
        return UUID(key) if kind == "incident" else None
    except ValueError:
        return None
