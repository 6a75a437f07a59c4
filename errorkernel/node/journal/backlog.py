"""The backlog: events, incidents and outcomes that wait in the journal for the connection.

The backlog is bounded. During a long outage the oldest infos are dropped first, then the oldest errors; incidents and
outcomes never are. Drops are counted. Events that are being sent are not dropped, so the count is exact (where several
programs share a journal, one may drop what another is just sending).
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.next_window import KEPT, Chooser, Item, Window
from errorkernel.protocol import subjects

INFO, ERROR = 0, 1
"""Weights, beside ``KEPT``: infos are dropped first, then errors, the others never."""
REFUSED_MAX = 1000
REFUSED_RETRY_S = 60.0
REMOVE_ROWS = 200
"""Rows that are removed in one transaction: about 2 ms for which an event may have to wait."""
_DROP_BATCH = 500
_DROPPED = {INFO: "dropped_infos", ERROR: "dropped_errors"}
_ADD = "INSERT OR IGNORE INTO backlog (client, process, subject, msg_id, weight, payload) VALUES (?, ?, ?, ?, ?, ?)"
_SIZE = "SELECT rows, bytes FROM backlog_size"


@dataclass(frozen=True, slots=True)
class Writer:
    """Adds a message that is never dropped to the backlog of program ``client``, within a transaction of ``db``.

    A message whose id is still in the backlog is not added twice.
    """

    db: sqlite3.Connection
    client: int
    node: str

    def add_event(self, process: str, event_id: UUID, payload: bytes) -> None:
        """Add the event that opens an incident."""
        row = (self.client, process, subjects.event(self.node), str(event_id), KEPT, payload)
        self.db.execute(_ADD, row)

    def add_outcome(self, process: str, incident: UUID, msg_id: str, payload: bytes) -> None:
        row = (self.client, process, subjects.outcome(self.node, incident), msg_id, KEPT, payload)
        self.db.execute(_ADD, row)


class Backlog:
    """The backlog of one journal; ``max_rows`` and ``max_bytes`` bound it."""

    def __init__(self, journal: Journal, *, max_rows: int, max_bytes: int) -> None:
        self._journal = journal
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._chooser = Chooser()
        self._sending: frozenset[int] = frozenset()

    def add(self, process: str, subject: str, msg_id: str, weight: int, payload: bytes, *, wait: bool = True) -> bool:
        """Write an event; True if the backlog is now over its bound, and the caller has to ``make_room``.

        ``wait=False``: raises JournalBusy, with nothing written, instead of waiting. Raises JournalError.
        """
        row = (self._journal.client, process, subject, msg_id, weight, payload)
        size = self._journal.write(_ADD, row, _SIZE, wait=wait)
        return max(self._excess(size)) > 0

    def make_room(self) -> None:
        """Drop the messages over the bound, and count them. Raises JournalError."""
        with self._journal.transaction() as db:
            rows_over, bytes_over = self._excess(db.execute(_SIZE).fetchone())
            for weight, counter in _DROPPED.items():
                while rows_over > 0 or bytes_over > 0:
                    sizes = self._choose_drops(db, weight, rows_over, bytes_over)
                    if not sizes:
                        break
                    db.executemany("DELETE FROM backlog WHERE number = ?", [(number,) for number in sizes])
                    db.execute("UPDATE total SET value = value + ? WHERE name = ?", (len(sizes), counter))
                    rows_over -= len(sizes)
                    bytes_over -= sum(sizes.values())

    def next_window(self, max_rows: int, max_bytes: int) -> Window:
        """What this program sends next; ``max_bytes`` of payloads. Raises JournalError."""
        with self._journal.reading() as db:
            window = self._chooser.choose(db, self._journal.client, max_rows, max_bytes, now=time.time())
            self._sending = frozenset(item.number for item in window.items)
            return window

    def remove(self, items: Sequence[Item]) -> None:
        """Remove messages that the broker has acknowledged. Raises JournalError."""
        for start in range(0, len(items), REMOVE_ROWS):
            numbers = [(item.number,) for item in items[start : start + REMOVE_ROWS]]
            with self._journal.transaction() as db:
                db.executemany("DELETE FROM backlog WHERE number = ?", numbers)
        self._sending = frozenset()

    def set_aside(self, item: Item, reason: str) -> None:
        """The broker refuses this message. An event is moved aside; an incident or outcome is sent again later."""
        with self._journal.transaction() as db:
            if item.weight == KEPT:
                not_before = time.time() + REFUSED_RETRY_S
                db.execute("UPDATE backlog SET not_before = ? WHERE number = ?", (not_before, item.number))
                return
            moved = db.execute("DELETE FROM backlog WHERE number = ?", (item.number,)).rowcount
            if not moved:
                return
            db.execute(
                "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?)",
                (item.number, item.process, item.subject, item.msg_id, item.payload, reason, time.time()),
            )
            db.execute("UPDATE total SET value = value + 1 WHERE name = 'refused'")
            db.execute(
                "DELETE FROM refused WHERE number <="
                " (SELECT number FROM refused ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (REFUSED_MAX,),
            )

    def count_own(self) -> int:
        """The number of messages of this program in the backlog."""
        with self._journal.reading() as db:
            statement = "SELECT count(*) FROM backlog WHERE client = ?"
            return int(db.execute(statement, (self._journal.client,)).fetchone()[0])

    def totals(self) -> dict[str, int]:
        """``rows`` and ``bytes`` of the backlog of all programs; ``dropped_infos``, ``dropped_errors``, ``refused``."""
        with self._journal.reading() as db:
            rows, size = db.execute(_SIZE).fetchone()
            return {"rows": rows, "bytes": size, **dict(db.execute("SELECT name, value FROM total").fetchall())}

    def _excess(self, size: tuple[int, ...]) -> tuple[int, int]:
        """By how many rows and bytes the backlog is over its bound."""
        rows, size_bytes = size
        return rows - self._max_rows, size_bytes - self._max_bytes

    def _choose_drops(self, db: sqlite3.Connection, weight: int, rows_over: int, bytes_over: int) -> dict[int, int]:
        """The oldest rows of this weight that are not being sent, as many as are over the bound: number → bytes."""
        oldest = db.execute(
            "SELECT number, length(payload) FROM backlog WHERE weight = ? ORDER BY number LIMIT ?",
            (weight, _DROP_BATCH + len(self._sending)),
        ).fetchall()
        sizes: dict[int, int] = {}
        for number, size in oldest:
            if rows_over <= len(sizes) and bytes_over <= sum(sizes.values()):
                break
            if number not in self._sending:
                sizes[number] = size
        return sizes
