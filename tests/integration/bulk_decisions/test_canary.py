"""Bulk decisions with a canary."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.values import Action, OutcomeState
from errorkernel.models import BulkDecision, Decision, Incident
from errorkernel.store.incidents import bulk_decisions, bulk_progress, decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.platform.actor import Actor
from tests.support.bulk_data import ALICE, BOB, approve, carry_out, gone, known, many, obeyed, proposed
from tests.support.page_data import NOW, answer, event, store

pytestmark = pytest.mark.django_db


def later(who, seconds):
    return Actor(who.id, who.at + timedelta(seconds=seconds))


def shows(made, after_s=0):
    return bulk_progress.watched(BulkDecision.objects.get(pk=made.pk), NOW + timedelta(seconds=after_s)).shows


def test_a_canary_is_decided_alone_and_the_rest_only_once_it_was_watched():
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


def test_a_canary_is_watched_from_when_its_process_has_carried_the_decision_out():
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
    """A killed process may run and fail again before its node reports the outcome."""
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


def test_the_page_and_the_api_follow_the_canary_until_the_others_may_be_decided(alice):
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
    assert 'apply-rest/" aria-disabled="true"' in page
    Incident.objects.filter(pk=one.pk).update(ended_at=timezone.now() - timedelta(seconds=60))
    assert told() == ("applied", "good", True)
    page = alice.get(address).text
    assert "the problem did not come back" in page
    assert 'apply-rest/">' in page
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
