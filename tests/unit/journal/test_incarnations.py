"""The journal over the incarnations of its programs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from errorkernel.domain.values import (
    Action,
    OutcomeState,
)
from errorkernel.node.errors import JournalError, ProcessTaken
from tests.support.journals import Program, decision, run_program
from tests.support.node_peer import program_env


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
