"""One decision for a problem's pending incidents: canary and then the rest, all, or some; and what refuses it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from errorkernel.domain.canary import APPLIED_WITHIN
from errorkernel.domain.values import Action, OutcomeState
from errorkernel.models import AuditEntry, BulkDecision, Decision, Incident, Node
from errorkernel.store.incidents import bulk_decisions, group_decisions, takes
from errorkernel.store.incidents.bulk_decisions import LASTS, CannotBulk
from errorkernel.store.incidents.group_decisions import Choice
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.console import decider
from tests.support.bulk_data import carry_out, known, obeyed
from tests.support.page_data import NOW, answer, ask, person

pytestmark = pytest.mark.django_db
WATCH_S = 60


def group(count=3, **fields):
    return [ask(process=f"ingest-{number}", **fields) for number in range(count)]


def decide(asked, actor, action=Action.CONTINUE, **choice):
    choice = {"reason": "the disk is back", **choice}
    two_above = choice.pop("two_above", 0)
    made, decided = group_decisions.decide(
        asked[0].problem_id, Choice(action, **choice), actor, watch_s=WATCH_S, two_above=two_above
    )
    return made, decided


def decided_count(action=Action.CONTINUE):
    return Decision.objects.filter(action=action.value).count()


def test_the_rest_follows_a_canary_that_did_well_as_the_person_who_ordered_it() -> None:
    alice, asked = known("alice"), group()
    bulk, decided = decide(asked, alice)
    assert (bulk.state, bulk.then_rest, decided) == ("canary", True, [bulk.canary_id])
    late = ask(process="ingest-late")
    obeyed(bulk.canary)
    carry_out(NOW + timedelta(seconds=WATCH_S - 1))
    assert decided_count() == 1
    carry_out(NOW + timedelta(seconds=WATCH_S))
    bulk.refresh_from_db()
    assert (bulk.state, decided_count()) == ("done", 3)
    assert set(Decision.objects.values_list("actor", flat=True)) == {"user:alice"}
    assert Incident.objects.get(pk=late.pk).state == "open"
    followed = AuditEntry.objects.get(action="apply-rest")
    assert (followed.actor, followed.origin) == ("user:alice", f"kernel bulk_decision:{bulk.pk}")
    carry_out(NOW + timedelta(hours=1))
    assert decided_count() == 3


@pytest.mark.parametrize("shows", ["returned", "failed", "timed_out", "proposer_may_not_decide"])
def test_the_rest_stays_pending_where_the_canary_does_not_show_that_it_works(shows: str) -> None:
    alice, asked = known("alice"), group()
    bulk, _ = decide(asked, alice)
    later = NOW + timedelta(seconds=WATCH_S)
    if shows == "timed_out":
        later = NOW + APPLIED_WITHIN
    elif shows == "failed":
        obeyed(bulk.canary, OutcomeState.FAILED)
    else:
        obeyed(bulk.canary)
    if shows == "returned":
        ask(process=bulk.canary.process.name, now=NOW + timedelta(seconds=5))
    if shows == "proposer_may_not_decide":
        alice.user.groups.clear()
    carry_out(later)
    carry_out(later + timedelta(hours=1))
    bulk.refresh_from_db()
    assert (bulk.state, bulk.held, decided_count()) == ("canary", shows, 1)
    assert AuditEntry.objects.get(action="hold-rest").after["held"] == shows
    bob = known("bob")
    # What is held back is free for another decision.
    again, _ = decide(asked, bob, Action.KILL, canary_first=False)
    assert (again.state, decided_count(Action.KILL)) == (
        "done",
        Incident.objects.filter(problem=asked[0].problem_id).count() - 1,
    )


def test_all_and_some_and_one_are_decided_at_once() -> None:
    alice = known("alice")
    asked = [*group(2, tags={"release": "1.4.2"}), *(ask(process=f"b-{n}", node="ship2") for n in range(3))]
    for choice, expected in (
        ({"release": "1.4.2", "node": "ship1"}, 2),
        ({"incidents": [asked[2].pk]}, 3),
        ({"condition": "process:b-1"}, 4),
        ({}, 5),
    ):
        bulk, _ = decide(asked, alice, canary_first=False, **choice)
        assert (bulk.state, decided_count()) == ("done", expected)
    only = ask("another", process="alone", kind="Other")
    bulk, _ = decide([only], alice, Action.KILL, two_above=0)
    assert (bulk.state, bulk.count, bulk.canary_id) == ("done", 1, None)


def test_a_large_kill_waits_for_a_second_person_and_keeps_its_scope() -> None:
    alice, bob, asked = known("alice"), known("bob"), group()
    bulk, decided = decide(asked, alice, Action.KILL, two_above=2)
    assert (bulk.state, bulk.then_rest, decided) == ("proposed", True, [])
    carry_out()
    assert not Decision.objects.exists()
    bulk_decisions.approve_canary(bulk.pk, bob, watch_s=WATCH_S)
    obeyed(bulk.canary)
    carry_out(NOW + timedelta(seconds=WATCH_S))
    bulk.refresh_from_db()
    assert (bulk.state, bulk.approved_by, decided_count(Action.KILL)) == ("done", "user:bob", 3)
    made = Decision.objects.filter(incident=bulk.canary_id).get()
    assert (made.approved_by, decider(made)) == ("user:bob", "alice, approved by bob")
    assert (
        AuditEntry.objects.get(action="decide", target=f"incident:{bulk.canary_id}").after["approved_by"] == "user:bob"
    )
    shown = person("carol", "viewer").get(f"/api/v1/incidents/{bulk.canary_id}").json()["decision"]
    assert (shown["by"], shown["approved_by"]) == ("user:alice", "user:bob")


def test_a_proposal_that_lapses_is_told_to_its_proposer() -> None:
    alice, asked = known("alice"), group()
    bulk, _ = decide(asked, alice, Action.KILL, two_above=2)
    assert bulk_decisions.expired_unseen(alice.user_id) == []
    carry_out(NOW + LASTS)
    assert bulk_decisions.expired_unseen(alice.user_id) == [bulk]
    assert AuditEntry.objects.filter(action="expire", target=f"bulk_decision:{bulk.pk}").count() == 1
    with pytest.raises(CannotBulk):
        bulk_decisions.close_note(bulk.pk, known("bob"))
    bulk_decisions.close_note(bulk.pk, alice)
    assert bulk_decisions.expired_unseen(alice.user_id) == []
    with pytest.raises(CannotBulk, match="expired"):
        bulk_decisions.approve(bulk.pk, known("carol"))


def test_what_is_decided_by_another_bulk_decision_is_refused_with_its_name() -> None:
    asked = group()
    bulk, _ = decide(asked, known("alice"))
    with pytest.raises(CannotBulk, match=rf"alice has already decided continue .*decision {bulk.pk}") as refused:
        decide(asked, known("bob"), Action.KILL)
    assert refused.value.code == "bulk_decision_in_progress"
    bulk_decisions.reject(bulk.pk, known("carol"))
    assert decide(asked, known("dave"), Action.KILL)[0].state == "canary"


def test_a_decision_that_was_made_is_applied_to_the_others_as_their_canary() -> None:
    alice, asked = known("alice"), group(4)
    answer(asked[0], outcome=OutcomeState.APPLIED)
    with pytest.raises(CannotBulk, match="was decided continue"):
        decide(asked, alice, Action.KILL, canary=asked[0].pk)
    bulk, decided = decide(asked, alice, canary=asked[0].pk)
    assert (bulk.state, bulk.count, decided) == ("canary", 4, [])
    carry_out(NOW + timedelta(seconds=WATCH_S))
    bulk.refresh_from_db()
    assert (bulk.state, decided_count()) == ("done", 4)
    # One that came back shows that the others must not follow.
    again = [ask("gone again", process=f"x-{n}", kind="X") for n in range(3)]
    answer(again[0], outcome=OutcomeState.APPLIED)
    ask("gone again", process="x-0", kind="X", now=NOW + timedelta(seconds=9))
    bulk, _ = decide(again, Actor(alice.id, NOW + timedelta(seconds=20), alice.user), canary=again[0].pk)
    carry_out(NOW + timedelta(seconds=WATCH_S))
    bulk.refresh_from_db()
    assert (bulk.state, bulk.held) == ("canary", "returned")


def test_the_canary_is_free_alive_and_not_poisonous() -> None:
    alice = known("alice")
    taken, gone, failing, good, younger = (
        ask(process=f"c-{n}", node=f"ship{n}", now=NOW - timedelta(minutes=10 - n)) for n in range(5)
    )
    takes.take_incident(taken.pk, 30, known("bob"))
    Node.objects.update(late_at=NOW + timedelta(seconds=9), gone_at=NOW + timedelta(seconds=99))
    Node.objects.filter(pk=gone.node_id).update(late_at=NOW, gone_at=NOW)
    Incident.objects.filter(pk=failing.pk).update(consecutive=3)
    for asked in (good, younger, failing, gone, taken):
        rows = group_decisions.Pending.rows(Incident.objects.filter(state="open"))
        assert group_decisions.choose_canary(rows, alice) == asked.pk
        answer(asked)


def test_the_form_and_the_api_decide_a_group_once() -> None:
    page = person("alice", "operator")
    asked = group(3, now=timezone.now())
    address = f"/problems/{asked[0].problem_id}/decision/"
    form = {"action": "continue", "scope": "canary", "node": "ship1", "request_id": "a", "next": "/"}
    assert page.post(address, form).url == "/"
    assert page.post(address, form).status_code == 302
    assert BulkDecision.objects.count() == 1
    script = {"X-Steward-Card": "1"}
    refused = page.post(address, form | {"request_id": "b"}, headers=script)
    assert (refused.status_code, "already decided" in refused.text) == (409, True)
    api = f"/api/v1/problems/{asked[0].problem_id}/decision"
    for body, status, code in (
        ({"action": "kill"}, 400, "missing_field"),
        ({"action": "kill", "reason": "x", "node": "ship1"}, 400, "invalid_field"),
        ({"action": "kill", "reason": "x", "scope": "chosen"}, 400, "invalid_field"),
        ({"action": "kill", "reason": "x", "scope": "chosen", "condition": "nod:a"}, 400, "invalid_search"),
        ({"action": "kill", "reason": "x", "scope": "chosen", "node": "nowhere"}, 409, "no_incident_matches"),
        ({"action": "kill", "reason": "x", "scope": "some"}, 400, "invalid_field"),
        ({"action": "kill", "reason": "x"}, 409, "bulk_decision_in_progress"),
    ):
        found = page.post(api, body, "application/json")
        assert (found.status_code, found.json()["code"]) == (status, code), found.json()
    bulk_decisions.reject(BulkDecision.objects.get().pk, known("bob"))
    body = {"action": "kill", "reason": "x", "scope": "chosen", "incidents": [str(asked[2].pk)], "request_id": 7}
    made = [page.post(api, body, "application/json").json() for _ in range(2)]
    assert made[0] == made[1]
    assert (made[0]["state"], made[0]["decided"], made[0]["problem"]) == ("done", 1, asked[0].problem_id)
    assert page.post("/api/v1/problems/999/decision", body | {"request_id": 8}, "application/json").status_code == 404
    viewer = person("victor", "viewer")
    assert viewer.post(api, body, "application/json").status_code == 403
