"""Guards suspend rules: storms, loops, kills of many."""

from datetime import timedelta

import pytest

from errorkernel.domain.rule_policy import RuleAction
from errorkernel.models import AuditEntry, Decision, Incident
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes as rules
from errorkernel.store.rules.changes import TooManyAtOnce
from tests.support.rule_data import NOW, WHO, add, again, ask, db, judge, wording

# Guards


@db
def test_a_storm_suspends_the_rule_and_what_it_had_not_decided_stays_open():
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
    """With any limits of their own, after any number of changes, and however soon they are resumed."""
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
def test_decisions_outside_the_window_are_no_storm():
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
    """One process that fails on one message, blocks, and is continued."""
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
