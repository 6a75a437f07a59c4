"""Stored rules decide stored incidents."""

from datetime import timedelta

import pytest
from django.db import connection

from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import Action, OnDeadline
from errorkernel.models import AuditEntry, Decision, Incident, Outbox
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes as rules
from errorkernel.store.rules import evaluation
from tests.support.rule_data import NOW, WHO, add, again, ask, db, judge, wording


@db
def test_a_rule_decides_and_everything_says_which_one_in_which_revision():
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
def test_nothing_is_decided_where_no_rule_speaks_and_it_is_asked_about_once():
    add("node:other")
    incident = ask()
    judge()
    assert (again(incident).state, incident.rules_evaluated) == ("open", True)
    assert not evaluation.look(now=NOW)


@db
def test_a_rule_that_escalates_marks_the_incident_and_its_deadline_is_met_all_the_same():
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
def test_an_incident_that_was_stored_and_never_judged_is_found_by_the_next_look():
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
def test_looking_for_what_is_unjudged_reads_no_other_incident():
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
