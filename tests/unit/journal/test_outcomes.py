"""The journal keeps outcomes and commands until they are confirmed."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import (
    Message,
    OutcomeState,
    Requeue,
)
from errorkernel.node.journal import incidents as incidents_module
from errorkernel.node.journal import requeues as module_of_requeues
from errorkernel.node.journal.incidents import Receipt
from errorkernel.node.journal.requeues import Requeues
from tests.support.journals import NODE, Program, decision


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
