"""Bulk decisions that need approval."""

import os
import threading

import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.domain.values import Action
from errorkernel.models import AuditEntry, BulkDecision, Decision, Outbox
from errorkernel.platform import conf
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import bulk_decisions, bulk_progress, decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes, evaluation
from tests.support.bulk_data import ALICE, BOB, approve, carry_out, known, many, obeyed, proposed
from tests.support.page_data import NOW, ask

pytestmark = pytest.mark.django_db
RACED = int(os.environ.get("BULK_QUESTIONS", "120"))


@pytest.mark.parametrize("action", [Action.KILL, Action.STOP])
def test_many_are_killed_only_when_a_second_person_confirms(action):
    made = proposed(many(3), known("alice"), action=action, two_above=2)
    with pytest.raises(CannotBulk, match="second person"):
        approve(made.pk, ALICE, watch_s=60)
    made, _ = approve(made.pk, BOB, watch_s=60)
    carry_out()
    assert made.approved_by == "user:bob"
    assert Decision.objects.filter(actor="user:alice", action=action).count() == 3


@pytest.mark.parametrize(("action", "two_above"), [(Action.CONTINUE, 2), (Action.KILL, 3), (Action.KILL, 0)])
def test_one_person_may_continue_many_and_kill_few(action, two_above):
    made = proposed(many(3), action=action, two_above=two_above)
    assert approve(made.pk, ALICE, watch_s=60)[0].state == "applying"


def test_the_proposer_is_no_second_person_with_a_token_or_under_a_new_name(alice, monkeypatch):
    monkeypatch.setenv("STEWARD_KILL_NEEDS_TWO_ABOVE", "2")
    conf.get.cache_clear()
    many(3)
    page = alice.post(reverse("bulk-decisions"), {"q": "process:p*", "action": "kill", "reason": "because"}).url
    confirm = f"/api/v1/bulk-decisions/{BulkDecision.objects.get().pk}/approve"
    token = api_tokens.add(User.objects.get(), actor=Actor("user:alice", timezone.now()))
    for name in ("alice", "alicia"):
        User.objects.update(username=name)
        by_token = Client().post(confirm, {}, "application/json", headers={"Authorization": f"Bearer {token}"})
        assert (by_token.status_code, "second person" in by_token.json()["error"]) == (409, True)
        assert alice.post(f"{page}approve/").status_code == 409
        assert "second person" in alice.get(page).text
    carry_out()
    assert not Decision.objects.exists()
    conf.get.cache_clear()


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda user: user.groups.clear(),
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        lambda user: user.delete(),
    ],
    ids=["left the group", "was deactivated", "is gone"],
)
def test_nothing_is_decided_in_the_name_of_somebody_who_may_not_decide_any_more(meanwhile):
    questions, asker, other = many(4), known("alice"), known("bob")
    made, second = proposed(questions[:2], asker), proposed(questions[2:], asker, canary=questions[2].pk)
    approve(second.pk, asker, watch_s=0)
    obeyed(questions[2])
    meanwhile(User.objects.get(username="alice"))
    with pytest.raises(CannotBulk, match="user:alice proposed it and no longer has the permission to decide"):
        approve(made.pk, other, watch_s=60)
    with pytest.raises(CannotBulk, match="no longer has the permission to decide"):
        bulk_decisions.apply_rest(second.pk, other)
    carry_out()
    assert Decision.objects.count() == 1
    assert bulk_decisions.reject(made.pk, other).state == "rejected"


def test_an_old_proposal_cannot_be_confirmed_nor_one_twice():
    made = proposed(many(2))
    with pytest.raises(CannotBulk, match="has expired"):
        approve(made.pk, Actor("user:bob", NOW + bulk_decisions.LASTS), watch_s=60)
    approve(made.pk, ALICE, watch_s=60)
    with pytest.raises(CannotBulk, match="already approved"):
        approve(made.pk, BOB, watch_s=60)


@pytest.mark.parametrize("given", [{"reason": "", "action": Action.KILL}, {"canary": "unknown"}, {"questions": []}])
def test_what_cannot_be_proposed_leaves_nothing_behind(given):
    questions = given.get("questions", many(2))
    outsider = ask(process="outsider").pk
    fields = {"reason": "x", **{k: outsider if k == "canary" else v for k, v in given.items() if k != "questions"}}
    with pytest.raises(CannotBulk):
        proposed(questions, **fields)
    assert not BulkDecision.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_operators_and_a_rule_race_and_every_incident_gets_one_decision_that_all_are_told():
    """``BULK_QUESTIONS=2000`` is the full size."""
    questions = many(RACED)
    mine, theirs = proposed(questions), proposed(questions[::-1], BOB, action=Action.KILL)
    wording = RuleDefinition("n", "process:*", RuleAction.CONTINUE, "by rule", enabled=True, storm_limit=RACED + 1)
    changes.add(wording, actor=Actor("user:carol", NOW), also_waiting=True)
    approve(mine.pk, ALICE, watch_s=60)
    approve(theirs.pk, BOB, watch_s=60)
    errors = []

    def run(work):
        try:
            work()
        except Exception as exc:
            errors.append(exc)
        finally:
            connections.close_all()

    def judge():
        while found := evaluation.look(now=NOW):
            while found:
                evaluation.step(found, now=NOW)

    def one_by_one():
        for one in questions[:: max(1, RACED // 40)]:
            try:
                told = decisions.decide(one.pk, Action.STOP, actor=Actor("user:dora", NOW), reason="by hand")
            except decisions.AlreadyDecided as exc:
                told = exc.decision
            assert told == Decision.objects.get(incident=one)

    threads = [threading.Thread(target=run, args=(work,)) for work in (carry_out, carry_out, judge, one_by_one)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    close_old_connections()
    assert errors == []
    assert Decision.objects.count() == AuditEntry.objects.filter(action="decide").count() == RACED
    assert Outbox.objects.count() == RACED
    for made, name in ((mine, "user:alice"), (theirs, "user:bob")):
        made.refresh_from_db()
        found = bulk_progress.results(made)
        assert (made.state, found["pending"], found["decided"] + found["already_decided"]) == ("done", 0, RACED)
        for item in bulk_decisions.items(made):
            assert (item.result == "decided") == (item.incident.decision.actor == name)
