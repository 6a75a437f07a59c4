"""What waits in the journal for the link: reports, questions and outcomes, in the order in which they were written.

It is bounded. When the link is away for long, the oldest infos make way first, then the oldest errors; questions and
outcomes never do. What was dropped is counted, and what is just being sent is not dropped, so the count is exact (where
several programs share a journal, one may drop what another is just sending).
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from errorkernel.node.journal.database import Journal

INFO, ERROR, KEPT = 0, 1, 2
"""Weights: infos are dropped first, then errors, never what is kept."""
REFUSED_KEPT = 1000
REFUSED_AGAIN_S = 60.0
_DROP_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Item:
    """One message for the broker."""

    number: int
    process: str
    subject: str
    msg_id: str
    weight: int
    payload: bytes


def add(
    db: sqlite3.Connection, client: int, process: str, subject: str, msg_id: str, weight: int, payload: bytes
) -> None:
    """Within a transaction: let it be sent. A kept one that still waits under its ``msg_id`` is not added twice."""
    db.execute(_ADD, (client, process, subject, msg_id, weight, payload))


_ADD = "INSERT OR IGNORE INTO outgoing (client, process, subject, msg_id, weight, payload) VALUES (?, ?, ?, ?, ?, ?)"
_WAITING = "SELECT rows, bytes FROM waiting"


class Outgoing:
    """``max_rows`` and ``max_bytes`` bound what may wait."""

    def __init__(self, journal: Journal, *, max_rows: int, max_bytes: int) -> None:
        self._journal = journal
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._sending: frozenset[int] = frozenset()

    def report(
        self, process: str, subject: str, msg_id: str, weight: int, payload: bytes, *, wait: bool = True
    ) -> bool:
        """Write one report down; True where that is one too many: the caller has to ``make_room``. Raises JournalError.

        ``wait=False``: raises WouldWait, and has written nothing, where others are in the way.
        """
        row = (self._journal.client, process, subject, msg_id, weight, payload)
        waiting = self._journal.write(_ADD, row, _WAITING, wait=wait)
        return max(self._over(waiting)) > 0

    def make_room(self) -> None:
        """Drop what is over the bound, and count it. Raises JournalError."""
        with self._journal.transaction() as db:
            self._make_room(db)

    def next(self, max_rows: int, max_bytes: int) -> list[Item]:
        """The oldest of ours that may be sent now: at least one if there is any, then as many as fit."""
        with self._journal.reading() as db:
            rows = db.execute(
                "SELECT number, process, subject, msg_id, weight, payload FROM outgoing"
                " WHERE client = ? AND not_before <= ? ORDER BY number LIMIT ?",
                (self._journal.client, time.time(), max_rows),
            )
            taken: list[Item] = []
            size = 0
            for row in rows:
                item = Item(*row)
                size += len(item.payload)
                if taken and size > max_bytes:
                    break
                taken.append(item)
            rows.close()
            self._sending = frozenset(item.number for item in taken)
            return taken

    def sent(self, items: Sequence[Item]) -> None:
        """The broker has acknowledged these."""
        with self._journal.transaction() as db:
            db.executemany("DELETE FROM outgoing WHERE number = ?", [(item.number,) for item in items])
            self._sending = frozenset()

    def refused(self, item: Item, reason: str) -> None:
        """The broker will not take this one. A report is set aside; what is never dropped is tried again later."""
        with self._journal.transaction() as db:
            if item.weight == KEPT:
                again = time.time() + REFUSED_AGAIN_S
                db.execute("UPDATE outgoing SET not_before = ? WHERE number = ?", (again, item.number))
                return
            moved = db.execute("DELETE FROM outgoing WHERE number = ?", (item.number,)).rowcount
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
                (REFUSED_KEPT,),
            )

    def mine(self) -> int:
        """How much of ours waits."""
        with self._journal.reading() as db:
            statement = "SELECT count(*) FROM outgoing WHERE client = ?"
            return int(db.execute(statement, (self._journal.client,)).fetchone()[0])

    def totals(self) -> dict[str, int]:
        """``rows`` and ``bytes`` that wait, of all programs; ``dropped_infos``, ``dropped_errors``, ``refused``."""
        with self._journal.reading() as db:
            rows, size = db.execute(_WAITING).fetchone()
            return {"rows": rows, "bytes": size, **dict(db.execute("SELECT name, value FROM total").fetchall())}

    def _over(self, waiting: tuple[int, ...]) -> tuple[int, int]:
        """By how many rows and bytes what waits is more than may wait."""
        rows, size = waiting
        return rows - self._max_rows, size - self._max_bytes

    def _make_room(self, db: sqlite3.Connection) -> None:
        rows_over, bytes_over = self._over(db.execute(_WAITING).fetchone())
        for weight, counter in _DROPPED.items():
            while rows_over > 0 or bytes_over > 0:
                oldest = db.execute(
                    "SELECT number, length(payload) FROM outgoing WHERE weight = ? ORDER BY number LIMIT ?",
                    (weight, _DROP_AT_ONCE + len(self._sending)),
                ).fetchall()
                dropped = []
                for number, size in oldest:
                    if rows_over <= 0 and bytes_over <= 0:
                        break
                    if number in self._sending:
                        continue
                    dropped.append((number,))
                    rows_over -= 1
                    bytes_over -= size
                if not dropped:
                    break
                db.executemany("DELETE FROM outgoing WHERE number = ?", dropped)
                db.execute("UPDATE total SET value = value + ? WHERE name = ?", (len(dropped), counter))


_DROPPED = {INFO: "dropped_infos", ERROR: "dropped_errors"}
