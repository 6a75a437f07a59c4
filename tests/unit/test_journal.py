"""The node's journal on its own: what it keeps, drops, hands over, and refuses to do twice."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import (
    Action,
    Decision,
    Event,
    EventType,
    Level,
    Message,
    Outcome,
    OutcomeState,
    Requeue,
)
from errorkernel.node import Kernel
from errorkernel.node.errors import JournalError, ProcessTaken
from errorkernel.node.journal import database
from errorkernel.node.journal import incidents as incidents_module
from errorkernel.node.journal import requeues as module_of_requeues
from errorkernel.node.journal.backlog import ERROR, INFO, Backlog
from errorkernel.node.journal.database import Journal, JournalBusy
from errorkernel.node.journal.incidents import Incidents, Receipt
from errorkernel.node.journal.next_window import KEPT, Window
from errorkernel.node.journal.processes import Processes, Started
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.reporting.event_builder import build_event, cut, cut_middle, describe
from errorkernel.node.reporting.fit import fit
from errorkernel.protocol import json_codec as wire
from tests.support.node_peer import program_env, unreachable, written
from tests.support.waiting import PATIENCE_S

NODE = "ship1"


class Program:
    """A program that uses the journal at ``path``: its parts, as ``Kernel`` puts them together."""

    def __init__(self, path: Path, *, max_rows: int = 1000, max_bytes: int = 10**7) -> None:
        self.journal = Journal(path)
        self.journal.register()
        self.backlog = Backlog(self.journal, max_rows=max_rows, max_bytes=max_bytes)
        self.incidents = Incidents(self.journal, NODE)
        self.processes = Processes(self.journal, NODE)

    def report(self, text: str, weight: int = ERROR, process: str = "p") -> None:
        if self.backlog.add(process, f"ek.evt.{NODE}", text, weight, text.encode()):
            self.backlog.make_room()

    def ask(self, process: str = "p", incarnation: int = 1) -> UUID:
        incident = uuid7()
        self.incidents.open(incident, process, incarnation, b"{}")
        return incident

    def waiting(self) -> list[str]:
        """Ids of what may be sent, in the order of writing."""
        return [item.msg_id for item in sorted(self.window().items, key=lambda item: item.number)]

    def window(self, max_rows: int = 1000, max_bytes: int = 10**9) -> Window:
        return self.backlog.next_window(max_rows, max_bytes)

    def outcomes(self) -> dict[UUID, Outcome]:
        items = self.window().items
        found = [wire.decode_outcome(one.payload, Limits()) for one in items if one.subject.startswith("ek.out.")]
        return {one.incident: one for one in found}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def decision(incident: UUID, action: Action = Action.CONTINUE, incarnation: int = 1) -> Decision:
    return Decision(incident, uuid4(), action, "user:alice", datetime.now(UTC), incarnation)


def test_infos_make_way_first_then_errors_and_questions_never(path: Path) -> None:
    program = Program(path, max_rows=6)
    for number in range(3):
        program.report(f"info {number}", INFO)
        program.report(f"error {number}", ERROR)
    asked = [str(program.ask()) for _ in range(2)]
    program.report("error 3")
    program.report("error 4")
    assert program.waiting() == ["error 1", "error 2", *asked, "error 3", "error 4"]
    assert program.backlog.totals() | {"bytes": 0, "checkpoints": 0} == {
        "rows": 6, "bytes": 0, "checkpoints": 0, "refused": 0, "dropped_infos": 3, "dropped_errors": 1,
    }  # fmt: skip


def test_the_journal_is_bounded_in_bytes_too(path: Path) -> None:
    program = Program(path, max_bytes=1000)
    for number in range(30):
        program.report(f"{number:03d}" + "x" * 97, INFO)
    assert [one[:3] for one in program.waiting()] == [f"{number:03d}" for number in range(20, 30)]
    assert program.backlog.totals()["dropped_infos"] == 20
    assert program.backlog.totals()["bytes"] == 1000


def test_an_info_that_finds_only_errors_is_the_one_that_makes_way(path: Path) -> None:
    program = Program(path, max_rows=3)
    for number in range(3):
        program.report(f"error {number}")
    program.report("info", INFO)
    assert program.waiting() == ["error 0", "error 1", "error 2"]
    assert program.backlog.totals()["dropped_infos"] == 1


def test_what_is_just_being_sent_is_not_dropped_and_so_not_counted(path: Path) -> None:
    program = Program(path, max_rows=3)
    for number in range(3):
        program.report(f"info {number}", INFO)
    sending = program.window(1).items
    program.report("info 3", INFO)
    assert program.waiting() == ["info 0", "info 2", "info 3"]
    program.backlog.remove(sending)
    assert program.waiting() == ["info 2", "info 3"]


def test_a_refused_report_is_set_aside_and_a_refused_question_is_put_off(path: Path) -> None:
    program = Program(path)
    program.report("bad")
    incident = program.ask()
    program.report("good")
    bad, question, _ = program.window().items
    program.backlog.set_aside(bad, "permission")
    program.backlog.set_aside(question, "permission")
    assert program.waiting() == ["good"]
    assert program.backlog.totals()["refused"] == 1
    assert program.backlog.count_own() == 2, "the question still waits"
    assert program.incidents.pending() == [incident]


def test_what_waits_survives_the_program(path: Path) -> None:
    program = Program(path)
    program.report("a")
    incident = program.ask()
    program.journal.close()
    again = Program(path)
    assert again.processes.adopt()
    assert again.waiting()[:2] == ["a", str(incident)]


def test_a_decision_is_taken_over_once_and_again_changes_nothing(path: Path) -> None:
    program = Program(path)
    incident = program.ask()
    answer = decision(incident)
    assert [program.incidents.accept(answer) for _ in range(3)] == [Receipt.NEW, Receipt.KNOWN, Receipt.KNOWN]
    assert program.incidents.end(incident, OutcomeState.APPLIED)
    assert not program.incidents.end(incident, OutcomeState.FAILED), "the first word counts"
    assert program.incidents.accept(answer) is Receipt.KNOWN
    assert program.outcomes()[incident].state == "applied"
    assert program.outcomes()[incident].decision_id == answer.decision_id


def test_where_the_asker_goes_on_the_answer_ends_its_question_and_is_reported_with_it(path: Path) -> None:
    program = Program(path)
    incident = program.ask()
    answer = decision(incident)
    assert [program.incidents.accept(answer, ends=True) for _ in range(2)] == [Receipt.NEW, Receipt.KNOWN]
    assert program.incidents.decided() == [], "nobody else obeys it"
    applied = program.outcomes()[incident]
    assert (applied.state, applied.decision_id, applied.incarnation) == ("applied", answer.decision_id, 1)
    program.incidents.withdraw(incident, "It was cancelled as the answer came.")
    assert program.outcomes()[incident] == applied, "the first word counts"
    assert program.incidents.accept(decision(incident), ends=True) is Receipt.STALE, "another answer changes nothing"


def test_an_answer_for_another_incarnation_ends_nothing(path: Path) -> None:
    program = Program(path)
    incident = program.ask(incarnation=7)
    assert program.incidents.accept(decision(incident, incarnation=6), ends=True) is Receipt.STALE
    assert program.incidents.pending() == [incident]


def test_a_decision_for_another_incarnation_is_stale_and_changes_nothing(path: Path) -> None:
    program = Program(path)
    incident = program.ask(incarnation=7)
    wrong = decision(incident, incarnation=6)
    assert [program.incidents.accept(wrong) for _ in range(2)] == [Receipt.STALE, Receipt.KNOWN]
    assert program.incidents.pending() == [incident]
    stale = program.outcomes()[incident]
    assert (stale.state, stale.decision_id, stale.incarnation) == ("stale", wrong.decision_id, 7)


def test_a_decision_on_a_withdrawn_question_is_stale(path: Path) -> None:
    program = Program(path)
    incident = program.ask()
    program.incidents.withdraw(incident, "tired of waiting")
    assert program.outcomes()[incident].state == "withdrawn"
    assert program.incidents.accept(decision(incident)) is Receipt.STALE
    states = [one.msg_id.partition(":")[2] for one in program.window().items]
    assert states == ["", "withdrawn", "stale"]


def test_a_decision_on_a_question_of_another_journal_is_unknown(path: Path) -> None:
    assert Program(path).incidents.accept(decision(uuid7())) is Receipt.UNKNOWN


def test_each_start_is_the_next_incarnation_and_ends_what_the_former_asked(path: Path) -> None:
    program = Program(path)
    assert program.processes.start("p", worker=True).incarnation == 1
    open_one, going_on, killed = program.ask(), program.ask(), program.ask()
    program.incidents.accept(decision(going_on))
    program.incidents.accept(decision(killed, Action.KILL))
    assert program.processes.start("p", worker=True).incarnation == 2
    states = {incident: (one.state, one.new_incarnation) for incident, one in program.outcomes().items()}
    assert states == {open_one: ("withdrawn", None), going_on: ("stale", None), killed: ("applied", 2)}


def test_a_kill_that_is_being_obeyed_is_left_to_who_obeys(path: Path) -> None:
    program = Program(path)
    program.processes.start("p", worker=True)
    killed = program.ask()
    program.incidents.accept(decision(killed, Action.KILL))
    program.processes.start("p", worker=True, keep=killed)
    assert program.outcomes() == {}
    program.incidents.end(killed, OutcomeState.APPLIED, new_incarnation=2)
    assert program.outcomes()[killed].new_incarnation == 2


def run_program(path: Path, code: str) -> subprocess.Popen[str]:
    """Another program with the same journal; its first line of output says that it is ready."""
    head = f"""
        import sys, time
        from pathlib import Path
        from tests.unit.test_journal import *
        program = Program(Path({str(path)!r}))
    """
    program = textwrap.dedent(head) + textwrap.dedent(code) + "\nprint('ready', flush=True)\ntime.sleep(60)"
    started = subprocess.Popen([sys.executable, "-c", program], env=program_env(), stdout=subprocess.PIPE, text=True)
    assert started.stdout
    assert started.stdout.readline() == "ready\n"
    return started


def test_what_a_killed_program_left_is_taken_over_and_a_living_ones_is_not(path: Path) -> None:
    ours = Program(path)
    theirs = run_program(
        path,
        """
        program.processes.start("q", worker=True)
        program.report("left behind", process="q")
        open_one, going_on, killed = (program.ask("q") for _ in range(3))
        program.incidents.accept(decision(going_on))
        program.incidents.accept(decision(killed, Action.KILL))
        """,
    )
    try:
        assert not ours.processes.adopt(), "it is alive"
        assert ours.waiting() == []
        with pytest.raises(ProcessTaken):
            ours.processes.start("q", worker=True)
        theirs.send_signal(signal.SIGKILL)
        theirs.wait()
        assert ours.processes.adopt()
        assert ours.waiting()[0] == "left behind"
        assert sorted(one.state for one in ours.outcomes().values()) == ["stale", "withdrawn"]
        assert [one.state for one in ours.processes.reports()] == ["stopped"]
        # Killed it is, but nobody has started a new one yet.
        assert ours.processes.start("q", worker=True).incarnation == 2
        assert sorted((one.state, one.new_incarnation) for one in ours.outcomes().values())[0] == ("applied", 2)
    finally:
        theirs.kill()
        theirs.wait()


def test_a_program_that_follows_a_dead_one_moves_no_row_of_its_backlog(path: Path) -> None:
    """100,000 rows under another number would be 100 MB to write before the first incident is sent."""
    first = Program(path)
    first.processes.start("p", worker=False)
    for number in range(500):
        first.report(f"{number}")
    incident = first.ask()
    first.journal.close()
    again = Program(path)
    with again.journal.reading() as db:
        before = db.total_changes
        assert again.processes.adopt()
        assert db.total_changes - before < 10
    assert again.waiting() == [*(f"{number}" for number in range(500)), str(incident), f"{incident}:withdrawn"]
    again.processes.start("q", worker=False)
    assert not again.processes.adopt()
    assert [report.state for report in again.processes.reports()] == ["running", "stopped"]


def test_the_longest_backlog_of_dead_programs_stays_and_the_others_come_along(path: Path) -> None:
    programs = [Program(path) for _ in range(3)]
    for length, program in zip((2, 5, 1), programs, strict=True):
        for number in range(length):
            program.report(f"{length}.{number}")
    living = programs.pop(0)
    for program in programs:
        program.journal.close()
    again = Program(path)
    assert again.journal.client == programs[0].journal.client
    assert again.processes.adopt()
    assert again.waiting() == ["5.0", "5.1", "5.2", "5.3", "5.4", "1.0"]
    assert living.waiting() == ["2.0", "2.1"]
    newest = Program(path)
    assert newest.journal.client not in (living.journal.client, again.journal.client)


def test_two_living_programs_share_a_plain_process_and_its_incarnation(path: Path) -> None:
    ours = Program(path)
    theirs = run_program(path, "program.processes.start('web', worker=False)\nprogram.ask('web')")
    try:
        assert ours.processes.start("web", worker=False).incarnation == 1
        assert ours.outcomes() == {}, "the other one still waits"
        assert [one.state for one in ours.processes.reports()] == ["blocked"]
    finally:
        theirs.kill()
        theirs.wait()


def test_a_forked_child_does_not_touch_its_parents_journal(path: Path) -> None:
    program = Program(path)
    child = os.fork()
    if not child:
        try:
            program.report("from the child")
        except JournalError:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    program.report("from the parent")
    assert program.waiting() == ["from the parent"]
    # The child's end has not let go of the parent's place either.
    probe = subprocess.run(
        [sys.executable, "-c", f"from errorkernel.node.journal.presence import Presence; from pathlib import Path\n"
         f"assert Presence(Path({str(path) + '.lock'!r})).is_alive({program.journal.client})"],
        env=program_env(),
    )  # fmt: skip
    assert probe.returncode == 0


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
    assert caplog.text.count("What it held is not sent") == 2
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


def test_confirmed_outcomes_are_told_once_and_long_ended_ones_are_forgotten(path: Path) -> None:
    program = Program(path)
    incident = program.ask()
    program.incidents.withdraw(incident, "")
    assert [one.incident for one in program.incidents.unconfirmed()[0]] == [incident]
    program.incidents.confirm([incident])
    assert program.incidents.unconfirmed()[0] == []
    long_ago = time.time() - 40 * 86400
    with program.journal.transaction() as db:
        db.execute("UPDATE incident SET ended_at = ?", (long_ago,))
    program.incidents.confirm([])
    assert program.incidents.accept(decision(incident)) is Receipt.UNKNOWN


def test_an_outcome_that_nobody_confirmed_outlives_any_jump_of_the_clock(path: Path) -> None:
    program = Program(path)
    incidents = [program.ask() for _ in range(2)]
    for incident in incidents:
        program.incidents.withdraw(incident, "gone")
    # A machine without a clock of its own: it ended in 1970, and then learns what year it is.
    with program.journal.transaction() as db:
        db.execute("UPDATE incident SET ended_at = 100")
    program.incidents.confirm([incidents[0]])
    assert [one.incident for one in program.incidents.unconfirmed()[0]] == [incidents[1]]
    assert program.incidents.accept(decision(incidents[0])) is Receipt.UNKNOWN
    assert program.incidents.accept(decision(incidents[1])) is Receipt.STALE


def test_outcomes_that_are_never_confirmed_are_bounded_in_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents_module, "KEEP_UNCONFIRMED", 3)
    program = Program(path)
    incidents = [program.ask() for _ in range(5)]
    for incident in incidents:
        program.incidents.withdraw(incident, "gone")
    waits = program.ask()
    program.incidents.confirm([])
    assert [one.incident for one in program.incidents.unconfirmed()[0]] == incidents[2:]
    assert program.incidents.pending() == [waits]


def command() -> Requeue:
    return Requeue(id=uuid7(), process="p", message=Message(id="8841"), by="user:anna", at=datetime.now(UTC))


def test_a_message_that_was_given_back_is_handed_over_once_however_the_clock_jumps(path: Path) -> None:
    program = Program(path)
    requeues = Requeues(program.journal, NODE)
    given = command()
    assert requeues.accept(given)
    assert requeues.begin(["p"]) == given
    requeues.end(given, OutcomeState.APPLIED, "")
    # A machine without a clock of its own: it happened in 1970, and then learns what year it is.
    with program.journal.transaction() as db:
        db.execute("UPDATE requeue SET at = 100")
    assert requeues.accept(command())
    assert not requeues.accept(given)
    assert program.outcomes()[given.id].state is OutcomeState.APPLIED


def test_commands_that_have_ended_are_bounded_in_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_of_requeues, "KEEP_ENDED", 2)
    requeues = Requeues(Program(path).journal, NODE)
    given = [command() for _ in range(4)]
    for one in given:
        requeues.accept(one)
        requeues.end(one, OutcomeState.FAILED, "")
    waits = command()
    assert requeues.accept(waits)
    assert [requeues.accept(one) for one in given] == [True, True, False, False]
    assert requeues.begin(["p"]) == waits


def nasty() -> Exception:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    try:
        raise Nasty
    except Nasty as exc:
        return exc


@pytest.mark.parametrize("filler", ["x", "\n", "\x01", '"', "\\", "é", "\U0001f4a5", "\ud800", "\0"])
def test_an_event_of_any_size_and_content_fits(filler: str) -> None:
    big = filler * 400_000
    described = describe(
        big, {"stack": big, "message": {"data": big, "method": big}, "tags": {big: big}, "fingerprint": [big] * 50}
    )
    data = fit(build_event(described, uuid7(), EventType.ERROR, "p", 1))
    assert len(data) <= Limits().event_bytes
    event = wire.decode_event(data, Limits())
    assert event.cut == (), "the kernel has nothing left to cut"
    assert "bytes cut" in event.text
    assert "bytes cut" in event.stack


def test_what_is_cut_says_so_and_a_stack_keeps_both_ends() -> None:
    assert cut("abc", 100) == "abc"
    assert len(cut("é" * 1000, 101).encode()) <= 101
    stack = cut_middle("first\n" + "middle\n" * 10_000 + "last", 1000)
    assert stack.startswith("first")
    assert stack.endswith("last")
    assert len(stack.encode()) <= 1000


def test_an_exception_gives_kind_text_and_stack_even_when_it_cannot_speak() -> None:
    try:
        raise FileNotFoundError(2, "No such file", "/data/a.tif")
    except FileNotFoundError as exc:
        described = describe(exc, {"level": "critical"})
    assert described.kind == "FileNotFoundError"
    assert "/data/a.tif" in described.text
    assert "test_journal.py" in described.stack
    assert described.level is Level.CRITICAL
    assert describe(nasty(), {}).text == "Nasty"


def test_what_the_caller_wrote_wrongly_is_told() -> None:
    with pytest.raises(TypeError, match="tag"):
        describe("x", {"tag": {}})
    with pytest.raises(TypeError, match="methd"):
        describe("x", {"message": {"methd": "y"}})
    with pytest.raises(ValueError, match="deadline"):
        describe("x", {"deadline_s": 0})
    with pytest.raises(ValueError, match="loud"):
        describe("x", {"level": "loud"})


def test_kept_weights_are_what_the_schema_says() -> None:
    """The partial index of the journal names the weight by number."""
    assert KEPT == 2
    assert isinstance(build_event(describe("x", {}), uuid7(), EventType.INFO, "p", 1), Event)
