"""Rules: what they match, who has the word, and that every answer is counted, guarded and on record."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.domain import rule_policy as policy
from errorkernel.domain.ids import uuid7
from errorkernel.domain.query.predicate import INCIDENT_FIELDS
from errorkernel.domain.rule_policy import IncidentFacts, Rule, RuleAction, RuleDefinition, RuleError, parse_condition
from errorkernel.domain.values import Action, Event, EventType, Level, Message, OnDeadline
from errorkernel.models import AuditEntry, DeadLetter, Decision, ErrorState, Incident, Outbox, Problem
from errorkernel.models import Rule as Row
from errorkernel.store import problems
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes as rules
from errorkernel.store.rules import evaluation
from errorkernel.store.rules.changes import RuleChanged, TooManyAtOnce
from errorkernel.store.search import incident_q
from errorkernel.web.console.dry_run import dry_run
from tests.support.paths import ROOT

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
WHO = Actor("user:alice", NOW)


# Pure: who has the word


def question(**given) -> IncidentFacts:
    usual = {
        "id": UUID(int=1), "seq": 10, "node": "ship1", "process": "copy files", "kind": "OSError", "level": "error",
        "text": "no such file", "message": {"id": "8841", "method": "REQCopySrc"}, "problem": 42, "whole": 40,
        "fingerprint": "9f2c" * 8, "repeat": 4, "consecutive": 2, "received_at": NOW,
    }  # fmt: skip
    return IncidentFacts(**usual | given)


def rule(condition="node:ship1", number=1, **given) -> Rule:
    return Rule(
        **{"id": number, "revision": 1, "condition": parse_condition(condition), "action": RuleAction.CONTINUE} | given
    )


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("node:ship*", True), ("node:ship", False), ('process:"copy files"', True), ("process:copy*", True),
        ("method:REQCopySrc", True), ("kind:OS*", True), ("problem:42", True), ("problem:43", False),
        ("problem:40", True), ("-problem:40", False),
        ("fingerprint:9f2c*", True), ("fingerprint:9f2c", False), ("level>=error", True), ("level>error", False),
        ('text:"such file"', True), ("file", True), ("repeat>=4", True), ("repeat>4", False), ("consecutive>=2", True),
        ("consecutive>=3", False), ("node:ship1 -process:copy*", False), ("node:x OR level:error", True),
    ],
)  # fmt: skip
def test_a_condition_is_a_query_over_the_fields_of_a_question(condition, matches):
    assert rule(condition).matches(question()) is matches


@pytest.mark.parametrize(
    "condition", ["", "  ", "since:2h", "type:action", "id:1", "node:", "consecutive>=many", "x\0"]
)
def test_a_condition_that_is_blank_or_speaks_of_something_else_is_refused_with_its_position(condition):
    with pytest.raises(RuleError) as refused:
        parse_condition(condition)
    assert refused.value.field == "condition"
    assert 0 <= refused.value.position <= len(condition)


def test_the_first_rule_that_matches_has_the_word():
    first, second = rule("process:copy*", 1, action=RuleAction.ASK), rule("node:ship1", 2)
    assert policy.decide([first, second], question(), NOW).rule is first
    assert policy.decide([second, first], question(), NOW).rule is second
    assert policy.decide([rule("node:other")], question(), NOW) is None


@pytest.mark.parametrize(
    "over",
    [{"enabled": False}, {"expires_at": NOW}, {"uses": 3, "max_uses": 3}, {"after_seq": 10}],
    ids=["off", "expired", "used up", "younger than the question"],
)
def test_a_rule_that_is_over_is_passed_by(over):
    second = rule(number=2)
    assert policy.decide([rule(**over), second], question(), NOW).rule is second


def test_a_suspended_rule_holds_what_it_matches_and_hands_nothing_down():
    held = policy.decide([rule(suspended=True), rule(number=2)], question(), NOW)
    assert (held.held, held.rule.id) == (True, 1)
    assert not policy.decide([rule("node:other", suspended=True), rule(number=2)], question(), NOW).held


def test_guards_speak_only_at_their_limit():
    assert policy.storm(49, 50) is None
    assert "50 decisions of this rule within 60 s" in policy.storm(50, 50)
    assert policy.loop(4, 5) is None
    assert "5 times in a row" in policy.loop(5, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", " "), ("name", "x" * 101), ("reason", ""), ("reason", "x" * 1001), ("name", "a\0b"), ("max_uses", 0),
     ("storm_limit", 0), ("loop_limit", -1), ("max_uses", 10**7), ("expires_at", datetime(2026, 1, 1))],
)  # fmt: skip
def test_a_wording_that_cannot_be_names_the_field(field, value):
    given = {"name": "n", "condition": "node:x", "action": RuleAction.KILL, "reason": "r", field: value}
    with pytest.raises(RuleError) as refused:
        RuleDefinition(**given).check()
    assert refused.value.field == field


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(node=names, process=names, problem=st.integers(0, 2**63 - 1))
def test_what_is_remembered_matches_exactly_what_it_was_made_of(node, process, problem):
    condition = policy.remembered(node, process, problem)
    asked = question(node=node, process=process, problem=problem)
    if len(condition) > 1000:
        return  # its author has to shorten it
    assert rule(condition).matches(asked)
    for other in ({"node": node + "x"}, {"process": process + "x"}, {"problem": problem + 1}):
        assert not rule(condition).matches(question(**{"node": node, "process": process, "problem": problem} | other))


rule_values = st.builds(
    rule,
    st.sampled_from(["node:ship1", "process:copy*", "node:other", "consecutive>=2", "-kind:*"]),
    st.integers(1, 9),
    enabled=st.booleans(),
    suspended=st.booleans(),
    after_seq=st.integers(0, 20),
    uses=st.integers(0, 3),
    max_uses=st.none() | st.integers(1, 3),
    expires_at=st.none() | st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
)


@given(rules=st.lists(rule_values, max_size=6))
def test_nobody_before_the_rule_that_speaks_could_have_spoken(rules):
    verdict = policy.decide(rules, question(), NOW)
    alone = [policy.decide([one], question(), NOW) for one in rules]
    first = next((one for one in alone if one), None)
    assert verdict == first
    if verdict and not verdict.held:
        assert not verdict.rule.is_over(NOW)


# Stored


def store(*events, node="ship1", now=NOW):
    return record(Batch(events=[(node, one) for one in events]), NameCache(), now=now)


def event(text="no such file", *, process="copy-files", message="8841", **fields):
    return Event(
        **{
            "id": uuid7(), "type": EventType.ERROR, "level": Level.ERROR, "process": process, "text": text,
            "kind": "OSError", "incarnation": 7, "occurred_at": NOW,
            "message": Message(id=message, method="REQCopySrc", data="x") if message else None, **fields,
        }
    )  # fmt: skip


def ask(text="no such file", *, node="ship1", now=NOW, **fields) -> Incident:
    raised = event(text, type=EventType.ACTION, **fields)
    store(raised, node=node, now=now)
    return Incident.objects.get(pk=raised.id)


def wording(condition="node:ship*", action=RuleAction.CONTINUE, **given) -> RuleDefinition:
    usual = {"name": "go on", "condition": condition, "action": action, "reason": "known", "enabled": True}
    return RuleDefinition(**usual | given)


def add(condition="node:ship*", action=RuleAction.CONTINUE, *, also_waiting=False, **given) -> Row:
    return rules.add(wording(condition, action, **given), actor=WHO, also_waiting=also_waiting)


def judge(now=NOW, *, two_above=0) -> list[UUID]:
    changed = []
    while found := evaluation.look(now=now, two_above=two_above):
        while found:
            changed += evaluation.step(found, now=now).changed
    return changed


def again(row):
    row.refresh_from_db()
    return row


db = pytest.mark.django_db


@db
def test_a_rule_answers_and_everything_says_which_one_in_which_revision():
    made = add()
    incident = ask()
    assert judge() == [incident.pk]
    decision = Decision.objects.get(incident=incident)
    assert (decision.action, decision.actor, decision.reason) == ("continue", f"rule:{made.pk}", "known")
    assert (decision.rule, decision.rule_revision) == (made, 1)
    assert (again(made).uses, made.last_used_at) == (1, NOW)
    assert AuditEntry.objects.get(action="decide").after["rule"] == f"rule {made.pk} (revision 1): go on"
    assert Outbox.objects.count() == 1
    assert judge() == []


@db
def test_nothing_is_answered_where_no_rule_speaks_and_it_is_asked_about_once():
    add("node:other")
    incident = ask()
    judge()
    assert (again(incident).state, incident.rules_evaluated) == ("open", True)
    assert not evaluation.look(now=NOW)


@db
def test_a_rule_that_escalates_marks_the_question_and_its_deadline_is_met_all_the_same():
    made = add(action=RuleAction.ESCALATE)
    incident = ask(deadline_s=60, on_deadline=OnDeadline.KILL)
    assert judge() == [incident.pk]
    assert again(incident).escalated_at == NOW
    assert AuditEntry.objects.get(action="escalate").actor == f"rule:{made.pk}"
    later = NOW + timedelta(seconds=61)
    [due] = decisions.past_deadline(now=later, limit=20)
    decisions.meet_deadline(due, now=later)
    assert Decision.objects.get().actor == "deadline"


@db
def test_a_rule_that_asks_keeps_later_rules_silent():
    asks, answers = add(action=RuleAction.ASK), add()
    incident = ask()
    judge()
    assert again(incident).state == "open"
    assert (again(asks).uses, again(answers).uses) == (1, 0)
    assert AuditEntry.objects.get(action="ask").target == f"incident:{incident.pk}"


@db
def test_a_rule_applies_to_what_opens_from_now_on_or_by_choice_to_what_waits():
    old = ask()
    judge()
    first = add()
    judge()
    assert again(old).state == "open"
    other = add("level>=error", name="the other", also_waiting=True)
    judge()
    assert Decision.objects.get(incident=old).rule == other  # the first one was not asked about what it is younger than
    new = ask()
    judge()
    assert Decision.objects.get(incident=new).rule == first


@db
def test_a_question_that_was_stored_and_never_judged_is_found_by_the_next_look():
    add()
    incident = ask()  # its kernel dies here
    assert not incident.rules_evaluated
    assert judge() == [incident.pk]


@db
def test_what_nobody_asks_any_more_is_judged_without_a_rule():
    made = add()
    incident = ask()
    decisions.decide(incident.pk, Action.CONTINUE, actor=Actor("user:bob", NOW))
    judge()
    assert again(incident).rules_evaluated
    assert again(made).uses == 0


@db
def test_looking_for_what_is_unjudged_reads_no_other_question():
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plan")
    plan = Incident.objects.filter(rules_evaluated=False).order_by("seq")[:100].explain()
    assert "incident_unevaluated" in plan, plan


@db
def test_expiry_ends_a_rule_on_the_moment():
    add(expires_at=NOW + timedelta(hours=1))
    before, after = ask(), ask(process="other")
    Incident.objects.filter(pk=after.pk).update(rules_evaluated=True)
    judge(NOW + timedelta(minutes=59))
    Incident.objects.filter(pk=after.pk).update(rules_evaluated=False)
    judge(NOW + timedelta(hours=1))
    assert (again(before).state, again(after).state) == ("decided", "open")


@db
def test_a_rule_that_expires_or_is_used_up_between_the_look_and_its_word_says_nothing():
    soon, once = add(expires_at=NOW + timedelta(seconds=1)), add("node:boat", max_uses=1)
    ask(), ask(node="boat"), ask(node="boat", process="second")
    found = evaluation.look(now=NOW)
    assert len(found.matched) == 3
    assert evaluation.step(found, now=NOW + timedelta(seconds=1)).changed == []
    judge(NOW + timedelta(seconds=1))
    assert (again(soon).uses, again(once).uses) == (0, 1)


@db
def test_uses_are_counted_exactly_and_the_next_rule_takes_over():
    short, then = add(max_uses=3), add(action=RuleAction.KILL)
    for number in range(5):
        ask(process=f"p{number}")
    judge()
    assert (again(short).uses, again(then).uses) == (3, 2)
    assert Decision.objects.filter(rule=short).count() == 3


@db
def test_a_person_who_was_quicker_stands_and_costs_no_use():
    made = add()
    incident = ask()
    decisions.decide(incident.pk, Action.KILL, actor=Actor("user:bob", NOW))
    judge()
    assert Decision.objects.get().actor == "user:bob"
    assert again(made).uses == 0


@db
def test_a_rule_that_changes_while_it_is_judged_by_is_read_again():
    made = add()
    incident = ask()
    found = evaluation.look(now=NOW)
    rules.change(made.pk, 1, wording(enabled=False), actor=WHO)
    assert evaluation.step(found, now=NOW).changed == []
    assert not found
    assert not again(incident).rules_evaluated
    judge()
    assert again(incident).state == "open"
    assert Decision.objects.count() == 0


# Guards


@db
def test_a_storm_suspends_the_rule_and_what_it_had_not_answered_stays_open():
    made, later = add(storm_limit=5), add(action=RuleAction.KILL, name="later")
    asked = [ask(process=f"p{number}") for number in range(8)]
    judge()
    states = [again(one).state for one in asked]
    assert states == ["decided"] * 5 + ["open"] * 3
    assert again(made).suspended_at == NOW
    assert "5 decisions of this rule within 60 s" in made.suspended_reason
    assert again(later).uses == 0
    assert again(asked[5]).escalated_at == NOW
    assert AuditEntry.objects.get(action="suspend").actor == "system"
    # Over the storm's window it stays suspended until somebody clears it.
    more = ask(process="late", now=NOW + timedelta(hours=1))
    judge(NOW + timedelta(hours=1))
    assert again(more).state == "open"


@db
def test_rules_together_end_no_more_at_once_than_one_person_may():
    """However high their own limits are, however often they are written anew, and however soon they are cleared."""
    first = add("process:a*", RuleAction.KILL, storm_limit=1000)
    second = add("process:b*", RuleAction.STOP, storm_limit=1000)
    harmless = add("process:c*", storm_limit=1000)
    asked = [ask(process=f"{letter}{number}") for letter in "abc" for number in range(3)]
    judge(two_above=4)
    rules.change(second.pk, 2, wording("process:b*", RuleAction.KILL), actor=WHO, also_waiting=True, two_above=4)
    assert again(second).suspended_reason.startswith("Too many for a rule: rules have killed or stopped 4 processes")
    rules.resume(second.pk, "go on", actor=WHO, also_waiting=True, two_above=4)
    judge(two_above=4)
    more = ask(process="a3")
    judge(two_above=4)
    assert [again(one).state for one in asked] == ["decided"] * 4 + ["open"] * 2 + ["decided"] * 3
    assert (again(more).state, more.escalated_at) == ("open", NOW)
    assert [bool(again(one).suspended_at) for one in (first, second, harmless)] == [True, True, False]
    after = NOW + timedelta(seconds=61)
    rules.resume(first.pk, "looked at it", actor=Actor(WHO.id, after), also_waiting=True, two_above=4)
    judge(after, two_above=4)
    assert again(more).state == "decided"


@db
@pytest.mark.parametrize("action", [RuleAction.KILL, RuleAction.STOP])
def test_a_rule_is_not_switched_on_for_more_that_wait_than_one_person_may_end_at_once(action):
    for number in range(3):
        ask(process=f"p{number}")
    judge()
    keeps = add("process:p2", RuleAction.ASK)  # what a rule before it keeps may be gone in a minute
    given, who = wording(action=action), {"actor": WHO, "also_waiting": True, "two_above": 2}
    with pytest.raises(TooManyAtOnce, match="approval by a second person"):
        rules.add(given, **who)
    assert list(rules.listed()) == [keeps]
    made = add(action=action)
    rules.suspend(made.pk, "odd", actor=WHO)
    with pytest.raises(TooManyAtOnce):
        rules.resume(made.pk, "fine", **who)
    rules.resume(made.pk, "fine", **who | {"also_waiting": False})
    with pytest.raises(TooManyAtOnce):
        rules.change(made.pk, 3, given, **who)
    assert (again(made).revision, made.after_seq > 0) == (3, True)
    judge()
    assert Decision.objects.count() == 0


@db
@pytest.mark.parametrize(
    ("given", "two_above"),
    [({}, 3), ({}, 0), ({"max_uses": 2}, 2), ({"enabled": False}, 2), ({"expires_at": NOW}, 2),
     ({"action": RuleAction.CONTINUE}, 2), ({"condition": "process:p1"}, 2)],
    ids=["few", "no threshold", "few uses", "off", "expired", "continue", "another condition"],
)  # fmt: skip
def test_a_rule_that_ends_few_of_those_that_wait_is_switched_on_for_them(given, two_above):
    for number in range(3):
        ask(process=f"p{number}")
    given = wording(**{"action": RuleAction.KILL, **given})
    assert rules.add(given, actor=WHO, also_waiting=True, two_above=two_above).after_seq == 0


@db
def test_answers_outside_the_window_are_no_storm():
    made = add(storm_limit=2)
    for minute in range(6):
        ask(process=f"p{minute}", now=NOW + timedelta(minutes=minute))
        judge(NOW + timedelta(minutes=minute))
    assert again(made).suspended_at is None
    assert made.uses == 6


@db
def test_clearing_a_suspension_is_audited_and_counts_anew():
    made = add(storm_limit=1)
    ask(process="a"), ask(process="b")
    judge()
    assert again(made).suspended_at
    cleared = rules.resume(made.pk, "looked at it", actor=WHO, also_waiting=True)
    assert (cleared.suspended_at, cleared.suspended_reason) == (None, "")
    assert AuditEntry.objects.get(action="resume").reason == "looked at it"
    judge()
    assert Incident.objects.filter(state="open").count() == 0


def go_round(times):
    """One process that fails on one message, asks, and is told to go on."""
    for _ in range(times):
        incident = ask()
        judge()
    return incident


@db
def test_a_rule_that_lets_one_process_fail_on_one_message_again_and_again_is_suspended():
    made = add(loop_limit=3)
    last = go_round(4)
    assert Decision.objects.count() == 3
    assert again(last).state == "open"
    assert "3 times in a row" in again(made).suspended_reason


@db
def test_a_process_that_gets_further_is_no_loop():
    made = add(loop_limit=2)
    for number in range(6):
        ask(message=f"m{number}")
        judge()
    assert again(made).suspended_at is None
    assert made.uses == 6


# Changing them


@db
def test_every_change_raises_the_revision_and_is_on_record():
    made = add(enabled=False)
    changed = rules.change(made.pk, 1, wording("node:ship2", enabled=True), actor=WHO)
    assert changed.revision == 2
    entry = AuditEntry.objects.get(action="change")
    assert entry.before == {"revision": 1, "condition": "node:ship*", "enabled": False}
    assert entry.after == {"revision": 2, "condition": "node:ship2", "enabled": True}
    with pytest.raises(RuleChanged):
        rules.change(made.pk, 1, wording(), actor=WHO)
    with pytest.raises(RuleError):
        rules.change(made.pk, 2, wording("since:2h"), actor=WHO)
    assert again(made).condition == "node:ship2"


@db
def test_uses_survive_a_change():
    made = add()
    ask()
    judge()
    rules.change(made.pk, 1, wording(name="other"), actor=WHO)
    assert again(made).uses == 1


@db
def test_rules_move_within_their_order():
    first, second, third = add(name="1"), add(name="2"), add(name="3")
    rules.move(third.pk, -1, actor=WHO)
    assert [one.name for one in rules.listed()] == ["1", "3", "2"]
    rules.move(first.pk, 99, actor=WHO)
    assert [(one.name, one.position) for one in rules.listed()] == [("3", 1), ("2", 2), ("1", 3)]
    rules.move(third.pk, -1, actor=WHO)
    assert again(third).revision == 2  # what does not move does not change
    assert again(second).revision == 1


@db
def test_a_removed_rule_answers_nothing_and_still_says_what_it_was():
    made = add()
    incident = ask()
    judge()
    rules.remove(made.pk, "no longer true", actor=WHO)
    other = ask(process="other")
    judge()
    assert again(other).state == "open"
    assert Decision.objects.get(incident=incident).rule.name == "go on"
    assert list(rules.listed()) == []
    with pytest.raises(Row.DoesNotExist):
        rules.resume(made.pk, "", actor=WHO)


@db
def test_a_condition_that_cannot_be_read_any_more_is_passed_by():
    made, then = add(), add()
    Row.objects.filter(pk=made.pk).update(condition="nonsense:x")
    ask()
    judge()
    assert Decision.objects.get().rule == then


@db
def test_there_is_a_bound_on_rules(monkeypatch):
    monkeypatch.setattr(policy, "RULES_MAX", 2)
    add(), add()
    with pytest.raises(RuleError, match="2 rules"):
        add()


# Poison


@db
def test_three_failures_in_a_row_on_one_message_dead_letter_it_once():
    store(event(), event())
    assert DeadLetter.objects.count() == 0
    incident = ask()
    letter = DeadLetter.objects.get()
    assert (letter.failures, letter.incident_id, letter.state) == (3, incident.pk, "kept")
    assert letter.message == {"id": "8841", "method": "REQCopySrc", "data": "x"}
    assert again(incident).state == "open"  # keeping it answers nothing
    store(event())
    assert (again(letter).failures, letter.incident_id) == (4, incident.pk)
    assert DeadLetter.objects.count() == 1


@db
def test_other_messages_between_and_infos_and_no_message_are_no_poison():
    for number in range(6):
        store(event(message=f"m{number % 2}"))
        store(event(message="", process="none"))
        store(event(type=EventType.INFO, process="info"))
    assert DeadLetter.objects.count() == 0


@db
def test_a_batch_with_a_question_and_later_failures_keeps_the_question():
    asked = event(type=EventType.ACTION)
    store(event(), event(), asked, event())
    letter = DeadLetter.objects.get()
    assert (letter.failures, letter.incident_id) == (4, asked.id)


@db
def test_a_message_that_was_sent_again_and_fails_again_is_kept_again():
    store(event(), event(), event())
    DeadLetter.objects.update(state=DeadLetter.State.RESENT)
    store(event())
    assert sorted(DeadLetter.objects.values_list("state", "failures")) == [("kept", 4)]


@db
def test_a_rule_can_match_poison():
    add("consecutive>=3", RuleAction.KILL)
    first = ask()
    judge()
    store(event())
    third = ask()
    judge()
    assert (again(first).state, again(third).state) == ("open", "decided")
    assert ErrorState.objects.get().consecutive == 3


# Dry run


def tried(condition, earlier=(), **given):
    return dry_run(parse_condition(condition), [parse_condition(one) for one in earlier], **given)


@db
def test_a_dry_run_finds_what_the_rule_would_have_had_the_word_on_and_how_it_ended():
    old = ask(process="old", now=NOW - timedelta(days=8))
    mine, yours, other = ask(), ask(process="yours"), ask(node="boat", process="x")
    decisions.decide(mine.pk, Action.KILL, actor=Actor("user:bob", NOW))
    found = tried("node:ship*", since=NOW - timedelta(days=7))
    assert (found.looked_at, found.matched, found.next) == (3, 2, None)
    assert dict(found.ended) == {"kill": 1, "nobody": 1}
    assert [one.pk for one in found.shown] == [yours.pk, mine.pk]
    below = tried("node:ship*", ["process:yours"], since=NOW - timedelta(days=7))
    assert (below.shown, below.matched, below.taken) == ([mine], 1, 1)
    assert tried("node:ship*", since=NOW - timedelta(days=9)).matched == 3
    assert old.pk != other.pk


@db
def test_a_dry_run_in_steps_finds_the_same_as_one_in_one_go(monkeypatch):
    for number in range(25):
        ask(process=f"p{number % 5}", now=NOW - timedelta(minutes=25 - number))
    since = NOW - timedelta(minutes=20)
    whole = tried("process:p1 OR process:p2", since=since)
    monkeypatch.setattr("errorkernel.web.console.dry_run.STEP_INCIDENTS", 3)
    start, looked_at, matched, shown = None, 0, 0, []
    while True:
        part = tried("process:p1 OR process:p2", since=since, start=start, budget_s=0)
        looked_at, matched, shown = looked_at + part.looked_at, matched + part.matched, shown + part.shown
        start = part.next
        if start is None:
            break
        assert 0 <= part.done(NOW) <= 1
    assert (looked_at, matched, shown) == (whole.looked_at, whole.matched, whole.shown)
    assert whole.looked_at == 20


conditions = st.sampled_from(
    ["node:ship1", "node:s*", "-node:ship1", "process:P*", "kind:oserror", "kind:*", "method:*", 'method:""',
     "method:m", "text:100%", "text:_", "file", "level>=error", "level<error", "level:debug", "repeat>1",
     "consecutive>=2", "consecutive:0", "problem:1", "-problem:1", "fingerprint:*a*",
     "-fingerprint:*a*", "fingerprint:x"]
)  # fmt: skip
combined = st.lists(conditions, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), " OR ".join(parts), f"-({' '.join(parts)})"])
)


@db
@settings(max_examples=60, deadline=None)
@given(condition=combined)
def test_the_database_and_the_judge_agree_on_every_condition(condition):
    if not Incident.objects.exists():
        for node, process, text, level, message in (
            ("ship1", "p", "no such FILE", Level.ERROR, "m"), ("ship2", "P2", "100% _ done", Level.DEBUG, ""),
            ("boat", "q", "file", Level.CRITICAL, "m"), ("ship1", "p", "no such FILE", Level.ERROR, "m"),
            ("ship1", "p", "größe", Level.WARNING, "n"),
        ):  # fmt: skip
            ask(text, node=node, process=process, level=level, message=message)
        whole, *_, part = Problem.objects.order_by("pk")
        problems.merge(part.pk, whole.pk, "one disk", actor=WHO)
    condition = condition.replace("problem:1", f"problem:{Problem.objects.earliest('pk').pk}")
    tree = parse_condition(condition)
    stored = Incident.objects.select_related("node", "process", "problem")
    judged = {one.pk for one in stored if rule(condition).matches(evaluation.facts_of(one))}
    assert set(Incident.objects.filter(incident_q(tree)).values_list("pk", flat=True)) == judged
    assert set(Incident.objects.filter(~incident_q(tree)).values_list("pk", flat=True)) == {
        one.pk for one in stored if one.pk not in judged
    }


# The page that explains them

DOCS = ROOT / "docs" / "rules.md"


def test_every_field_of_a_condition_is_documented_and_every_example_is_understood():
    page = DOCS.read_text()
    for name, field in INCIDENT_FIELDS.items():
        assert f"| `{name}` |" in page, name
        parse_condition(field.example)
    blocks = re.findall(r"^```condition\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    conditions = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(conditions) >= 5
    for condition in conditions:
        parse_condition(condition)
    for action in RuleAction:
        assert f"`{action}`" in page
