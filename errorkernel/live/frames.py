"""Live frames as values: what a browser is sent, encoded once, when a socket sends it.

A frame covers the event numbers ``first`` … ``last``. What it does not show of them (load, a search) is counted, never
hidden: the browser can always say how many there were, and fetch them.

Rows and cards are encoded when they are rendered. Every frame that holds them (another part of the numbers, another
language of the cards, without the rows that a search does not match) copies these bytes; nothing is decoded again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TypeVar
from uuid import UUID

import msgspec

from errorkernel.domain.canary import CanaryState
from errorkernel.store.ingest.event_rows import EventRow

FRAME_CARDS = 50
FRAME_BYTES = 512 * 1024
"""Web servers take a message of 1 MiB over a websocket and cut the connection at a larger one. One row or card, with
the worst texts, has 60 KB at most."""

_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct, frozen=True):
    """An event, and the JSON of its row."""

    event: EventRow
    encoded: msgspec.Raw

    @classmethod
    def of(cls, event: EventRow, html: str) -> "Row":
        """``html``: the row as the page itself shows it."""
        fields = msgspec.structs.asdict(event)
        del fields["relay_from_node"], fields["tags"]  # for searches; a row on the page does not show them
        return cls(event, msgspec.Raw(_encode({**fields, "html": html})))


class Card(msgspec.Struct, frozen=True):
    """The card of an incident at its ``change``, and its JSON."""

    incident: str
    state: str
    change: int
    encoded: msgspec.Raw

    @classmethod
    def of(cls, incident: str, state: str, change: int, html: str) -> "Card":
        encoded = _encode({"id": incident, "state": state, "change": change, "html": html})
        return cls(incident, state, change, msgspec.Raw(encoded))

    def without_html(self) -> "Card":
        """The card for a browser that has its ``html`` from a frame before."""
        return Card.of(self.incident, self.state, self.change, "")


class Status(msgspec.Struct, frozen=True):
    """How fresh the picture is. ``kernel_age_s``: seconds since a kernel's last heartbeat; None: there was none.

    ``broker``: a kernel reaches it and it can store. ``lag``: messages that wait to be stored. ``nodes``: those that
    are enabled; ``nodes_late``: of them those without a heartbeat, late or gone. ``deadlines_held``: by a jump of the
    clock. ``flooding``: the node that sends far more events than can be stored, or empty. ``approvals``: proposed bulk
    decisions that have not expired.
    """

    kernel_age_s: float | None
    broker: bool
    lag: int
    nodes: int
    nodes_late: int
    nodes_gone: int
    deadlines_held: bool = False
    flooding: str = ""
    approvals: int = 0


class CanaryFrame(msgspec.Struct, frozen=True):
    """``shows``: its state, as in the API; ``until``: end of the observation, null until its process has applied the
    decision."""

    incident: UUID
    shows: CanaryState
    until: datetime | None


class BulkFrame(msgspec.Struct, frozen=True):
    """The bulk decision of a problem, as in the API. ``held``: why the others stay pending, or null."""

    id: int
    state: str
    action: str
    actor: str
    approved_by: str
    then_rest: bool
    held: str | None
    count: int
    results: dict[str, int]
    expires_at: datetime
    canary: CanaryFrame | None


class GroupFrame(msgspec.Struct, frozen=True):
    """The numbers of a problem with pending incidents. ``taken_alone``: its incidents that are taken by themselves;
    ``delivering``: its decisions that are not applied yet. With ``pending`` 0 only a bulk decision or decisions in
    delivery are left."""

    problem: int
    pending: int
    level: str | None
    oldest_at: datetime | None
    deadline_at: datetime | None
    taken_by: str | None
    taken_until: datetime | None
    taken_alone: int
    delivering: int
    bulk: BulkFrame | None


class TriageFrame(msgspec.Struct, frozen=True):
    """What has changed in the triage. ``order``: its problems with pending incidents, by impact. ``groups``: those that
    changed, in a snapshot all; ``gone``: those that are no longer there."""

    processes: int
    problems: int
    oldest_at: datetime | None
    events_per_s: float
    approvals: int
    order: list[int]
    groups: list[GroupFrame]
    gone: list[int]


class _Counts(msgspec.Struct, omit_defaults=True):
    events: int
    waiting: int | None = None


class _Encoded(msgspec.Struct, omit_defaults=True):
    """A frame as JSON."""

    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    events: list[msgspec.Raw]
    skipped: int
    counts: _Counts
    incidents: list[msgspec.Raw]
    snapshot: bool = False
    status: Status | None = None
    triage: TriageFrame | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """``skipped``: events of ``first`` … ``last`` that are not among ``rows``. ``pending``: how many incidents are
    pending, if it has changed. ``triage``: only for sockets that ask for it. A frame without numbers has ``first`` =
    ``last`` + 1."""

    first: int
    last: int
    rows: Sequence[Row] = ()
    skipped: int = 0
    cards: Sequence[Card] = ()
    pending: int | None = None
    status: Status | None = None
    triage: TriageFrame | None = None
    is_snapshot: bool = False

    @property
    def has_numbers(self) -> bool:
        return self.first <= self.last

    @cached_property
    def text(self) -> str:
        """The JSON that goes over a socket."""
        encoded = _Encoded(
            first=self.first,
            last=self.last,
            events=[row.encoded for row in self.rows],
            skipped=self.skipped,
            counts=_Counts(self.last, self.pending),
            incidents=[card.encoded for card in self.cards],
            snapshot=self.is_snapshot,
            status=self.status,
            triage=self.triage,
        )
        return _encode(encoded).decode()

    @cached_property
    def without_rows(self) -> "Frame":
        """The frame for pages that show no stream."""
        return replace(self, rows=(), skipped=0)

    def with_cards(self, cards: Mapping[str, Card]) -> "Frame":
        """The frame with these, by their incident, in the places of its own."""
        return replace(self, cards=[cards.get(card.incident, card) for card in self.cards])

    def after(self, position: int) -> "Frame":
        """The part of the frame from ``position`` + 1 on; whatever of that it does not show is counted as skipped."""
        last = max(self.last, position)
        rows = [row for row in self.rows if row.event.seq > position]
        return replace(self, first=position + 1, last=last, rows=rows, skipped=last - position - len(rows))

    def pieces(self) -> "list[Frame]":
        """The frame itself, or where it is too large several that follow each other, rows first.

        The last has what is said once. In that of a snapshot are all of its cards; those that came before have no
        ``html``.
        """
        if sum(len(row.encoded) for row in self.rows) + sum(len(card.encoded) for card in self.cards) <= FRAME_BYTES:
            return [self]
        *before, cards = _lots(self.cards)
        made = self._row_pieces() if self.has_numbers else []
        made += [Frame(self.last + 1, self.last, cards=lot) for lot in before]
        if self.is_snapshot:
            cards = [*(card.without_html() for lot in before for card in lot), *cards]
        return [*made, replace(self, first=self.last + 1, rows=(), skipped=0, cards=cards)]

    def _row_pieces(self) -> "list[Frame]":
        """Frames that cover the numbers of this one without gap; what it skips, the first one does."""
        made: list[Frame] = []
        first, skipped = self.first, self.skipped
        lots = _lots(self.rows)
        for place, lot in enumerate(lots, 1):
            last = self.last if place == len(lots) else lot[-1].event.seq
            made.append(Frame(first, last, lot, skipped))
            first, skipped = last + 1, 0
        return made


Part = TypeVar("Part", Row, Card)


def _lots(parts: Sequence[Part]) -> list[list[Part]]:
    """These in their order, in lots that fit into a frame; without any, one lot of none."""
    lots: list[list[Part]] = [[]]
    size = 0
    for part in parts:
        size += len(part.encoded)
        if lots[-1] and size > FRAME_BYTES:
            lots.append([])
            size = len(part.encoded)
        lots[-1].append(part)
    return lots
