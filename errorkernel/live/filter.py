"""A search that stays open: what a socket with ``q=`` is sent of a frame."""

from datetime import datetime

import msgspec
from django.db.models import Q

from errorkernel.domain.query.parse import parse
from errorkernel.domain.query.predicate import compile_predicate
from errorkernel.live import frames
from errorkernel.live.frames import Frame
from errorkernel.live.publisher import FRAME_ROWS
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.search import to_q


class LiveFilter:
    """One parsed query, as the predicate for live rows and as the condition for stored ones.

    Relative times (``since:2h``) count from ``now``, when the socket was opened. Raises QueryError.
    """

    def __init__(self, text: str, *, now: datetime) -> None:
        self._tree, self._now = parse(text), now
        self._holds = compile_predicate(self._tree, now)

    def query(self) -> Q:
        """Made anew each time: nodes come, and problems are merged, while a socket is open. Reads the database."""
        return to_q(self._tree, self._now)

    def apply(self, frame: Frame) -> Frame:
        """The frame with the rows that match, its cards and counts unchanged. May read the database."""
        body = frame.body()
        skipped = 0
        if frame.skipped:
            # A storm was thinned out without regard to this filter: what matches in it is looked up.
            found = frames.from_store(frame.first, frame.last, FRAME_ROWS, self.query())
            events, skipped = found.events(), found.skipped
        else:
            events = [one for one in body["events"] if self._holds(msgspec.convert(one, EventRow))]
        text = msgspec.json.encode({**body, "events": events, "skipped": skipped}).decode()
        return Frame(frame.first, frame.last, text, skipped, frame.changes)
