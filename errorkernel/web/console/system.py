"""Pages of rejected events and settings."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.models import RejectedEvent
from errorkernel.platform import conf
from errorkernel.platform.parameters import name_of, number
from errorkernel.web.auth.permissions import SEE_REFUSED, SEE_SETTINGS, needs
from errorkernel.web.console.pager import Pager

ROWS_A_PAGE = 50
HEAD_SHOWN_BYTES = 1024
_HEX_COLUMNS = 16


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a rejected event as text, with other bytes than UTF-8 written out, and as bytes."""

    text: str
    hex: str
    left_out: int

    @classmethod
    def of(cls, row: RejectedEvent) -> "Head":
        data = bytes(row.head)[:HEAD_SHOWN_BYTES]
        lines = [data[at : at + _HEX_COLUMNS] for at in range(0, len(data), _HEX_COLUMNS)]
        dump = "\n".join(f"{number * _HEX_COLUMNS:04x}  {line.hex(' ')}" for number, line in enumerate(lines))
        return cls(data.decode("utf-8", "backslashreplace"), dump, row.size - len(data))


@needs(SEE_REFUSED, "reason", "node", "before")
def quarantine(request: HttpRequest) -> HttpResponse:
    """Rejected events, newest first, by ``reason`` and ``node``, and the number of each reason."""
    before = number(request.GET, "before")
    chosen = {name: name_of(request.GET, name) for name in ("reason", "node")}
    kept = RejectedEvent.objects.order_by("-pk")
    found = kept.filter(**{name: value for name, value in chosen.items() if value})
    page = list((found if before is None else found.filter(pk__lt=before))[: ROWS_A_PAGE + 1])
    reasons = kept.order_by().values("reason").annotate(count=Count("pk")).order_by("-count", "reason")
    older = page[ROWS_A_PAGE - 1].pk if len(page) > ROWS_A_PAGE else None
    context: dict[str, Any] = {
        "section": "quarantine",
        "refused": [(row, Head.of(row)) for row in page[:ROWS_A_PAGE]],
        "reasons": reasons,
        "chosen": chosen,
        "pager": Pager.by_position({name: value for name, value in chosen.items() if value}, before, older),
    }
    return render(request, "errorkernel/rejected_events.html", context)


@needs(SEE_SETTINGS)
def settings(request: HttpRequest) -> HttpResponse:
    """All settings with value, source and meaning; secrets are hidden."""
    here = conf.get()
    rows = [(*row, conf.is_given(row[0])) for row in conf.describe(here)]
    return render(request, "errorkernel/settings.html", {"section": "settings", "settings": rows})
