"""Live frames: what a browser is sent, built once and encoded once for all of them.

A frame covers the numbers ``from`` … ``to``. What it does not show of them (load, a filter) is counted, never hidden:
the browser can always say how many there were, and fetch them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db.models import Q
from django.template.loader import get_template
from django.utils import translation

from errorkernel.models import ErrorEvent, Incident
from errorkernel.store.incidents import decisions as store
from errorkernel.store.ingest.event_rows import EventRow, stored
from errorkernel.store.status import triage_order as room

RECENTLY_ENDED_S = 60
SNAPSHOT_CARDS = 10
ENDED_CARDS = 10
FRAME_CARDS = 50
FRAME_BYTES = 512 * 1024
"""Web servers take a message of 1 MiB over a websocket and cut the connection at a larger one. One row or card, with
the worst texts, has 60 KB at most."""

_encode = msgspec.json.Encoder().encode


class Frame(msgspec.Struct):
    """``text`` is what goes over the socket. ``events`` and ``cards`` are its parts, for those who need less of it."""

    first: int
    last: int
    text: str
    skipped: int = 0
    changes: tuple[tuple[str, int], ...] = ()
    """(incident, number of its change) of the cards in it."""

    def body(self) -> dict[str, Any]:
        """What ``text`` says, decoded anew at each call."""
        return dict(msgspec.json.decode(self.text))

    def events(self) -> list[dict[str, Any]]:
        return list(self.body()["events"])


def build(
    rows: Sequence[EventRow],
    *,
    first: int,
    last: int,
    skipped: int = 0,
    cards: Iterable[Incident] = (),
    waiting: int | None = None,
    extra: dict[str, Any] | None = None,
) -> Frame:
    """A frame of rendered rows and cards. ``waiting``: how many questions are open, where that is known anew."""
    shown = [card_part(incident) for incident in cards]
    return assemble(
        [event_part(row) for row in rows],
        first=first,
        last=last,
        skipped=skipped,
        cards=shown,
        waiting=waiting,
        extra=extra,
    )


def assemble(
    events: list[dict[str, Any]],
    *,
    first: int,
    last: int,
    skipped: int = 0,
    cards: list[dict[str, Any]] | None = None,
    waiting: int | None = None,
    extra: dict[str, Any] | None = None,
) -> Frame:
    """A frame of parts that are rendered already."""
    counts = {"events": last} if waiting is None else {"events": last, "waiting": waiting}
    shown = cards or []
    body = {
        "from": first,
        "to": last,
        "events": events,
        "skipped": skipped,
        "counts": counts,
        "incidents": shown,
        **(extra or {}),
    }
    changes = tuple((card["id"], card["change"]) for card in shown)
    return Frame(first, last, _encode(body).decode(), skipped, changes)


def event_part(row: EventRow) -> dict[str, Any]:
    """A row as it stands in a frame: its fields, and the partial that the page itself renders."""
    row = row.shortened()
    return {
        "seq": row.seq,
        "id": row.id,
        "type": row.type,
        "level": row.level,
        "node": row.node,
        "process": row.process,
        "incarnation": row.incarnation,
        "kind": row.kind,
        "text": row.text,
        "message": row.message,
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
        "problem": row.problem,
        "whole": row.whole,
        "incident": row.incident,
        "repeat": row.repeat,
        "html": _plain(get_template("errorkernel/_event.html").render({"event": row})),
    }


def card_part(incident: Incident, language: str = settings.LANGUAGE_CODE) -> dict[str, Any]:
    """A card as it stands in a frame. ``incident`` needs its relations (``store.incidents.with_relations``)."""
    # Frames are for everybody: not in the language of the request that happened to cause this one.
    with translation.override(language):
        shown = {"incident": incident, "now": datetime.now(UTC)}
        html = _plain(get_template("errorkernel/_incident.html").render(shown))
    return {"id": str(incident.pk), "state": incident.state, "change": incident.change, "html": html}


def cards_in(language: str, changes: Iterable[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """The cards of a frame's ``changes`` in another language, by their incident's id, as they are by now."""
    shown = load_cards(UUID(incident) for incident, _ in changes)
    return {str(incident.pk): card_part(incident, language) for incident in shown}


def with_cards(frame: Frame, cards: dict[str, dict[str, Any]]) -> Frame:
    """The frame with these in the places of its own cards."""
    body = frame.body()
    shown = [cards.get(card["id"], card) for card in body["incidents"]]
    return Frame(frame.first, frame.last, _encode({**body, "incidents": shown}).decode(), frame.skipped, frame.changes)


def without_events(frame: Frame) -> Frame:
    """The frame for pages that show no stream: its cards and counts."""
    body = {**frame.body(), "events": [], "skipped": 0}
    return Frame(frame.first, frame.last, _encode(body).decode(), 0, frame.changes)


def pieces(frame: Frame) -> list[Frame]:
    """The frame as it goes over a socket: itself, or where it is too large several that follow each other, rows first.

    The last has what is said once. In that of a snapshot are all of its cards; those that came before have no ``html``.
    """
    if len(frame.text) <= FRAME_BYTES // 4 or len(frame.text.encode()) <= FRAME_BYTES:
        return [frame]
    body = frame.body()
    *before, cards = _lots(body["incidents"])
    made = _row_pieces(frame, body["events"]) if frame.first <= frame.last else []
    made += [assemble([], first=frame.last + 1, last=frame.last, cards=lot) for lot in before]
    if body.get("snapshot"):
        cards = [{**card, "html": ""} for lot in before for card in lot] + cards
    once: dict[str, Any] = {name: body[name] for name in ("snapshot", "status") if name in body}
    waiting = body["counts"].get("waiting")
    made.append(assemble([], first=frame.last + 1, last=frame.last, cards=cards, waiting=waiting, extra=once))
    return made


def _row_pieces(frame: Frame, events: list[dict[str, Any]]) -> list[Frame]:
    """Frames that cover the numbers of ``frame`` without gap; what it skips, the first one does."""
    made: list[Frame] = []
    first, skipped = frame.first, frame.skipped
    lots = _lots(events)
    for place, lot in enumerate(lots, 1):
        last = frame.last if place == len(lots) else lot[-1]["seq"]
        made.append(assemble(lot, first=first, last=last, skipped=skipped))
        first, skipped = last + 1, 0
    return made


def _lots(parts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """These in their order, in lots that fit into a frame; without any, one lot of none."""
    lots: list[list[dict[str, Any]]] = [[]]
    size = 0
    for part in parts:
        length = len(_encode(part))
        if lots[-1] and size + length > FRAME_BYTES:
            lots.append([])
            size = 0
        lots[-1].append(part)
        size += length
    return lots


def _plain(html: str) -> str:
    """msgspec encodes ``str`` itself, not the subclass by which Django marks escaped text; a slice is a plain one."""
    return html[:]


def load_cards(incident_ids: Iterable[UUID]) -> list[Incident]:
    """The incidents with everything that their cards show."""
    return list(store.with_relations().filter(pk__in=list(incident_ids)).order_by("change"))


def stored_rows(first: int, last: int, limit: int, query: Q | None = None) -> list[EventRow]:
    """The newest ``limit`` stored events of a range, oldest first; ``query`` as the search would apply it."""
    wanted = stored().filter(seq__gte=first, seq__lte=last)
    if query is not None:
        wanted = wanted.filter(query)
    return [EventRow.of(event) for event in reversed(wanted.order_by("-seq")[:limit])]


def from_store(first: int, last: int, limit: int, query: Q | None = None) -> Frame:
    """A frame of what is stored in a range: for whoever missed it. With a query, only rows that match count."""
    rows = stored_rows(first, last, limit, query)
    skipped = 0
    if query is None:
        skipped = last - first + 1 - len(rows)
    elif len(rows) == limit:
        skipped = max(0, ErrorEvent.objects.filter(query, seq__gte=first, seq__lt=rows[0].seq)[: 10 * limit].count())
    return build(rows, first=first, last=last, skipped=skipped)


def waiting_room(now: datetime) -> list[Incident]:
    """What a fresh page shows: open questions, most urgent first, then what is on its way or has just ended."""
    since = now - timedelta(seconds=RECENTLY_ENDED_S)
    open_ones = room.Waiting(now).ids(0, SNAPSHOT_CARDS)
    return room.in_order([*open_ones, *room.on_its_way(SNAPSHOT_CARDS), *room.ended(ENDED_CARDS, since)])
