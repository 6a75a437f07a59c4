"""The journal of a node: a SQLite file that every event, incident and outcome is written to before it is sent.

It survives restarts of the program and outages of the connection, and it is the authority on effect: whether a
decision was applied is settled here, in one local transaction, whatever kernel and broker believe. Several programs of
one node may share a journal. Each sends the messages it wrote itself, which keeps the order of each process without
coordination. The backlog of a program that died is taken over as a whole by the first program that notices
(``node.journal.presence``).

``synchronous`` is NORMAL for events: a crash of the program loses nothing; a power cut may lose what was written since
the last ``sync_to_disk``, at most about a second. It is FULL for incidents and decisions. An outcome waits for no disk:
the power cut that loses it has ended the process too.

By default SQLite makes a writer pay for a checkpoint (from the log to the file) at the pace of the disk. Here
``sync_to_disk`` makes checkpoints, in a thread that nobody waits for. Writers make one only when the log has outgrown
``LOG_MAX_BYTES``.

Everything here blocks, and may be called from any thread; ``write(…, wait=False)`` raises instead of waiting.
"""

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errorkernel.node.errors import JournalError
from errorkernel.node.journal import corruption, layout
from errorkernel.node.journal.presence import Presence
from errorkernel.node.journal.write_ahead_log import WriteAheadLog

BUSY_TIMEOUT_S = 10.0
PAGE_BYTES = 1024
"""An event of the usual size changes half a dozen pages, and each is written whole."""
CHECKPOINT_BYTES = 8 * 1024 * 1024
"""Size of the log from which ``sync_to_disk`` makes a checkpoint."""
LOG_MAX_BYTES = 64 * 1024 * 1024
"""Size of the log from which writers make one before they write: the log has a bound, however fast they are."""
CHECK_LOG_EVERY = 50
"""Writes between two checks of the size of the log."""
CHECKPOINT_RETRY_S = 1.0
"""After a checkpoint that a reader in another program has stopped."""
CHECKPOINT_BUSY_S = 0.2

_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()
FORK_WAIT_S = 1.0


def _before_fork() -> None:
    # A thread that is inside SQLite during a fork would leave SQLite's own locks taken in the child for ever, and the
    # child could not open a journal of its own.
    for journal in _journals:
        journal.lock(FORK_WAIT_S)


def _after_fork() -> None:
    for journal in _journals:
        journal.unlock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class JournalBusy(JournalError):
    """Another thread or program is writing the journal; nothing was written."""


class Journal:
    """The file, and the number of this program in it (``client``). Raises JournalError where it cannot be used."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._unsynced = False
        self._closed = False
        self._is_locked_for_fork = False
        self._checkpointing = threading.RLock()
        self._checkpoint_after = 0.0
        self._writes_since_check = 0
        self._busy_timeout_s = BUSY_TIMEOUT_S
        self._writing_threads: set[int] = set()
        """Threads that are writing."""
        self._presence: Presence | None = None
        self._pid = os.getpid()
        _journals.add(self)
        self.client = 0
        self.inherited = 0
        """``client`` while the backlog of a dead program of that number is not taken over yet, else 0."""
        self.corrupt: Path | None = None
        """Where the former file was set aside, if this is a new one in its place."""
        try:
            self._db = self._open()
            self._log = WriteAheadLog(self.path, _number(self._db, "PRAGMA page_size"))
        except (sqlite3.Error, OSError) as exc:
            raise JournalError(f"The journal {self.path} cannot be used: {_reason(exc)}.") from exc

    def register(self) -> None:
        """Join the programs that share the file.

        In place of one that no longer runs, if there is one: to give 100,000 messages another number would be 100 MB to
        write, while incidents wait. Its backlog is then ``inherited``.
        """
        presence = self._presence = Presence(self.path.with_name(self.path.name + ".lock"))
        with self.transaction() as db:
            self.inherited = self._longest_dead_backlog(db)
            if self.inherited:
                self.client = self.inherited
                db.execute(
                    "UPDATE client SET pid = ?, since = ? WHERE number = ?", (os.getpid(), time.time(), self.client)
                )
            else:
                db.execute("INSERT INTO client (pid, since) VALUES (?, ?)", (os.getpid(), time.time()))
                self.client = _number(db, "SELECT last_insert_rowid()")
            # Before the commit: a program that sees the row must see the lock.
            presence.hold(self.client)

    def close(self) -> None:
        """Leave the file. The backlog stays for the next program, or for one that shares the file."""
        with self._lock:
            if self._presence:
                with contextlib.suppress(JournalError):
                    self.sync_to_disk()
                self._presence.release(self.client)
                self._presence = None
            self._closed = True
            self._db.close()
            self._log.close()

    def lock(self, at_most_s: float) -> None:
        """Keep other threads from writing and reading until ``unlock``, if the lock is free within the time."""
        self._is_locked_for_fork = self._lock.acquire(timeout=at_most_s)

    def unlock(self) -> None:
        if self._is_locked_for_fork:
            self._is_locked_for_fork = False
            self._lock.release()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; ``durable``: survives a power cut once this returns. Raises JournalError."""
        self._begin_write(wait=True)
        try:
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            self._set_busy_timeout(BUSY_TIMEOUT_S)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous = NORMAL")
            # A durable commit syncs the whole log, and with it all earlier writes.
            self._unsynced = not durable
        except sqlite3.Error as exc:
            raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
        finally:
            self._end_write()

    def write(self, statement: str, arguments: tuple[object, ...], then: str, *, wait: bool = True) -> tuple[Any, ...]:
        """Execute one statement as a transaction that is not durable; returns the row that ``then`` finds.

        ``wait=False``: raises JournalBusy, with nothing written, instead of waiting for another writer or for the disk.
        Raises JournalError.
        """
        self._begin_write(wait)
        try:
            self._set_busy_timeout(BUSY_TIMEOUT_S if wait else 0)
            self._db.execute(statement, arguments)
            self._unsynced = True
            return tuple(self._db.execute(then).fetchone())
        except sqlite3.Error as exc:
            if not wait and exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise JournalBusy("Another program is writing the journal.") from exc
            raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
        finally:
            self._end_write()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read without changing anything. Raises JournalError."""
        self._check_usable()
        with self._lock:
            try:
                self._set_busy_timeout(BUSY_TIMEOUT_S)
                yield self._db
            except sqlite3.Error as exc:
                raise JournalError(f"The journal {self.path} cannot be read: {exc}.") from exc

    def sync_to_disk(self) -> None:
        """Sync writes that were not durable to the disk. Writers do not wait meanwhile. Raises JournalError."""
        if self._unsynced:
            # Before the sync: later writes may not be part of it.
            self._unsynced = False
            try:
                self._log.sync()
            except OSError as exc:
                self._unsynced = True
                raise JournalError(f"The journal {self.path} cannot be written: {exc.strerror}.") from exc
        self._checkpoint_if_log_reaches(CHECKPOINT_BYTES)

    def find_dead_clients(self, db: sqlite3.Connection) -> list[int]:
        """The numbers of programs that joined and no longer run."""
        assert self._presence  # noqa: S101 - narrows the type
        numbers = [number for (number,) in db.execute("SELECT number FROM client WHERE number != ?", (self.client,))]
        return [number for number in numbers if not self._presence.is_alive(number)]

    def _longest_dead_backlog(self, db: sqlite3.Connection) -> int:
        """The number of the program that no longer runs and has left most behind; 0: there is none."""
        dead = self.find_dead_clients(db)
        sizes = dict(db.execute("SELECT client, count(*) FROM backlog GROUP BY client").fetchall())
        return max(dead, key=lambda number: sizes.get(number, 0), default=0)

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise JournalError("The journal belongs to the program that forked this one. Open it again here.")
        if self._closed:
            raise JournalError(f"The journal {self.path} has been closed.")

    def _begin_write(self, wait: bool) -> None:
        self._check_usable()
        me = threading.get_ident()
        if me in self._writing_threads:
            # A signal handler or a finalizer that interrupts a transaction of its own thread.
            raise JournalError("The journal is being written by the code that this call interrupts.")
        self._writes_since_check += 1
        if self._writes_since_check > CHECK_LOG_EVERY and self._log.reaches(LOG_MAX_BYTES):
            if not wait:
                raise JournalBusy("The journal needs a checkpoint first.")
            self._checkpoint_if_log_reaches(LOG_MAX_BYTES)
        if self._writes_since_check > CHECK_LOG_EVERY:
            self._writes_since_check = 0
        if not self._lock.acquire(blocking=wait):
            raise JournalBusy("Another thread is writing the journal.")
        self._writing_threads.add(me)

    def _end_write(self) -> None:
        self._writing_threads.discard(threading.get_ident())
        self._lock.release()

    def _set_busy_timeout(self, at_most_s: float) -> None:
        """Set how long SQLite waits for other programs."""
        if at_most_s != self._busy_timeout_s:
            self._db.execute(f"PRAGMA busy_timeout = {at_most_s * 1000:.0f}")
            self._busy_timeout_s = at_most_s

    def _checkpoint_if_log_reaches(self, log_bytes: int) -> None:
        """If the log has that many bytes, copy it into the file and restart it. Raises JournalError."""
        if not self._log.reaches(log_bytes) or time.monotonic() < self._checkpoint_after:
            return
        me = threading.get_ident()
        with self._checkpointing:
            if not self._log.reaches(log_bytes):
                return
            self._writing_threads.add(me)
            try:
                # Most of it while others write, over another connection, so that no thread of this program waits.
                with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=0)) as aside:
                    aside.execute("PRAGMA wal_checkpoint(PASSIVE)")
                with self._lock:
                    self._restart_log()
            except sqlite3.Error as exc:
                raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
            finally:
                self._writing_threads.discard(me)

    def _restart_log(self) -> None:
        self._set_busy_timeout(CHECKPOINT_BUSY_S)
        if _number(self._db, "PRAGMA wal_checkpoint(RESTART)"):
            self._checkpoint_after = time.monotonic() + CHECKPOINT_RETRY_S
            return
        # The next write restarts the log and waits for the disk. This is that write, so that no event waits.
        self._set_busy_timeout(BUSY_TIMEOUT_S)
        self._db.execute("UPDATE total SET value = value + 1 WHERE name = 'checkpoints'")

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._create_file()
        try:
            return self._connect()
        except sqlite3.DatabaseError as exc:
            if not corruption.is_damage(exc):
                raise
            self.corrupt = corruption.set_aside(self.path)
        self._create_file()
        db = self._connect()
        # Programs that still have the former file open hold locks on their numbers: these begin elsewhere.
        db.execute("INSERT INTO sqlite_sequence SELECT 'client', ? WHERE NOT EXISTS (SELECT 1 FROM client)", (_now(),))
        return db

    def _create_file(self) -> None:
        # It holds messages in progress: only its owner may read it, and the files that SQLite creates beside it.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            _use_wal(db)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            layout.bring_up_to_date(db, self.path)
            corruption.check(db, self.path)
        except BaseException:
            db.close()
            raise
        return db


def _use_wal(db: sqlite3.Connection) -> None:
    # Two programs that open a new file at once: the switch to WAL does not wait for the lock of the other.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _number(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0])


def _now() -> int:
    return int(time.time())


def _reason(exc: Exception) -> str:
    return (isinstance(exc, OSError) and exc.strerror) or str(exc)
