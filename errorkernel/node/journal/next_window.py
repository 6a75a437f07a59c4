"""Which messages of the backlog are sent next: those of blocked processes first, each process in its own order.

Incidents and outcomes are *urgent*, since a process is blocked or an operator waits. They overtake messages of other
processes, never those of their own: a process with an urgent message sends everything up to its last urgent one, then
the other processes follow in the order of writing. Each choice is a few look-ups in two indexes, whatever the size of
the backlog.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

KEPT = 2
"""The weight of incidents and outcomes: they are urgent, and never dropped."""
URGENT_PROCESSES = 32
"""Processes with urgent messages that share a window; the others have their turn in the next ones."""
URGENT_WINDOWS = 8
"""After so many windows in a row that had no space for anything else, one is sent in the order of writing: a process
that asks without end must not hold up the events of the others for ever."""

_DUE = "client = ? AND not_before <= ?"
_COLUMNS = "number, process, subject, msg_id, weight, payload"
URGENT_PROCESS = (
    f"SELECT process FROM backlog WHERE {_DUE} AND weight = {KEPT} AND process > ? AND process <= ?"
    " ORDER BY process LIMIT 1"
)
LAST_URGENT = (
    f"SELECT number FROM backlog WHERE {_DUE} AND weight = {KEPT} AND process = ? ORDER BY number DESC LIMIT 1"
)
OF_PROCESS = f"SELECT {_COLUMNS} FROM backlog WHERE {_DUE} AND process = ? AND number <= ? ORDER BY number LIMIT ?"
OF_ALL = f"SELECT {_COLUMNS} FROM backlog WHERE {_DUE} ORDER BY number LIMIT ?"
_FIRST_NAME, _LAST_NAME = "", "\U0010ffff" * 201


@dataclass(frozen=True, slots=True)
class Item:
    """One message for the broker."""

    number: int
    process: str
    subject: str
    msg_id: str
    weight: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """Messages in the order in which they are to be sent; the first ``urgent`` ones are of processes with an incident
    or an outcome."""

    items: list[Item]
    urgent: int


class Chooser:
    """Chooses one window after the other; remembers whose turn it is."""

    def __init__(self) -> None:
        self._after = _FIRST_NAME
        self._urgent_windows = 0

    def choose(self, db: sqlite3.Connection, client: int, max_rows: int, max_bytes: int, *, now: float) -> Window:
        """What program ``client`` may send now: one message if there is any, then as many as fit."""
        items: list[Item] = []
        if self._urgent_windows < URGENT_WINDOWS:
            self._add_urgent(db, (client, now), items, max_rows, max_bytes)
        urgent = len(items)
        chosen = {item.number for item in items}
        rows = db.execute(OF_ALL, (client, now, max_rows))
        _add(items, (row for row in rows if row[0] not in chosen), max_rows, max_bytes)
        rows.close()
        if max_rows > 1:
            self._urgent_windows = self._urgent_windows + 1 if 0 < urgent == len(items) else 0
        return Window(items, urgent)

    def _add_urgent(
        self, db: sqlite3.Connection, due: tuple[int, float], items: list[Item], max_rows: int, max_bytes: int
    ) -> None:
        processes = self._urgent_processes(db, due)
        size = 0
        for place, process in enumerate(processes):
            # The unused part of one process's share is left for those after it.
            left = len(processes) - place
            rows_left, bytes_left = max_rows - len(items), max_bytes - size
            if rows_left <= 0 or (items and bytes_left <= 0):
                break
            (last,) = db.execute(LAST_URGENT, (*due, process)).fetchone()
            share = -(-rows_left // left)
            rows = db.execute(OF_PROCESS, (*due, process, last, share))
            own: list[Item] = []
            size += _add(own, rows, share, bytes_left // left)
            rows.close()
            items += own
            self._after = process

    def _urgent_processes(self, db: sqlite3.Connection, due: tuple[int, float]) -> list[str]:
        """Beginning after the one that had its turn last."""
        found: list[str] = []
        for first, last in ((self._after, _LAST_NAME), (_FIRST_NAME, self._after)):
            while len(found) < URGENT_PROCESSES:
                row = db.execute(URGENT_PROCESS, (*due, first, last)).fetchone()
                if row is None:
                    break
                first = row[0]
                found.append(first)
        return found


def _add(
    items: list[Item], rows: Iterable[tuple[int, str, str, str, int, bytes]], max_rows: int, max_bytes: int
) -> int:
    """Add rows while they fit, the first one in any case; returns their bytes."""
    size = sum(len(item.payload) for item in items)
    before = size
    for row in rows:
        if items and (len(items) >= max_rows or size + len(row[5]) > max_bytes):
            break
        items.append(Item(*row))
        size += len(row[5])
    return size - before
