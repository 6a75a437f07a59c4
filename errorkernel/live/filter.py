"""The search of a socket with ``q=``: which rows of a frame it is sent."""

from dataclasses import replace
from datetime import datetime

from django.db.models import Q

from errorkernel.domain.query.parse import parse
from errorkernel.domain.query.predicate import compile_predicate
from errorkernel.live import rendering
from errorkernel.live.frames import Frame
from errorkernel.live.publisher import FRAME_ROWS
from errorkernel.store.search import to_q


class LiveFilter:
    """One parsed query, as the predicate for live rows and as the condition for stored ones.

    Relative times (``since:2h``) count from ``now``, when the socket was opened. Raises QueryError.
    """

    def __init__(self, text: str, *, now: datetime) -> None:
        self._tree, self._now = parse(text), now
        self._holds = compile_predicate(self._tree, now)

    def query(self) -> Q:
        """Built for each call, because nodes and merged problems change while a socket is open. Reads the database."""
        return to_q(self._tree, self._now)

    def apply(self, frame: Frame) -> Frame:
        """The frame with the rows that match, its cards and counts unchanged. May read the database."""
        if frame.skipped:
            # A storm was thinned out without regard to this search: what matches in it is looked up.
            found = rendering.from_store(frame.first, frame.last, FRAME_ROWS, self.query())
            return replace(frame, rows=found.rows, skipped=found.skipped)
        return replace(frame, rows=[row for row in frame.rows if self._holds(row.event)])
