"""What nodes say they did, against the real database: plausible_outcome where it can be true, and lost in no race."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action, Event, EventType, Level, Message, Outcome, OutcomeState
from errorkernel.models import AuditEntry, Incarnation, Incident, Requeue
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.incidents.requeues import Wanted, Wish
from errorkernel.store.ingest.batch import Batch, Recorded, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
NODE = "ship1"


def ask(incarnation: int | None = 7) -> UUID:
    question = Event(
        id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process="copy", text="no such file",
        incarnation=incarnation, message=Message(id="8841"),
    )  # fmt: skip
    record(Batch(events=[(NODE, question)]), NameCache(), now=NOW)
    return question.id


def decide(incident: UUID, action: Action = Action.KILL) -> UUID:
    return decisions.decide(incident, action, actor=Actor("user:alice", NOW), reason="stuck").pk


def say(incident: UUID, state: OutcomeState, **fields: Any) -> Recorded:
    outcome = Outcome(incident=incident, state=state, **fields)
    return record(Batch(outcomes=[(NODE, outcome)]), NameCache(), now=NOW)


def meanwhile(happens: Callable[[], Any]) -> Any:
    """Within it, ``happens`` is done and committed right after the first look at the database."""
    waiting = [happens]

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        if sql.startswith("SELECT") and waiting:
            waiting.pop()()
        return found

    return connection.execute_wrapper(look)


def trail(incident: UUID, what: str) -> list[tuple[str | None, str]]:
    entries = AuditEntry.objects.filter(target=f"incident:{incident}", after__has_key=what).order_by("pk")
    return [(entry.before[what], entry.after[what]) for entry in entries]


# Races


def test_a_withdrawal_that_meets_a_decision_makes_it_stale() -> None:
    incident = ask()
    with meanwhile(lambda: decide(incident)):
        gone = Outcome(incident=incident, state=OutcomeState.WITHDRAWN)
        assert decisions.record_outcome(NODE, gone, now=NOW) is OutcomeResult.CHANGED
    assert trail(incident, "state") == [("open", "decided"), ("decided", "stale")]


@pytest.mark.parametrize("state", [OutcomeState.APPLIED, OutcomeState.FAILED, OutcomeState.STALE])
def test_an_outcome_that_meets_the_delivery_of_its_decision_is_not_lost(state: OutcomeState) -> None:
    incident = ask()
    outcome = Outcome(incident=incident, state=state, decision_id=decide(incident))
    with meanwhile(lambda: decisions.mark_delivered([incident], now=NOW)):
        assert decisions.record_outcome(NODE, outcome, now=NOW) is not OutcomeResult.IGNORED
    assert trail(incident, "state") == [("open", "decided"), ("decided", "delivered"), ("delivered", state.value)]


def test_an_outcome_that_meets_another_end_changes_nothing() -> None:
    incident = ask()
    decision = decide(incident)
    with meanwhile(lambda: say(incident, OutcomeState.STALE, decision_id=decision)):
        late = Outcome(incident=incident, state=OutcomeState.APPLIED, decision_id=decision)
        assert decisions.record_outcome(NODE, late, now=NOW) is OutcomeResult.IGNORED
    assert trail(incident, "state") == [("open", "decided"), ("decided", "stale")]


def test_an_outcome_of_a_message_that_is_received_just_now_is_on_record_after_that() -> None:
    incident = ask()
    say(incident, OutcomeState.WITHDRAWN)
    command = requeues.dispose(incident, Wanted(Wish.REQUEUE), actor=Actor("user:alice", NOW)).pk
    with meanwhile(lambda: requeues.mark_received(command, now=NOW)):
        taken = Outcome(incident=command, state=OutcomeState.APPLIED)
        assert requeues.record_outcome(NODE, taken, now=NOW) == (OutcomeResult.CHANGED, incident)
    assert trail(incident, "message") == [(None, "sent"), ("sent", "received"), ("received", "applied")]
    assert requeues.record_outcome(NODE, taken, now=NOW) == (OutcomeResult.IGNORED, None)
    assert Requeue.objects.get(pk=command).state == "applied"


# Incarnations


@pytest.mark.parametrize(
    ("asker", "said", "shown"),
    [
        (7, {"incarnation": 7, "new_incarnation": 8}, ("applied", 8)),
        (7, {"incarnation": 7, "new_incarnation": 3}, ("applied", None)),
        (7, {"new_incarnation": 7}, ("applied", None)),
        (None, {"incarnation": 99, "new_incarnation": 3}, ("applied", 3)),
        (7, {"incarnation": 99, "new_incarnation": 100}, ("stale", None)),
    ],
)
def test_a_decision_is_shown_as_applied_by_no_other_incarnation_than_the_one_that_asked(
    asker: int | None, said: dict[str, int], shown: tuple[str, int | None]
) -> None:
    incident = ask(asker)
    recorded = say(incident, OutcomeState.APPLIED, decision_id=decide(incident), detail="Killed.", **said)
    ended = Incident.objects.get(pk=incident)
    assert (ended.state, ended.new_incarnation) == shown
    assert len(recorded.applied) == (ended.state == "applied")
    assert ended.outcome_detail.endswith("Killed.")


def test_a_decision_that_another_incarnation_applied_says_so_and_ends_neither() -> None:
    incident = ask(7)
    say(incident, OutcomeState.APPLIED, decision_id=decide(incident), incarnation=99, new_incarnation=100)
    detail = Incident.objects.get(pk=incident).outcome_detail
    assert detail == "Incarnation 99 applied it, but it is for incarnation 7."
    assert list(Incarnation.objects.values_list("number", "ending")) == [(7, "")]


def test_an_outcome_of_another_decision_stays_one_whatever_incarnation_it_names() -> None:
    incident = ask(7)
    decide(incident)
    assert say(incident, OutcomeState.APPLIED, decision_id=uuid7(), incarnation=99).outcomes == [OutcomeResult.IGNORED]
    assert Incident.objects.get(pk=incident).state == "decided"
