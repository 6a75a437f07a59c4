"""A corrupt journal must not keep its program from starting: the file is set aside, and a new one takes its place.

It is kept under another name, with its log, for who wants to save what is in it. Only what was a journal is set aside:
a text file whose path was given by mistake stays where it is.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

CHECKED_MAX_BYTES = 8 * 1024 * 1024
"""Of a larger file only the tables that a start needs are read: the whole takes 18 ms per MiB."""
_HEADER = b"SQLite format 3\0"
_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class CorruptJournal(sqlite3.DatabaseError):
    """The check has found damage."""


def check(db: sqlite3.Connection, path: Path) -> None:
    """Raises CorruptJournal, or sqlite3.DatabaseError with a code in ``is_damage``."""
    if path.stat().st_size <= CHECKED_MAX_BYTES:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise CorruptJournal(found)
    else:
        for table in ("client", "process", "incident", "requeue"):
            db.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()


def is_damage(exc: sqlite3.Error) -> bool:
    """Whether the file is corrupt: not that it is full, locked or cannot be opened."""
    return isinstance(exc, CorruptJournal) or getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGES


def set_aside(path: Path) -> Path | None:
    """Rename a corrupt journal; returns its new path, None if another program has replaced it meanwhile.

    Raises sqlite3.Error for a file that was no journal, OSError where it cannot be renamed.
    """
    with _exclusive(path.parent):
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as db:
                db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                check(db, path)
                return None
        except sqlite3.Error as exc:
            if not is_damage(exc) or not _was_journal(path):
                raise
        aside = _free_name(path)
        # The file last: a program that ends in between leaves it to be found corrupt again.
        for part in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{part}", f"{aside}{part}")
        return aside


def _was_journal(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096)
    return path.with_name(path.name + ".lock").exists() or head.startswith(_HEADER) or b"\0" in head


def _free_name(path: Path) -> Path:
    name = f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = (path.with_name(name + (f"-{number}" if number else "")) for number in range(1000))
    return next(free for free in names if not free.exists())


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Of several that start at once, one replaces the file. The lock is on the directory: it needs no file."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
