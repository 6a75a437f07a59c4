"""The journal keeps events and incidents, and is bounded."""

from pathlib import Path

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import (
    OutcomeState,
)
from errorkernel.node.journal.backlog import ERROR, INFO
from errorkernel.node.journal.incidents import Receipt
from tests.support.journals import Program, decision


def test_infos_make_way_first_then_errors_and_incidents_never(path: Path) -> None:
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


def test_a_refused_report_is_set_aside_and_a_refused_incident_is_put_off(path: Path) -> None:
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


def test_where_the_asker_goes_on_the_decision_ends_its_incident_and_is_reported_with_it(path: Path) -> None:
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


def test_a_decision_for_another_incarnation_ends_nothing(path: Path) -> None:
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


def test_a_decision_on_a_withdrawn_incident_is_stale(path: Path) -> None:
    program = Program(path)
    incident = program.ask()
    program.incidents.withdraw(incident, "tired of waiting")
    assert program.outcomes()[incident].state == "withdrawn"
    assert program.incidents.accept(decision(incident)) is Receipt.STALE
    states = [one.msg_id.partition(":")[2] for one in program.window().items]
    assert states == ["", "withdrawn", "stale"]


def test_a_decision_on_an_incident_of_another_journal_is_unknown(path: Path) -> None:
    assert Program(path).incidents.accept(decision(uuid7())) is Receipt.UNKNOWN
