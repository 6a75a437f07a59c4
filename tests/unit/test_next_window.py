"""The order in which a node sends its backlog: blocked processes first, and each process in its own order."""

import random
import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import OutcomeState
from errorkernel.node.journal import next_window
from errorkernel.node.journal.backlog import ERROR, Backlog
from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.incidents import Incidents
from errorkernel.node.journal.next_window import Item

NODE = "ship1"


class Program:
    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.journal.register()
        self.backlog = Backlog(self.journal, max_rows=10**6, max_bytes=10**9)
        self.incidents = Incidents(self.journal, NODE)

    def report(self, process: str, text: str = "x") -> None:
        self.backlog.add(process, f"ek.evt.{NODE}", str(uuid7()), ERROR, text.encode())

    def ask(self, process: str) -> UUID:
        incident = uuid7()
        self.incidents.open(incident, process, 1, b"{}")
        return incident

    def send(self, max_rows: int = 1000, max_bytes: int = 10**9) -> list[Item]:
        """Send one window; returns what it held."""
        items = self.backlog.next_window(max_rows, max_bytes).items
        self.backlog.remove(items)
        return items


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "journal")


def shown(items: list[Item]) -> list[str]:
    return [("!" if item.weight == next_window.KEPT else "") + item.process for item in items]


def test_an_incident_overtakes_other_processes_and_not_its_own(program: Program) -> None:
    for process in ("a", "b", "a", "c", "a"):
        program.report(process)
    program.ask("a")
    program.report("a")
    window = program.backlog.next_window(1000, 10**9)
    assert shown(window.items) == ["a", "a", "a", "!a", "b", "c", "a"]
    assert window.urgent == 4


def test_an_outcome_is_urgent_too(program: Program) -> None:
    incident = program.ask("b")
    program.send()
    program.report("a")
    program.incidents.end(incident, OutcomeState.WITHDRAWN)
    assert shown(program.send()) == ["!b", "a"]


def test_blocked_processes_share_a_window(program: Program) -> None:
    """One with a long past of its own does not hold up the others."""
    for _ in range(500):
        program.report("long")
    for process in ("long", "b", "c"):
        program.ask(process)
    first = shown(program.send(30))
    assert {"!b", "!c"} <= set(first)
    assert len(first) == 30


def test_every_blocked_process_has_its_turn(program: Program) -> None:
    for number in range(100):
        program.ask(f"p{number:03d}")
    asked = [item.process for _ in range(5) for item in program.send(20)]
    assert sorted(asked) == [f"p{number:03d}" for number in range(100)]


def test_urgent_messages_without_end_leave_the_others_a_window(program: Program) -> None:
    program.report("quiet")
    windows = -1
    quiet = False
    while not quiet and windows <= next_window.URGENT_WINDOWS:
        for _ in range(10):
            program.ask("loud")
        quiet = "quiet" in shown(program.send(10))
        windows += 1
    assert windows == next_window.URGENT_WINDOWS


def test_what_was_put_off_is_not_urgent_until_it_is_due(program: Program) -> None:
    program.report("a")
    program.ask("b")
    program.ask("c")
    refused = next(item for item in program.backlog.next_window(10, 10**6).items if item.process == "b")
    program.backlog.set_aside(refused, "permission")
    assert shown(program.send()) == ["!c", "a"]


def test_a_window_is_bounded_in_bytes_and_never_empty(program: Program) -> None:
    for process in ("a", "a", "b"):
        program.report(process, "x" * 1000)
    program.ask("b")
    assert shown(program.send(10, 500)) == ["b"]
    assert shown(program.send(10, 1500)) == ["!b", "a"]
    assert shown(program.send(10, 500)) == ["a"]
    assert program.send() == []


def test_no_choice_reorders_a_process(program: Program) -> None:
    """Whatever is written, sent, lost and sent again meanwhile."""
    chance = random.Random(7)
    sent: dict[str, list[int]] = {}
    for _ in range(300):
        for _ in range(chance.randrange(8)):
            process = f"p{chance.randrange(40)}"
            program.ask(process) if chance.random() < 0.2 else program.report(process, "x" * chance.randrange(300))
        window = program.backlog.next_window(chance.choice((1, 5, 20)), chance.choice((100, 1000, 5000)))
        # The link drops: what was sent in front has arrived, and all of it or a part is acknowledged.
        arrived = window.items[: chance.randrange(len(window.items) + 1)]
        for item in arrived:
            sent.setdefault(item.process, []).append(item.number)
        program.backlog.remove(arrived[: chance.randrange(len(arrived) + 1)])
    for numbers in sent.values():
        first_arrivals = list(dict.fromkeys(numbers))
        assert first_arrivals == sorted(first_arrivals)


@pytest.mark.parametrize(
    ("statement", "arguments", "index"),
    [
        (next_window.URGENT_PROCESS, (1, 0, "", "z"), "backlog_urgent"),
        (next_window.LAST_URGENT, (1, 0, "p"), "backlog_urgent"),
        (next_window.OF_PROCESS, (1, 0, "p", 1, 1), "backlog_process"),
        (next_window.OF_ALL, (1, 0, 1), "backlog_client"),
    ],
)
def test_a_choice_reads_an_index_and_sorts_nothing(
    program: Program, statement: str, arguments: tuple[object, ...], index: str
) -> None:
    with program.journal.reading() as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]
    assert len(plan) == 1, plan
    assert "SEARCH backlog USING" in plan[0]
    assert f"INDEX {index} (" in plan[0]


def test_a_choice_costs_the_same_in_a_long_backlog(program: Program) -> None:
    """Counted in steps of SQLite's virtual machine."""

    def steps() -> int:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        with program.journal.reading() as db:
            db.set_progress_handler(step, 10)
            program.backlog._chooser.choose(db, program.journal.client, 100, 10**6, now=1e12)
            db.set_progress_handler(None, 0)
        return count * 10

    def fill(rows: int) -> None:
        with program.journal.transaction() as db:
            add = (
                "INSERT INTO backlog (client, process, subject, msg_id, weight, payload) VALUES (?, ?, 's', ?, 1, 'x')"
            )
            client = program.journal.client
            db.executemany(add, [(client, f"p{number % 50}", str(number)) for number in range(rows)])

    fill(1000)
    program.ask("p7")
    short = steps()
    fill(20_000)
    program.ask("p8")
    assert steps() < 2 * short


def test_a_journal_of_layout_3_gets_the_indexes(tmp_path: Path, program: Program) -> None:
    path = program.journal.path
    program.report("a")
    program.ask("b")
    program.journal.close()
    db = sqlite3.connect(path)
    db.executescript("DROP INDEX backlog_process; DROP INDEX backlog_urgent; PRAGMA user_version = 3;")
    db.close()
    again = Program(path)
    with again.journal.transaction() as db:
        db.execute("UPDATE backlog SET client = ?", (again.journal.client,))
    assert shown(again.send()) == ["!b", "a"]
