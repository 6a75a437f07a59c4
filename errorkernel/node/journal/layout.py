"""The layout of a journal file: its tables, and how a file of an older version is brought up to date."""

import sqlite3
from pathlib import Path

from errorkernel.node.errors import JournalError

VERSION = 4
"""Of the file's layout. An older file is migrated when it is opened; a newer one is refused."""

# ``weight``: 0 info, 1 error, 2 incidents and outcomes, which are never dropped. Triggers maintain ``backlog_size``:
# the bound costs no count(*) per event, and cannot drift from the rows. ``mark``: see ``process.spawn``.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS client (number INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS backlog (
  number INTEGER PRIMARY KEY AUTOINCREMENT, client INTEGER NOT NULL, process TEXT NOT NULL, subject TEXT NOT NULL,
  msg_id TEXT NOT NULL, weight INTEGER NOT NULL, not_before REAL NOT NULL DEFAULT 0, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS backlog_client ON backlog (client, number);
CREATE INDEX IF NOT EXISTS backlog_weight ON backlog (weight, number);
CREATE INDEX IF NOT EXISTS backlog_process ON backlog (client, process, number);
CREATE INDEX IF NOT EXISTS backlog_urgent ON backlog (client, process, number, not_before) WHERE weight = 2;
CREATE UNIQUE INDEX IF NOT EXISTS backlog_kept ON backlog (msg_id) WHERE weight = 2;
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
  state TEXT NOT NULL, pid INTEGER, since REAL NOT NULL, mark TEXT);
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES ('dropped_infos', 0), ('dropped_errors', 0), ('refused', 0), ('checkpoints', 0);
CREATE TABLE IF NOT EXISTS backlog_size (one INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO backlog_size VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS backlog_added AFTER INSERT ON backlog BEGIN
  UPDATE backlog_size SET rows = rows + 1, bytes = bytes + length(NEW.payload);
END;
CREATE TRIGGER IF NOT EXISTS backlog_removed AFTER DELETE ON backlog BEGIN
  UPDATE backlog_size SET rows = rows - 1, bytes = bytes - length(OLD.payload);
END;
"""

# From layouts 1 and 2, which had other names; missing tables are then created as in a new file, also from layout 3.
_MIGRATION = """
DROP TRIGGER outgoing_added;
DROP TRIGGER outgoing_gone;
DROP INDEX outgoing_client;
DROP INDEX outgoing_weight;
DROP INDEX outgoing_kept;
ALTER TABLE outgoing RENAME TO backlog;
ALTER TABLE waiting RENAME TO backlog_size;
ALTER TABLE process RENAME COLUMN life TO mark;
UPDATE incident SET state = 'pending' WHERE state = 'blocked';
UPDATE incident SET state = 'decided' WHERE state = 'answered';
UPDATE total SET name = 'checkpoints' WHERE name = 'settled';
"""


def bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """Create or migrate the tables. Raises JournalError where the file has a newer layout."""
    if _version(db) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    version = _version(db)  # again: another program may have done it meanwhile
    if version > VERSION:
        raise JournalError(
            f"The journal {path} was written by a newer version of steward-error-kernel. Upgrade this program."
        )
    if 0 < version < 3:
        _execute_all(db, _MIGRATION)
    _execute_all(db, f"{_SCHEMA} PRAGMA user_version = {VERSION};")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _execute_all(db: sqlite3.Connection, script: str) -> None:
    """As ``executescript``, which would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
