"""A node's memory: a SQLite file that everything is written to before it is sent.

It survives restarts of the program and outages of the link, and is the authority on effect: whether a decision was
applied is settled here, in one local transaction, whatever kernel and broker believe. Several programs of one node may
share it. Each sends what it wrote itself, which keeps the order of its processes without any coordination; what a
program that died has left behind is taken over, whole, by whoever notices first (``node.journal.presence``).

``synchronous`` is NORMAL for reports (a crash of the program loses nothing; a power cut may lose what was written
since ``settle`` last ran, at most about a second) and FULL for questions and decisions. An outcome waits for no disk:
the power cut that loses it has ended the process too.

SQLite would now and then make a writer pay for a checkpoint (from the log to the file, with the disk's pace). Here
``settle`` pays, in a thread where nobody waits; only when the log has outgrown ``LOG_MAX_BYTES`` do writers.

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
from errorkernel.node.journal.presence import Presence
from errorkernel.node.journal.write_ahead_log import JournalLog

VERSION = 2
BUSY_TIMEOUT_S = 10.0
PAGE_BYTES = 1024
"""A report of the usual size changes half a dozen pages, and each is written whole."""
LOG_BYTES = 8 * 1024 * 1024
"""From here on ``settle`` makes a checkpoint."""
LOG_MAX_BYTES = 64 * 1024 * 1024
"""From here on writers do, before they write: the log has a bound however fast they are."""
LOOK_EVERY = 50
"""Writes, between two looks whether the log has got there."""
CHECKPOINT_AGAIN_S = 1.0
"""After one that another program's reading kept from its end."""
CHECKPOINT_BUSY_S = 0.2

# ``weight``: 0 info, 1 error, 2 what is never dropped (questions, outcomes). ``waiting`` is kept by triggers, so that
# the bound costs no count(*) per report, and cannot drift from what is really there.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS client (number INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing (
  number INTEGER PRIMARY KEY AUTOINCREMENT, client INTEGER NOT NULL, process TEXT NOT NULL, subject TEXT NOT NULL,
  msg_id TEXT NOT NULL, weight INTEGER NOT NULL, not_before REAL NOT NULL DEFAULT 0, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS outgoing_client ON outgoing (client, number);
CREATE INDEX IF NOT EXISTS outgoing_weight ON outgoing (weight, number);
CREATE UNIQUE INDEX IF NOT EXISTS outgoing_kept ON outgoing (msg_id) WHERE weight = 2;
CREATE TABLE IF NOT EXISTS refused (
  number INTEGER PRIMARY KEY, process TEXT NOT NULL, subject TEXT NOT NULL, msg_id TEXT NOT NULL,
  payload BLOB NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS incident (
  id TEXT PRIMARY KEY, client INTEGER NOT NULL, process TEXT NOT NULL, incarnation INTEGER NOT NULL,
  state TEXT NOT NULL, raised_at REAL NOT NULL, payload BLOB NOT NULL,
  decision BLOB, late TEXT, outcome BLOB, ended_at REAL, confirmed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS incident_state ON incident (state, client);
CREATE INDEX IF NOT EXISTS incident_process ON incident (process, state);
CREATE INDEX IF NOT EXISTS incident_confirmed ON incident (confirmed, ended_at);
CREATE TABLE IF NOT EXISTS requeue (
  id TEXT PRIMARY KEY, client INTEGER, process TEXT NOT NULL, state TEXT NOT NULL, payload BLOB NOT NULL,
  outcome BLOB, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS requeue_state ON requeue (state, process);
CREATE TABLE IF NOT EXISTS process (
  name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, client INTEGER NOT NULL, worker INTEGER NOT NULL,
  state TEXT NOT NULL, pid INTEGER, since REAL NOT NULL, life TEXT);
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES ('dropped_infos', 0), ('dropped_errors', 0), ('refused', 0), ('settled', 0);
CREATE TABLE IF NOT EXISTS waiting (one INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO waiting VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS outgoing_added AFTER INSERT ON outgoing BEGIN
  UPDATE waiting SET rows = rows + 1, bytes = bytes + length(NEW.payload);
END;
CREATE TRIGGER IF NOT EXISTS outgoing_gone AFTER DELETE ON outgoing BEGIN
  UPDATE waiting SET rows = rows - 1, bytes = bytes - length(OLD.payload);
END;
"""


_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()
_FORK_WAITS_S = 1.0


def _before_fork() -> None:
    # A thread that is inside SQLite when the program forks would leave SQLite's own locks taken in the child for ever,
    # and the child could not open a journal of its own.
    for journal in _journals:
        journal.hold(_FORK_WAITS_S)


def _after_fork() -> None:
    for journal in _journals:
        journal.let_go()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class WouldWait(JournalError):
    """The journal is being written by somebody else just now; nothing was kept."""


class Journal:
    """The file, and this program's place in it (``client``, a number). Raises JournalError where it cannot be used."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._unsettled = False
        self._closed = False
        self._held = False
        self._checkpointing = threading.RLock()
        self._checkpoint_after = 0.0
        self._unlooked = 0
        self._patience_s = BUSY_TIMEOUT_S
        self._inside: set[int] = set()
        """Threads that write just now."""
        self._presence: Presence | None = None
        self._pid = os.getpid()
        _journals.add(self)
        self.client = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # It holds what programs worked on: for its owner alone, and so are the files that SQLite puts beside it.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as exc:
            raise JournalError(f"The journal {self.path} cannot be used: {exc.strerror}.") from exc
        try:
            self._db = self._connect()
            self._log = JournalLog(self.path, _one(self._db, "PRAGMA page_size"))
        except (sqlite3.Error, OSError) as exc:
            raise JournalError(f"The journal {self.path} cannot be used: {exc}.") from exc

    def enter(self) -> None:
        """Take a place among the programs that share the file."""
        presence = Presence(self.path.with_name(self.path.name + ".lock"))
        with self.transaction() as db:
            db.execute("INSERT INTO client (pid, since) VALUES (?, ?)", (os.getpid(), time.time()))
            self.client = _one(db, "SELECT last_insert_rowid()")
            # Before the commit: whoever sees the row must see the lock.
            presence.hold(self.client)
        self._presence = presence

    def close(self) -> None:
        """Leave. What is unsent stays, for the next program or for one that shares the file."""
        with self._lock:
            if self._presence:
                with contextlib.suppress(JournalError):
                    self.settle()
                self._presence.release(self.client)
                self._presence = None
            self._closed = True
            self._db.close()
            self._log.close()

    def hold(self, at_most_s: float) -> None:
        """Nobody writes or reads from now on until ``let_go``, if that can be had within the time."""
        self._held = self._lock.acquire(timeout=at_most_s)

    def let_go(self) -> None:
        if self._held:
            self._held = False
            self._lock.release()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; ``durable``: survives a power cut once this returns. Raises JournalError."""
        self._enter(wait=True)
        try:
            if durable:
                self._db.execute("PRAGMA synchronous = FULL")
            self._be_patient(BUSY_TIMEOUT_S)
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
            # A durable commit syncs the whole log: with it, all that was written before.
            self._unsettled = not durable
        except sqlite3.Error as exc:
            raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
        finally:
            self._leave()

    def write(self, statement: str, arguments: tuple[object, ...], then: str, *, wait: bool = True) -> tuple[Any, ...]:
        """One statement, a transaction by itself and not durable, and the row that ``then`` finds: the cheapest way.

        ``wait=False``: raises WouldWait at once, nothing written, where it would have to wait for others or for the
        disk. Raises JournalError.
        """
        self._enter(wait)
        try:
            self._be_patient(BUSY_TIMEOUT_S if wait else 0)
            self._db.execute(statement, arguments)
            self._unsettled = True
            return tuple(self._db.execute(then).fetchone())
        except sqlite3.Error as exc:
            if not wait and exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise WouldWait("Another program writes.") from exc
            raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
        finally:
            self._leave()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Look without changing anything. Raises JournalError."""
        self._check()
        with self._lock:
            try:
                self._be_patient(BUSY_TIMEOUT_S)
                yield self._db
            except sqlite3.Error as exc:
                raise JournalError(f"The journal {self.path} cannot be read: {exc}.") from exc

    def settle(self) -> None:
        """Bring what was written without waiting for the disk onto the disk. Writers need not wait meanwhile."""
        if self._unsettled:
            # Before the sync: what is written from now on may not be part of it.
            self._unsettled = False
            try:
                self._log.sync()
            except OSError as exc:
                self._unsettled = True
                raise JournalError(f"The journal {self.path} cannot be written: {exc.strerror}.") from exc
        self._checkpoint_from(LOG_BYTES)

    def dead(self, db: sqlite3.Connection) -> list[int]:
        """Programs that had a place and run no longer."""
        assert self._presence  # noqa: S101 - narrows the type
        numbers = [number for (number,) in db.execute("SELECT number FROM client WHERE number != ?", (self.client,))]
        return [number for number in numbers if not self._presence.alive(number)]

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise JournalError("The journal belongs to the program that forked this one: open it anew.")
        if self._closed:
            raise JournalError(f"The journal {self.path} has been closed.")

    def _enter(self, wait: bool) -> None:
        self._check()
        me = threading.get_ident()
        if me in self._inside:
            # A signal handler, or what the garbage collector calls, amid a transaction of its own thread.
            raise JournalError("The journal is being written by the very code that this interrupts.")
        self._unlooked += 1
        if self._unlooked > LOOK_EVERY and self._log.reaches(LOG_MAX_BYTES):
            if not wait:
                raise WouldWait("The journal's log has to be begun anew first.")
            self._checkpoint_from(LOG_MAX_BYTES)
        if self._unlooked > LOOK_EVERY:
            self._unlooked = 0
        if not self._lock.acquire(blocking=wait):
            raise WouldWait("Another thread writes.")
        self._inside.add(me)

    def _leave(self) -> None:
        self._inside.discard(threading.get_ident())
        self._lock.release()

    def _be_patient(self, at_most_s: float) -> None:
        """From now on SQLite waits that long for other programs."""
        if at_most_s != self._patience_s:
            self._db.execute(f"PRAGMA busy_timeout = {at_most_s * 1000:.0f}")
            self._patience_s = at_most_s

    def _checkpoint_from(self, log_bytes: int) -> None:
        """If the log has that many bytes, bring it into the file and begin it anew. Raises JournalError."""
        if not self._log.reaches(log_bytes) or time.monotonic() < self._checkpoint_after:
            return
        me = threading.get_ident()
        with self._checkpointing:
            if not self._log.reaches(log_bytes):
                return
            self._inside.add(me)
            try:
                # The bulk of it while others write; a connection of its own, so that no thread of ours waits.
                with contextlib.closing(sqlite3.connect(self.path, isolation_level=None, timeout=0)) as aside:
                    aside.execute("PRAGMA wal_checkpoint(PASSIVE)")
                with self._lock:
                    self._begin_log_anew()
            except sqlite3.Error as exc:
                raise JournalError(f"The journal {self.path} cannot be written: {exc}.") from exc
            finally:
                self._inside.discard(me)

    def _begin_log_anew(self) -> None:
        self._be_patient(CHECKPOINT_BUSY_S)
        if _one(self._db, "PRAGMA wal_checkpoint(RESTART)"):
            self._checkpoint_after = time.monotonic() + CHECKPOINT_AGAIN_S
            return
        # The first write after that begins the log anew, and waits for the disk: this one, so that no report does.
        self._be_patient(BUSY_TIMEOUT_S)
        self._db.execute("UPDATE total SET value = value + 1 WHERE name = 'settled'")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            _use_wal(db)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            version = _one(db, "PRAGMA user_version")
            if version > VERSION:
                raise JournalError(f"The journal {self.path} was made by a newer version of this program.")
            if version < VERSION:
                db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except BaseException:
            db.close()
            raise
        return db


def _use_wal(db: sqlite3.Connection) -> None:
    # Two programs that open a new file together: the switch to WAL does not wait for the other's lock by itself.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _one(db: sqlite3.Connection, statement: str) -> int:
    return int(db.execute(statement).fetchone()[0])
