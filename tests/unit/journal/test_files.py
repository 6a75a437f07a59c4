"""The journal's file: full disks, locks, corruption, old layouts."""

import contextlib
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.node import Kernel
from errorkernel.node.errors import JournalError
from errorkernel.node.journal import database
from errorkernel.node.journal.backlog import ERROR
from errorkernel.node.journal.database import Journal, JournalBusy
from errorkernel.node.journal.processes import Started
from tests.support.journals import NODE, Program, run_program
from tests.support.node_peer import unreachable, written
from tests.support.waiting import PATIENCE_S


def test_a_killed_program_loses_nothing_that_was_written(path: Path) -> None:
    theirs = run_program(path, "for number in range(200): program.report(f'report {number}')")
    theirs.send_signal(signal.SIGKILL)
    theirs.wait()
    ours = Program(path)
    ours.processes.adopt()
    assert ours.waiting() == [f"report {number}" for number in range(200)]


def test_a_full_disk_is_told_and_damages_nothing(path: Path) -> None:
    program = Program(path)
    program.report("before")
    pages = program.journal._db.execute("PRAGMA page_count").fetchone()[0]
    program.journal._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(JournalError, match="full"):
        for number in range(500):
            program.report(f"{number}" + "x" * 3000)
    program.journal._db.execute("PRAGMA max_page_count = 1000000")
    program.report("after")
    assert program.waiting()[0] == "before"
    assert program.waiting()[-1] == "after"
    assert program.journal._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert program.backlog.totals()["rows"] == len(program.waiting())


def log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_the_log_begins_anew_when_it_is_settled_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CHECKPOINT_BYTES", 200_000)
    program = Program(path)
    texts = [f"{number:03d} " + "x" * 3000 for number in range(300)]
    for number, text in enumerate(texts):
        program.report(text)
        if number % 10 == 0:
            program.journal.sync_to_disk()
    assert log_bytes(path) < 400_000
    assert [one[:3] for one in program.waiting()] == [text[:3] for text in texts]
    assert program.journal._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_log_has_a_bound_where_nobody_settles(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOG_MAX_BYTES", 400_000)
    monkeypatch.setattr(database, "CHECK_LOG_EVERY", 5)
    program, other = Program(path), Program(path)
    for number in range(300):
        (program if number % 2 else other).report(f"{number}" + "x" * 3000)
    assert log_bytes(path) < 600_000
    assert len(program.waiting()) + len(other.waiting()) == 300


def test_another_programs_reading_does_not_hold_a_writer_up_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOG_MAX_BYTES", 100_000)
    monkeypatch.setattr(database, "CHECK_LOG_EVERY", 5)
    program = Program(path)
    program.report("first")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM backlog").fetchone() == (1,)
    for number in range(200):  # far more than may wait for the reader
        program.report(f"{number}" + "x" * 3000)
    reader.close()
    monkeypatch.setattr(program.journal, "_checkpoint_after", 0.0)
    before = log_bytes(path)
    for number in range(200):
        program.report(f"{number}" + "x" * 3000)
    assert log_bytes(path) < before + 100_000, "the log is used again from its beginning"
    assert len(program.waiting()) == 401


def test_who_does_not_want_to_wait_is_told_and_nothing_was_written(path: Path) -> None:
    program = Program(path)

    def at_once() -> None:
        program.backlog.add("p", f"ek.evt.{NODE}", "x", ERROR, b"x", wait=False)

    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalBusy):
        at_once()
    other.execute("ROLLBACK")
    other.close()
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with program.journal.transaction():
            entered.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=write)
    thread.start()
    assert entered.wait(PATIENCE_S)
    with pytest.raises(JournalBusy):
        at_once()
    leave.set()
    thread.join()
    assert program.waiting() == []
    at_once()
    assert program.waiting() == ["x"]


def test_a_report_amid_a_transaction_of_its_own_thread_is_refused_and_harms_nothing(path: Path) -> None:
    """A signal handler may come at any moment."""
    program = Program(path)
    with program.journal.transaction() as db:
        db.execute("UPDATE total SET value = 7 WHERE name = 'refused'")
        with pytest.raises(JournalError, match="interrupts"):
            program.report("from a handler")
    assert program.backlog.totals()["refused"] == 7
    program.report("later")
    assert program.waiting() == ["later"]


def test_a_file_that_is_no_journal_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no database" * 500)
    with pytest.raises(JournalError, match="cannot be used"):
        Journal(tmp_path / "broken")
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be used"):
        Journal(tmp_path / "file" / "journal")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(JournalError, match="newer"):
        Journal(tmp_path / "newer")


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(("at", "data"), [(0, b"\xff" * 100), (0, b"\0" * 500_000), (3000, b"\xa5" * 20_000)])
def test_a_corrupt_journal_is_set_aside_and_a_new_one_begun(path: Path, at: int, data: bytes) -> None:
    former = Program(path)
    for number in range(50):
        former.report(f"lost {number} " + "x" * 500)
    former.journal.close()
    overwrite(path, at, data)
    size = path.stat().st_size
    program = Program(path)
    program.report("kept")
    assert program.waiting() == ["kept"]
    assert program.journal.corrupt
    assert program.journal.corrupt.name.startswith("journal.corrupt-")
    assert program.journal.corrupt.stat().st_size == size
    assert Program(path).journal.corrupt is None
    assert program.journal.client > 10**9, "the number is free of the locks that programs of the former file hold"


def test_programs_that_find_a_corrupt_journal_at_once_share_the_new_one(path: Path) -> None:
    Program(path).journal.close()
    path.write_bytes(b"\0garbage" * 1000)
    with ThreadPoolExecutor(8) as pool:
        programs = list(pool.map(Program, [path] * 8))
    for number, program in enumerate(programs):
        program.report(f"{number}")
    assert sorted(program.journal.corrupt is not None for program in programs) == [False] * 7 + [True]
    assert programs[0].backlog.totals()["rows"] == 8


async def test_a_corrupt_journal_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        async with Kernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0, process="web"):
            pass
        (tmp_path / "journal").write_bytes(b"\0garbage" * 1000)
    async with Kernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0, process="web"):
        pass
    (event,) = written(tmp_path / "journal")
    assert (event.kind, event.process) == ("CorruptJournal", "web")
    assert f"{tmp_path / 'journal'} was corrupt. It was set aside as journal.corrupt-" in event.text
    assert caplog.text.count("Its messages are not sent") == 2
    assert len(list(tmp_path.glob("journal.corrupt-*"))) == 2


_LAYOUT_2 = """
CREATE TABLE client (number INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, since REAL NOT NULL);
CREATE TABLE outgoing (
  number INTEGER PRIMARY KEY AUTOINCREMENT, client INTEGER NOT NULL, process TEXT NOT NULL, subject TEXT NOT NULL,
  msg_id TEXT NOT NULL, weight INTEGER NOT NULL, not_before REAL NOT NULL DEFAULT 0, payload BLOB NOT NULL);
CREATE INDEX outgoing_client ON outgoing (client, number);
CREATE INDEX outgoing_weight ON outgoing (weight, number);
CREATE UNIQUE INDEX outgoing_kept ON outgoing (msg_id) WHERE weight = 2;
CREATE TABLE incident (
  id TEXT PRIMARY KEY, client INTEGER NOT NULL, process TEXT NOT NULL, incarnation INTEGER NOT NULL,
  state TEXT NOT NULL, raised_at REAL NOT NULL, payload BLOB NOT NULL,
  decision BLOB, late TEXT, outcome BLOB, ended_at REAL, confirmed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE process (
  name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, client INTEGER NOT NULL, worker INTEGER NOT NULL,
  state TEXT NOT NULL, pid INTEGER, since REAL NOT NULL, life TEXT);
CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO total VALUES ('dropped_infos', 3), ('dropped_errors', 0), ('refused', 0), ('settled', 9);
CREATE TABLE waiting (one INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO waiting VALUES (1, 0, 0);
CREATE TRIGGER outgoing_added AFTER INSERT ON outgoing BEGIN
  UPDATE waiting SET rows = rows + 1, bytes = bytes + length(NEW.payload);
END;
CREATE TRIGGER outgoing_gone AFTER DELETE ON outgoing BEGIN
  UPDATE waiting SET rows = rows - 1, bytes = bytes - length(OLD.payload);
END;
INSERT INTO client VALUES (1, 1, 0);
INSERT INTO outgoing (client, process, subject, msg_id, weight, payload)
  VALUES (1, 'p', 'ek.evt.ship1', 'old', 1, x'00');
INSERT INTO process VALUES ('p', 7, 1, 1, 'running', 1, 0, 'its mark');
PRAGMA user_version = 2;
"""


def test_a_journal_of_an_older_layout_is_migrated_and_loses_nothing(path: Path) -> None:
    incident = uuid7()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(_LAYOUT_2)
        db.execute(
            "INSERT INTO incident (id, client, process, incarnation, state, raised_at, payload)"
            " VALUES (?, 1, 'q', 1, 'blocked', 0, x'00')",
            (str(incident),),
        )
        db.commit()
    program = Program(path)
    assert program.processes.adopt()
    program.report("new")
    assert program.waiting() == ["old", f"{incident}:withdrawn", "new"]
    totals = program.backlog.totals()
    assert (totals["rows"], totals["dropped_infos"], totals["checkpoints"]) == (3, 3, 9)
    assert program.processes.start("p", worker=True) == Started(8, "its mark")
    again = Program(path)
    assert again.backlog.totals()["rows"] == 3, "what is current is left alone"


def test_the_journal_is_readable_for_its_owner_alone(path: Path) -> None:
    program = Program(path)
    program.report("secret")
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) == 4
