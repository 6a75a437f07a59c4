"""Reads the content of frames from the database and renders it with the partials of the pages."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.template.loader import get_template
from django.utils import translation

from errorkernel.live.frames import Card, Frame, Row, Status
from errorkernel.models import ErrorEvent, Incident
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.event_rows import EventRow, stored
from errorkernel.store.status import system_status, triage_order
from errorkernel.templatetags.event_row import event_row

RECENTLY_ENDED_S = 60
SNAPSHOT_CARDS = 10
ENDED_CARDS = 10


def render_rows(events: Iterable[EventRow]) -> list[Row]:
    """The events with their rows; long texts are cut."""
    shortened = [event.shortened() for event in events]
    return [Row.of(event, _plain(event_row(event))) for event in shortened]


def render_cards(incidents: Iterable[Incident], language: str = settings.LANGUAGE_CODE) -> list[Card]:
    """The incidents' cards. They need their relations (``load_cards``)."""
    template = get_template("errorkernel/_incident.html")
    # Frames go to all sockets, so the language of the present request must not apply.
    with translation.override(language):
        return [
            Card.of(
                str(incident.pk),
                incident.state,
                incident.change,
                _plain(template.render({"incident": incident, "now": datetime.now(UTC)})),
            )
            for incident in incidents
        ]


def _plain(html: str) -> str:
    """msgspec encodes ``str`` itself, not the subclass by which Django marks escaped text; a slice is a plain one."""
    return html[:]


def translate(frame: Frame, language: str) -> Frame:
    """The frame with its cards in another language, as the incidents are by now."""
    shown = render_cards(load_cards(UUID(card.incident) for card in frame.cards), language)
    return frame.with_cards({card.incident: card for card in shown})


def load_cards(incident_ids: Iterable[UUID]) -> list[Incident]:
    """The incidents with everything that their cards show."""
    return list(decisions.with_relations().filter(pk__in=list(incident_ids)).order_by("change"))


def cards_frame(incidents: Sequence[Incident], position: int, pending: int | None) -> Frame:
    """A frame without numbers, at ``position``."""
    return Frame(position + 1, position, cards=render_cards(incidents), pending=pending)


def stored_rows(first: int, last: int, limit: int, query: Q | None = None) -> list[EventRow]:
    """The newest ``limit`` stored events of a range, oldest first; ``query`` as the search would apply it."""
    wanted = stored().filter(seq__gte=first, seq__lte=last)
    if query is not None:
        wanted = wanted.filter(query)
    return [EventRow.of(event) for event in reversed(wanted.order_by("-seq")[:limit])]


def from_store(first: int, last: int, limit: int, query: Q | None = None) -> Frame:
    """A frame of what is stored in a range: for sockets that missed it. With a query, only rows that match count."""
    rows = stored_rows(first, last, limit, query)
    skipped = 0
    if query is None:
        skipped = last - first + 1 - len(rows)
    elif len(rows) == limit:
        skipped = max(0, ErrorEvent.objects.filter(query, seq__gte=first, seq__lt=rows[0].seq)[: 10 * limit].count())
    return Frame(first, last, render_rows(rows), skipped)


def snapshot(position: int, language: str) -> Frame:
    """Everything that a fresh page would show of incidents and status, in this language."""
    return Frame(
        position + 1,
        position,
        cards=render_cards(shown_incidents(datetime.now(UTC)), language),
        pending=decisions.waiting_count(),
        status=read_status(),
        is_snapshot=True,
    )


def shown_incidents(now: datetime) -> list[Incident]:
    """What a fresh page shows: pending incidents by impact, then those in delivery, then those that have just ended."""
    since = now - timedelta(seconds=RECENTLY_ENDED_S)
    pending = triage_order.Waiting(now).ids(0, SNAPSHOT_CARDS)
    return triage_order.in_order(
        [*pending, *triage_order.on_its_way(SNAPSHOT_CARDS), *triage_order.ended(ENDED_CARDS, since)]
    )


def read_status() -> Status:
    """The system status at this moment."""
    now = system_status.read(datetime.now(UTC))
    return Status(
        kernel_age_s=None if now.kernel_age_s is None else round(now.kernel_age_s, 1),
        broker=now.broker,
        lag=now.lag,
        nodes=now.nodes,
        nodes_late=now.missing,
        nodes_gone=now.gone,
        deadlines_held=now.held_since is not None,
        flooding=now.flooding,
        approvals=now.approvals,
    )
