"""Chaos: each check sees the violation that it is for."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from errorkernel.domain.incident_state import State
from errorkernel.ops.chaos import invariants, watch
from errorkernel.ops.chaos.evidence import (
    Audit,
    Command,
    Evidence,
    Incident,
    JournaledIncident,
    RecordedDecision,
    Rule,
    Stored,
)
from errorkernel.ops.chaos.ledger import Entry
from errorkernel.ops.chaos.operators import DecisionReply
from errorkernel.ops.chaos.requeue_checks import disagreement, handed_over_once
from errorkernel.ops.chaos.requeue_operators import RequeueReply
from errorkernel.ops.chaos.rule_checks import rules_keep_within_bounds

# --- the checks -------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
DECISION = RecordedDecision(uuid4(), "continue", "user:anna", NOW + timedelta(seconds=3), sent=True)
DUE = RecordedDecision(uuid4(), "kill", "deadline", NOW + timedelta(seconds=2), sent=True)
RULED = RecordedDecision(uuid4(), "continue", "rule:1", NOW + timedelta(seconds=1), sent=True, rule_revision=1)
ONE = Incident(uuid4(), "ship1", "copy", 1, State.APPLIED, NOW, DECISION)
TWO = Incident(uuid4(), "ship1", "copy", 1, State.APPLIED, NOW, DUE)
THREE = Incident(uuid4(), "ship1", "fetch", 1, State.APPLIED, NOW, RULED)
RULE = Rule(1, "goon", "continue", uses=1, max_uses=2, storm_limit=2)
BACK = Command(uuid4(), ONE.id, "ship1", "q1", "applied")


def entry(what: str, at: float, **said: Any) -> Entry:
    return Entry(what, at, {key: str(value) if isinstance(value, UUID) else value for key, value in said.items()})


def opened(at: float, incident: Incident, text: str, **deadline: Any) -> Entry:
    said = {"process": incident.process, "incarnation": incident.incarnation, "text": text, "deadline_s": None}
    return entry("opened", at, incident=incident.id, **{**said, "on_deadline": "escalate", **deadline})


def took(at: float, incident: Incident, result: str = "new") -> Entry:
    assert incident.decision
    return entry("took", at, incident=incident.id, action=incident.decision.action, result=result)


def journaled(incident: Incident, outcome: str = "applied") -> JournaledIncident:
    assert incident.decision
    decision = incident.decision
    return JournaledIncident(
        incident.id, incident.node, incident.process, 1, "ended", decision.id, decision.action, outcome
    )


def life(what: str, at: float, incarnation: int, **said: Any) -> Entry:
    return entry(what, at, process="copy", incarnation=incarnation, **said)


def decision_reply(**changed: Any) -> DecisionReply:
    return replace(
        DecisionReply("user:anna", ONE.id, "continue", "anna-1", "user:anna", "continue", DECISION.id), **changed
    )


def well() -> Evidence:
    """A small run in which all was well.

    An incident that anna decided, and whose message dora requeued; one whose deadline killed its worker; one that a
    rule decided.
    """
    return Evidence(
        incidents={one.id: one for one in (ONE, TWO, THREE)},
        journaled_incidents={one.id: journaled(one) for one in (ONE, TWO, THREE)},
        commands={BACK.id: BACK},
        commands_of_nodes={BACK.id: "applied"},
        rules={1: RULE},
        audit=[
            Audit(ONE.id, "decide", "open", "decided"),
            Audit(ONE.id, "deliver", "decided", "delivered"),
            Audit(ONE.id, "outcome", "delivered", "applied"),
            Audit(TWO.id, "decide", "open", "decided"),
            Audit(TWO.id, "outcome", "decided", "applied"),
            Audit(THREE.id, "decide", "open", "decided"),
            Audit(THREE.id, "outcome", "decided", "applied"),
        ],
        audit_of_messages=[
            Audit(ONE.id, "requeue", "", "sent"),
            Audit(ONE.id, "deliver message", "sent", "received"),
            Audit(ONE.id, "take message", "received", "applied"),
        ],
        stored=[
            Stored(number, pk, "ship1", text)
            for number, (pk, text) in enumerate(((ONE.id, "q1"), (TWO.id, "q2"), (uuid4(), "r1"), (THREE.id, "q3")), 1)
        ],
        ledgers={
            "ship1": [
                entry("began", 0.0, processes=["copy"]),
                life("born", 0.1, 1),
                opened(1.0, ONE, "q1"),
                took(2.0, ONE),
                took(2.1, ONE, "again"),
                life("went_on", 2.2, 1, text="q1"),
                life("reported", 3.0, 1, text="r1"),
                opened(4.0, TWO, "q2", deadline_s=1.5, on_deadline="kill"),
                took(6.0, TWO),
                life("born", 6.1, 2),
                opened(6.5, THREE, "q3", method="goon"),
                took(6.6, THREE),
                entry("begun", 7.0, command=BACK.id, text="q1"),
                entry("handed", 7.1, process="", text="q1"),
                entry("handled", 7.2, process="", text="q1"),
            ]
        },
        decision_replies=[decision_reply(), decision_reply(operator="user:bert", sent="kill", decision=None)],
        requeue_replies=[
            RequeueReply("user:dora", ONE.id, "requeue", BACK.id),
            RequeueReply("user:emil", ONE.id, "requeue", None),
        ],
        sent={("user:anna", ONE.id): "continue", ("user:bert", ONE.id): "kill"},
        history={
            ONE.id: [(State.OPEN, None), (State.DECIDED, DECISION.id), (State.APPLIED, DECISION.id)],
            TWO.id: [(State.OPEN, None), (State.APPLIED, DUE.id)],
            THREE.id: [(State.APPLIED, RULED.id)],
        },
    )


def restarts(count: int, at: float = 10.0) -> list[Entry]:
    """A start and so many restarts, half a second apart."""
    return [life("begins", at + number / 2, 3 + number) for number in range(count + 1)]


def write(*entries: Entry) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.ledgers["ship1"].extend(entries)


def change(incident: Incident, **changed: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.incidents.update({incident.id: replace(incident, **changed)})


def by_rule(**changed: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.rules.update({1: replace(RULE, **changed)})


def back(**changed: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.commands.update({BACK.id: replace(BACK, **changed)})


def storm(evidence: Evidence) -> None:
    """The rule decides three within a second."""
    for number in range(2):
        decision = replace(RULED, decided_at=NOW + timedelta(seconds=1 + number / 2))
        incident = replace(THREE, id=uuid4(), decision=decision)
        evidence.incidents[incident.id] = incident
    evidence.rules[1] = replace(RULE, uses=3, max_uses=None)


def lose(evidence: Evidence) -> None:
    evidence.wiped_at.append(100.0)
    evidence.ledgers["ship1"].append(life("reported", 90.0, 2, text="gone"))


WRONG: list[tuple[Callable[[Evidence], list[str]], Callable[[Evidence], Any]]] = [
    (invariants.single_winner, lambda e: e.history[ONE.id].append((State.APPLIED, uuid4()))),
    (
        invariants.single_winner,
        lambda e: e.decision_replies.append(decision_reply(operator="user:bert", action="kill", decision=None)),
    ),
    (invariants.single_winner, lambda e: e.decision_replies.append(decision_reply(by="user:cleo", decision=None))),
    (invariants.single_winner, lambda e: e.decision_replies.append(decision_reply(by="", action="", decision=None))),
    (invariants.single_winner, lambda e: e.decision_replies.append(decision_reply(decision=uuid4()))),
    (invariants.single_winner, lambda e: e.decision_replies.append(decision_reply(operator="user:bert"))),
    (invariants.single_winner, lambda e: e.unexpected.append("404")),
    (invariants.applied_once, write(took(7.0, ONE))),
    (invariants.applied_once, write(life("went_on", 7.0, 1, text="q1"))),
    (invariants.applied_once, write(life("went_on", 7.0, 1, text="q2"))),
    (invariants.applied_once, change(ONE, decision=None)),
    (invariants.applied_once, change(TWO, decision=replace(DUE, action="continue"))),
    (invariants.applied_once, change(TWO, decision=replace(DUE, id=uuid4()))),
    (invariants.no_incident_is_lost, lambda e: e.incidents.pop(ONE.id)),
    (invariants.no_incident_is_lost, lambda e: (e.incidents.pop(TWO.id), e.journaled_incidents.pop(TWO.id))),
    (invariants.no_incident_is_lost, lambda e: (e.incidents.pop(TWO.id), e.ledgers.clear())),
    (invariants.healed_in_time, lambda e: e.overdue.append("something")),
    (invariants.applied_is_true, lambda e: e.shown_early.append(ONE.id)),
    (invariants.applied_is_true, lambda e: e.journaled_incidents.update({ONE.id: journaled(ONE, "stale")})),
    (invariants.right_incarnation, write(opened(7.0, ONE, "q1"), took(8.0, ONE))),
    (invariants.right_incarnation, write(life("reported", 7.0, 1, text="r2"))),
    (invariants.outcomes_stand, lambda e: e.history[ONE.id].append((State.STALE, DECISION.id))),
    (invariants.outcomes_stand, lambda e: e.history[ONE.id].append((State.OPEN, None))),
    (invariants.outcomes_stand, change(ONE, decision=replace(DECISION, sent=False))),
    (invariants.outcomes_stand, lambda e: setattr(e, "outbox", 1)),
    (invariants.restarts_are_bounded, lambda e: e.ledgers["ship1"].extend(restarts(4))),
    (invariants.every_change_is_audited, lambda e: e.audit.pop()),
    (invariants.every_change_is_audited, lambda e: e.audit.pop(1)),
    (invariants.every_change_is_audited, lambda e: e.audit.append(e.audit[0])),
    (invariants.nobody_by_itself, lambda e: e.sent.pop(("user:anna", ONE.id))),
    (invariants.nobody_by_itself, change(ONE, decision=replace(DECISION, action="kill"))),
    (invariants.nobody_by_itself, change(ONE, decision=replace(DECISION, by="deadline"))),
    (invariants.nobody_by_itself, change(ONE, decision=replace(DECISION, by="rule:1"))),
    (invariants.nobody_by_itself, change(ONE, decision=replace(DECISION, by="rule:2"))),
    (invariants.nobody_by_itself, by_rule(action="kill")),
    (invariants.nobody_by_itself, by_rule(method="end")),
    (invariants.nobody_by_itself, change(TWO, decision=replace(DUE, action="continue"))),
    (invariants.nobody_by_itself, change(TWO, decision=replace(DUE, decided_at=NOW + timedelta(seconds=1)))),
    (invariants.every_event_once, lambda e: e.stored.append(Stored(5, uuid4(), "ship1", "r1"))),
    (invariants.every_event_once, lambda e: e.stored.pop(2)),
    (invariants.every_event_once, lambda e: e.stored.append(Stored(6, uuid4(), "ship1", "other"))),
    (invariants.every_event_once, lose),
    (
        invariants.every_event_once,
        lambda e: (lose(e), setattr(e, "losses_reported", 1), setattr(e, "wiped_at", [20.0])),
    ),
    (
        invariants.every_event_once,
        lambda e: (lose(e), setattr(e, "losses_reported", 1), setattr(e, "wiped_at", [200.0])),
    ),
    (invariants.every_event_once, lambda e: setattr(e, "losses_reported", 1)),
    (invariants.every_change_is_audited, lambda e: e.audit_of_messages.pop()),
    (invariants.every_change_is_audited, lambda e: e.audit_of_messages.pop(1)),
    (invariants.every_change_is_audited, lambda e: e.audit_of_messages.clear()),
    (invariants.every_change_is_audited, lambda e: e.audit_of_messages.append(e.audit_of_messages[0])),
    (handed_over_once, write(entry("begun", 8.0, command=BACK.id, text="q1"))),
    (handed_over_once, write(entry("handed", 8.0, process="", text="q1"))),
    (handed_over_once, write(entry("begun", 8.0, command=uuid4(), text="q1"))),
    (handed_over_once, lambda e: e.ledgers["ship1"].pop()),
    (handed_over_once, back(state="received")),
    (handed_over_once, back(state="dropped")),
    (handed_over_once, back(incident=TWO.id)),
    (handed_over_once, lambda e: e.requeue_replies.append(e.requeue_replies[0])),
    (handed_over_once, lambda e: e.requeue_replies.append(RequeueReply("user:dora", ONE.id, "requeue", uuid4()))),
    (rules_keep_within_bounds, by_rule(uses=0)),
    (rules_keep_within_bounds, by_rule(max_uses=0)),
    (rules_keep_within_bounds, storm),
]


def test_a_run_in_which_all_was_well_breaks_nothing() -> None:
    for check in invariants.CHECKS:
        assert check(well()) == [], check.__doc__


@pytest.mark.parametrize(("check", "spoil"), WRONG)
def test_every_check_sees_what_it_is_there_for(
    check: Callable[[Evidence], list[str]], spoil: Callable[[Evidence], Any]
) -> None:
    evidence = well()
    spoil(evidence)
    assert check(evidence) != []


def test_every_check_is_tested() -> None:
    assert {check for check, _ in WRONG} == {*invariants.CHECKS}


def test_what_went_with_a_wipe_and_was_told_is_no_violation() -> None:
    evidence = well()
    lose(evidence)
    evidence.losses_reported = 1
    assert invariants.every_event_once(evidence) == []
    assert invariants.lost_with_wipes(evidence) == 1


def test_restarts_are_counted_from_the_start_of_a_program_and_from_the_end_of_a_quarantine() -> None:
    evidence = well()
    evidence.ledgers["ship1"] += [
        *restarts(3),
        entry("began", 30.0, processes=["copy"]),
        *restarts(3, at=30.0),
        opened(34.0, ONE, "copy is quarantined", quarantined="copy"),
        took(35.0, ONE),
        *restarts(3, at=35.0)[1:],
    ]
    assert invariants.restarts_are_bounded(evidence) == []
    evidence.ledgers["ship1"] += restarts(1, at=39.0)
    assert len(invariants.restarts_are_bounded(evidence)) == 1


def test_rules_are_given_a_clean_sheet_by_whoever_writes_them_anew() -> None:
    evidence = well()
    storm(evidence)
    evidence.incidents = {
        pk: replace(one, decision=replace(one.decision, rule_revision=number))
        for number, (pk, one) in enumerate(evidence.incidents.items())
        if one.decision
    }
    assert rules_keep_within_bounds(evidence) == []


@pytest.mark.parametrize(
    ("state", "on_node", "agreed"),
    [
        ("sent", "waiting", True),
        ("received", "begun", True),
        ("received", "applied", False),
        ("sent", None, False),
        ("applied", "applied", True),
        ("applied", "failed", False),
        ("failed", "waiting", False),
        ("dropped", None, True),
    ],
)
def test_node_and_kernel_agree_on_a_message_or_not(state: str, on_node: str | None, agreed: bool) -> None:
    assert (disagreement(replace(BACK, state=state), on_node) == "") is agreed


@pytest.mark.parametrize(
    ("state", "outcome", "shown", "agreed"),
    [
        ("pending", "", State.OPEN, True),
        ("pending", "", State.DECIDED, False),
        ("pending", "", State.WITHDRAWN, False),
        ("decided", "", State.DECIDED, True),
        ("decided", "", State.DELIVERED, True),
        ("decided", "", State.OPEN, False),
        ("decided", "", State.APPLIED, False),
        ("orphaned", "", State.DELIVERED, True),
        ("ended", "applied", State.APPLIED, True),
        ("ended", "applied", State.DELIVERED, False),
        ("ended", "applied", State.STALE, False),
        ("ended", "withdrawn", State.WITHDRAWN, True),
        ("ended", "withdrawn", State.STALE, True),
        ("ended", "stale", State.WITHDRAWN, False),
    ],
)
def test_node_and_kernel_agree_or_not(state: str, outcome: str, shown: State, agreed: bool) -> None:
    theirs = JournaledIncident(ONE.id, "ship1", "copy", 1, state, None, "", outcome)
    decision = None if shown in (State.OPEN, State.WITHDRAWN) else DECISION
    assert (watch.disagreement(theirs, replace(ONE, state=shown, decision=decision)) == "") is agreed
    assert watch.disagreement(theirs, None)
