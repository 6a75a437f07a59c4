"""One answer to many questions: what is shown is what is answered, each once, whoever races, whatever crashes."""

import os
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.ids import uuid7
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.domain.values import Action, Outcome, OutcomeState
from errorkernel.models import AuditEntry, BulkDecision, BulkDecisionItem, Decision, Incident, Outbox
from errorkernel.platform import conf
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import bulk_decisions, decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes, evaluation
from tests.integration.test_pages import NOW, answer, ask, event, person, store
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db
RACED = int(os.environ.get("BULK_QUESTIONS", "120"))
ALICE, BOB = Actor("user:alice", NOW), Actor("user:bob", NOW)


def many(count, *, start=0, **fields):
    return [ask(process=f"p{number}", **fields) for number in range(start, start + count)]


def proposed(questions, who=ALICE, *, action=Action.CONTINUE, **fields):
    fields = {"query": "process:*", "reason": "the disk is back", **fields}
    return bulk_decisions.propose([one.pk for one in questions], who, action=action, **fields)


def known(name):
    """An operator with an account."""
    person(name, "operator")
    return Actor(f"user:{name}", NOW, User.objects.get(username=name))


def approve(bulk_id, who, *, watch_s=60):
    if bulk_decisions.has_canary(BulkDecision.objects.get(pk=bulk_id)):
        return bulk_decisions.approve_canary(bulk_id, who, watch_s=watch_s)
    return bulk_decisions.approve(bulk_id, who)


def carry_out(now=NOW):
    while bulk_decisions.step(now=now).looked:
        pass


def later(who, seconds):
    return Actor(who.id, who.at + timedelta(seconds=seconds))


@pytest.fixture
def alice():
    return person("alice", "operator")


@pytest.fixture
def bob():
    return person("bob", "operator")


@pytest.fixture
def viewer():
    return person("vera", "viewer")


def test_each_is_answered_by_the_one_way_to_answer_with_an_audit_row_of_its_own():
    made = proposed(many(45))
    assert not Decision.objects.exists()
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    made.refresh_from_db()
    assert made.state == "done"
    assert bulk_decisions.results(made) == {"pending": 0, "decided": 45, "already_decided": 0, "withdrawn": 0}
    assert set(Decision.objects.values_list("actor", "action", "reason")) == {
        ("user:alice", "continue", "the disk is back")
    }
    rows = AuditEntry.objects.filter(action="decide", actor="user:alice", origin__endswith=f"bulk_decision:{made.pk}")
    assert rows.count() == Outbox.objects.count() == 45
    told = AuditEntry.objects.filter(target=f"bulk_decision:{made.pk}").order_by("id")
    assert [one.action for one in told] == ["propose", "approve", "done"]


def test_what_opens_after_it_was_shown_is_not_answered():
    made = proposed(many(3))
    unseen = ask(process="later")
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    unseen.refresh_from_db()
    assert unseen.state == "open"


def test_who_was_quicker_stands_and_who_is_gone_is_told_as_gone():
    first, second, third = many(3)
    made = proposed([first, second, third])
    answer(first, Action.KILL, by="bob")
    gone(second)
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    assert bulk_decisions.results(made) == {"pending": 0, "decided": 1, "already_decided": 1, "withdrawn": 1}
    assert bulk_decisions.items(made).get(result="already_decided").incident.decision.actor == "user:bob"
    assert Decision.objects.get(incident=third).actor == "user:alice"


def test_a_crash_in_the_middle_answers_nothing_twice_and_the_rest_later(monkeypatch):
    made = proposed(many(30))
    approve(made.pk, ALICE, watch_s=60)
    bulk_decisions.step(now=NOW)
    given = Decision.objects.count()
    real, calls = decisions.decide, []

    def dies_at_the_fifth(*args, **fields):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(decisions, "decide", dies_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            bulk_decisions.step(now=NOW)
    assert Decision.objects.count() == given == BulkDecisionItem.objects.filter(result="decided").count()
    carry_out()
    assert Decision.objects.count() == 30
    assert bulk_decisions.results(made)["decided"] == 30


def test_no_step_answers_more_than_it_may_hold_the_database_for():
    made = proposed(many(bulk_decisions.AT_ONCE + 1))
    approve(made.pk, ALICE, watch_s=60)
    assert len(bulk_decisions.step(now=NOW).changed) == bulk_decisions.AT_ONCE
    assert len(bulk_decisions.step(now=NOW).changed) == 1


def obeyed(incident, state=OutcomeState.APPLIED, *, at=NOW, detail=""):
    """Its node says what it did with the answer."""
    decision = Decision.objects.get(incident=incident)
    outcome = Outcome(incident.pk, state, decision_id=decision.pk, detail=detail)
    decisions.record_outcome("ship1", outcome, now=at)


def shows(made, after_s=0):
    return bulk_decisions.watched(BulkDecision.objects.get(pk=made.pk), NOW + timedelta(seconds=after_s)).shows


def test_a_canary_is_answered_alone_and_the_rest_only_once_it_was_watched():
    questions = many(4)
    made = proposed(questions, known("alice"), canary=questions[2].pk)
    made, changed = approve(made.pk, ALICE, watch_s=60)
    assert changed == [questions[2].pk]
    carry_out()
    assert Decision.objects.count() == 1
    obeyed(questions[2])
    with pytest.raises(CannotBulk, match="is observed for 1 more seconds"):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 59))
    bulk_decisions.apply_rest(made.pk, later(BOB, 60))
    carry_out()
    assert Decision.objects.count() == 4
    assert set(Decision.objects.values_list("actor", flat=True)) == {"user:alice"}


def test_a_canary_is_watched_from_when_its_process_has_carried_the_answer_out():
    one, other = many(2)
    made = proposed([one, other], canary=one.pk)
    approve(made.pk, ALICE, watch_s=60)
    decisions.mark_delivered([one.pk], now=NOW)
    assert shows(made, 3600) == "pending"
    with pytest.raises(CannotBulk, match="not applied the decision yet"):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 3600))
    obeyed(one, at=NOW + timedelta(hours=1))
    assert [shows(made, 3600 + after_s) for after_s in (0, 59, 60)] == ["watched", "watched", "good"]
    with pytest.raises(CannotBulk, match="is observed for"):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 3659))
    assert bulk_decisions.apply_rest(made.pk, later(ALICE, 3660)).state == "applying"


@pytest.mark.parametrize("carried_out_after_s", [0, 5], ids=["before it returned", "after it returned"])
def test_a_canary_whose_process_meets_the_problem_again_lets_nobody_follow(carried_out_after_s):
    """A killed process may be there anew, and fail, before its node says that the answer has been carried out."""
    one, other = many(2)
    made = proposed([one, other], canary=one.pk)
    made, _ = approve(made.pk, ALICE, watch_s=60)
    assert shows(made) == "pending"
    store(event("disk is gone", process=other.process.name), now=NOW + timedelta(seconds=3))
    store(event("another thing", process=one.process.name), now=NOW + timedelta(seconds=3))
    assert shows(made) == "pending"
    store(event("disk is gone", process=one.process.name), now=NOW + timedelta(seconds=4))
    obeyed(one, at=NOW + timedelta(seconds=carried_out_after_s))
    assert shows(made, 100) == "returned"
    with pytest.raises(CannotBulk, match="The problem has come back"):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 100))
    bulk_decisions.reject(made.pk, later(ALICE, 101), "it came back")
    carry_out()
    assert Decision.objects.count() == 1
    with pytest.raises(CannotBulk):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 200))


def lost(one):
    answer(one, Action.KILL, by="bob", outcome=OutcomeState.APPLIED)


def gone(one):
    decisions.record_outcome("ship1", Outcome(one.pk, OutcomeState.WITHDRAWN), now=NOW)


@pytest.mark.parametrize(
    ("before", "after", "shown", "why"),
    [
        (None, OutcomeState.FAILED, "failed", "could not apply the decision"),
        (None, OutcomeState.STALE, "stale", "arrived too late"),
        (None, OutcomeState.WITHDRAWN, "stale", "arrived too late"),
        (lost, None, "already_decided", "Another actor decided the canary first"),
        (gone, None, "withdrawn", "was withdrawn"),
    ],
)
def test_where_the_canary_did_not_obey_the_others_do_not_follow_and_everybody_is_told_why(
    alice, before, after, shown, why
):
    one, other = many(2)
    made = proposed([one, other], canary=one.pk)
    if before:
        before(one)
    approve(made.pk, ALICE, watch_s=0)
    if after:
        obeyed(one, after, detail="no such child")
    told = alice.get(f"/api/v1/bulk-decisions/{made.pk}").json()
    one.refresh_from_db()
    assert (told["first_shows"], told["first_state"], told["watch_until"]) == (shown, one.state, None)
    assert told["first_detail"] == one.outcome_detail
    refused = alice.post(f"/api/v1/bulk-decisions/{made.pk}/apply-rest", {}, content_type="application/json")
    assert (refused.status_code, why in refused.json()["error"]) == (409, True)
    page = alice.get(reverse("bulk-decision", args=[made.pk])).text
    assert why in page
    assert "the problem did not come back" not in page
    assert "The decision is not applied to the others" in page
    assert "/apply-rest/" not in page
    assert reverse("new-bulk-decision") + "?q=process%3A%2A" in page
    assert alice.post(reverse("bulk-decisions-apply-rest", args=[made.pk])).status_code == 409
    carry_out()
    other.refresh_from_db()
    assert other.state == "open"


def test_the_page_and_the_api_follow_the_canary_until_the_others_may_be_answered(alice):
    one, other = many(2)
    made = proposed([one, other], Actor("user:alice", timezone.now()), canary=one.pk)
    approve(made.pk, Actor("user:alice", timezone.now()), watch_s=60)
    address = reverse("bulk-decision", args=[made.pk])

    def told():
        found = alice.get(f"/api/v1/bulk-decisions/{made.pk}").json()
        return found["first_state"], found["first_shows"], found["watch_until"] is not None

    assert told() == ("decided", "pending", False)
    assert "not applied the decision yet" in alice.get(address).text
    obeyed(one, at=timezone.now())
    assert told() == ("applied", "watched", True)
    page = alice.get(address).text
    assert "is observed for 60 more seconds" in page
    assert "data-progress=" in page
    assert "/apply-rest/" not in page
    Incident.objects.filter(pk=one.pk).update(ended_at=timezone.now() - timedelta(seconds=60))
    assert told() == ("applied", "good", True)
    page = alice.get(address).text
    assert "the problem did not come back" in page
    assert "/apply-rest/" in page
    assert "The decision is not applied to the others" not in page
    assert alice.post(f"{address}apply-rest/").status_code == 302
    carry_out()
    other.refresh_from_db()
    assert other.state == "decided"


def test_a_canary_that_is_no_longer_kept_lets_nobody_follow(alice):
    one, other = many(2)
    made = proposed([one, other], canary=one.pk)
    approve(made.pk, ALICE, watch_s=0)
    Decision.objects.filter(incident=one).delete()
    Incident.objects.filter(pk=one.pk).delete()
    with pytest.raises(CannotBulk, match="no longer stored"):
        bulk_decisions.apply_rest(made.pk, later(ALICE, 60))
    assert "The decision is not applied to the others" in alice.get(reverse("bulk-decision", args=[made.pk])).text


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
def test_nothing_is_answered_in_the_name_of_somebody_who_may_not_answer_any_more(meanwhile):
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


@pytest.mark.parametrize("given", [{"reason": ""}, {"canary": "unknown"}, {"questions": []}])
def test_what_cannot_be_proposed_leaves_nothing_behind(given):
    questions = given.get("questions", many(2))
    outsider = ask(process="outsider").pk
    fields = {"reason": "x", **{k: outsider if k == "canary" else v for k, v in given.items() if k != "questions"}}
    with pytest.raises(CannotBulk):
        proposed(questions, **fields)
    assert not BulkDecision.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_operators_and_a_rule_race_and_every_question_gets_one_answer_that_all_are_told():
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
        found = bulk_decisions.results(made)
        assert (made.state, found["pending"], found["decided"] + found["already_decided"]) == ("done", 0, RACED)
        for item in bulk_decisions.items(made):
            assert (item.result == "decided") == (item.incident.decision.actor == name)


def test_the_pages_propose_confirm_and_show_what_became_of_each(alice):
    one, other = many(2)
    ask("another thing", process="other")
    found = alice.get(reverse("new-bulk-decision"), {"q": f"problem:{one.problem_id}"})
    assert "<b>2</b> pending incidents" in found.text
    form = {"q": f"problem:{one.problem_id}", "action": "continue", "reason": "because"}
    page = alice.post(reverse("bulk-decisions"), form).url
    assert "nothing is decided yet" in alice.get(page).text
    assert alice.post(page + "approve/").status_code == 302
    answer(other, Action.KILL, by="bob")
    carry_out()
    told = alice.get(page).text
    assert "decided" in told
    assert "already decided:" in told
    assert "bob" in told
    assert Incident.objects.filter(state="open").count() == 1
    assert alice.post(page + "approve/").status_code == 409


def test_a_second_person_is_asked_for_and_confirms_on_the_same_page(alice, bob, monkeypatch):
    monkeypatch.setenv("STEWARD_KILL_NEEDS_TWO_ABOVE", "2")
    conf.get.cache_clear()
    many(3)
    page = alice.post(reverse("bulk-decisions"), {"q": "process:p*", "action": "kill", "reason": "because"}).url
    shown = alice.get(page).text
    assert "second person" in shown
    assert "/approve/" not in shown
    assert alice.post(page + "approve/").status_code == 409
    assert "/approve/" in bob.get(page).text
    assert bob.post(page + "approve/").status_code == 302
    carry_out()
    assert Decision.objects.filter(actor="user:alice", action="kill").count() == 3
    conf.get.cache_clear()


def test_viewers_see_how_far_it_is_and_may_do_nothing(viewer, alice):
    one = many(2)[0]
    page = alice.post(reverse("bulk-decisions"), {"q": "process:p*", "action": "continue", "reason": "because"}).url
    assert viewer.get(page).status_code == 200
    assert "<form" not in viewer.get(page).text.split('id="bulk-progress"')[1].split("<h2>")[0]
    for act in ("approve", "approve-canary", "apply-rest", "reject"):
        assert viewer.post(f"{page}{act}/").status_code == 403
    assert viewer.get(reverse("new-bulk-decision")).status_code == 403
    for name, args in (("incidents", []), ("incident", [one.pk]), ("problem", [one.problem_id])):
        assert "Decide all 2 incidents" in alice.get(reverse(name, args=args)).text
        assert "Decide all" not in viewer.get(reverse(name, args=args)).text


@pytest.mark.parametrize("query", ["", "nonsense:1", "process:(", "since:2h"])
def test_a_filter_that_cannot_be_read_proposes_nothing(alice, query):
    many(1)
    form = {"q": query, "action": "continue", "reason": "x"}
    assert alice.post(reverse("bulk-decisions"), form).status_code in (200, 400)
    assert not BulkDecision.objects.exists()


def test_the_api_does_the_same_and_says_why_it_cannot(alice, bob, viewer):
    first, second = many(2)
    proposal = {"action": "kill", "condition": "process:p*", "reason": "because", "first": str(first.pk)}

    def post(client, path, body=None):
        return client.post(f"/api/v1/bulk-decisions{path}", body or {}, content_type="application/json")

    assert post(viewer, "", proposal).status_code == 403
    made = post(alice, "", proposal)
    assert (made.status_code, made.json()["count"], made.json()["state"]) == (201, 2, "proposed")
    one = f"/{made.json()['id']}"
    assert post(viewer, f"{one}/approve").status_code == 403
    assert post(alice, f"{one}/approve").status_code == 409
    assert post(alice, f"{one}/approve-canary").json()["decided"] == 1
    early = post(alice, f"{one}/apply-rest")
    assert (early.status_code, "not applied the decision yet" in early.json()["error"]) == (409, True)
    assert post(bob, f"{one}/reject").json()["state"] == "rejected"
    told = viewer.get(f"/api/v1/bulk-decisions{one}/incidents").json()["items"]
    assert [(row["incident"], row["result"]) for row in told] == [
        (str(first.pk), "decided"),
        (str(second.pk), "pending"),
    ]
    assert told[0]["answer"] == {"action": "kill", "by": "user:alice", "reason": "because"}
    assert viewer.get("/api/v1/bulk-decisions").json()["items"] == [viewer.get(f"/api/v1/bulk-decisions{one}").json()]
    assert post(alice, "/4711/approve").status_code == 404
    for wrong in ({"condition": "process:("}, {"condition": ""}, {"reason": " "}, {"action": "dance"}):
        assert post(alice, "", proposal | wrong).status_code == 400
    assert post(alice, "", proposal | {"condition": "process:nobody", "first": None}).status_code == 409


def test_a_running_kernel_answers_what_was_confirmed(tmp_path):
    product = Product(tmp_path / "data", settings={"STEWARD_CANARY_WATCH_S": "0"}).start()
    try:
        node, token = product.add_node("ship1")["token"], product.token()
        asked = [str(uuid7()) for _ in range(bulk_decisions.AT_ONCE + 5)]
        events = [
            {"v": 1, "id": one, "type": "action", "process": f"p{number}", "error": {"text": "no such file"}}
            for number, one in enumerate(asked)
        ]
        assert product.call("/api/v1/events", node, events)[0] == 202
        wait_for(lambda: len(product.call("/api/v1/incidents", token)[1]["items"]) == len(asked))
        wanted = {"action": "continue", "condition": "process:p*", "reason": "because", "first": asked[3]}
        made = product.call("/api/v1/bulk-decisions", token, wanted)[1]["id"]
        assert product.call(f"/api/v1/bulk-decisions/{made}/approve-canary", token, {})[1]["decided"] == 1
        decision = product.call(f"/api/v1/incidents/{asked[3]}/decision?wait=20", node)[1]["decision_id"]
        outcome = {"state": "applied", "decision_id": decision}
        assert product.call(f"/api/v1/incidents/{asked[3]}/outcome", node, outcome)[0] == 202
        wait_for(lambda: product.call(f"/api/v1/bulk-decisions/{made}", token)[1]["first_shows"] == "good")
        assert product.call(f"/api/v1/bulk-decisions/{made}/apply-rest", token, {})[0] == 200
        done = wait_for(lambda: _if_done(product.call(f"/api/v1/bulk-decisions/{made}", token)[1]))
        assert (done["decided"], done["pending"]) == (len(asked), 0)
        # What was answered has also been sent: the kernel's outbox was told.
        decision = f"/api/v1/incidents/{asked[-1]}/decision?wait=20"
        assert product.call(decision, node)[1]["by"] == "user:admin"
    finally:
        product.stop()


def _if_done(told):
    return told if told["state"] == "done" else None
