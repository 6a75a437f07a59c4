"""The page of pending approvals, the end of proposals, and what their proposers learn."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.values import Action, OutcomeState
from errorkernel.models import AuditEntry, BulkDecision, Decision
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import approvals
from tests.support.bulk_data import many
from tests.support.page_data import answer, ask, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob():
    return person("bob", "operator")


def propose(incidents, name="alice", *, at=None, two_above=2, **fields):
    actor = Actor(f"user:{name}", at or timezone.now(), User.objects.get(username=name))
    fields = {"query": f"problem:{incidents[0].problem_id}", "action": Action.KILL, "reason": "it hangs", **fields}
    return bulk_decisions.propose([one.pk for one in incidents], actor, two_above=two_above, **fields)


def page_of(client):
    return " ".join(client.get(reverse("approvals")).text.split())


def test_the_page_says_who_proposes_what_for_whom_and_what_it_did_before(alice, bob):
    now = timezone.now()
    past = ask(process="p0", now=now - timedelta(hours=3))
    answer(past, Action.KILL, now=now - timedelta(hours=3), outcome=OutcomeState.APPLIED)
    ask(process="p0", now=now - timedelta(hours=2, minutes=30))
    waiting = [*many(2, start=1), *many(1, start=3, node="ship2")]
    bulk = propose(waiting)
    page = page_of(bob)
    assert "<h1" in page
    assert "1 approval pending" in page
    assert '<bdi>alice</bdi> proposes: <span class="worse">Kill and restart</span> 3 processes' in page
    assert "<bdi>FileNotFoundError: disk is gone</bdi>" in page
    assert "“<bdi>it hangs</bdi>”" in page
    assert "Kill and restart: applied 1, came back 1" in page
    assert '<bdi>ship1</bdi></td><td class="num">2</td>' in page
    assert "of 3, 3 still pending" in page
    assert "Nothing has been sent yet." in page
    assert f'data-copy-link="http://testserver/bulk-decisions/{bulk.pk}/"' in page


def test_the_proposer_cannot_press_and_a_viewer_has_no_buttons(alice, bob):
    propose(many(3))
    assert page_of(bob).count('aria-disabled="true"') == 0
    own = page_of(alice)
    assert own.count('aria-disabled="true"') == 2
    assert "A second person must approve it." in own
    viewer = page_of(person("vera", "viewer"))
    assert "<form" not in viewer.partition('data-part="approvals"')[2].partition("</main>")[0]


def test_less_than_was_proposed_can_be_approved_a_canary_of_all(alice, bob):
    bulk = propose(many(3))
    address = reverse("bulk-decisions-approve-canary", args=[bulk.pk])
    assert alice.post(address).status_code == 409
    assert bob.post(address).status_code == 302
    bulk.refresh_from_db()
    assert (bulk.state, bulk.approved_by, bulk.then_rest) == ("canary", "user:bob", False)
    assert list(Decision.objects.values_list("incident", flat=True)) == [bulk.canary_id]


def test_more_than_was_proposed_cannot_be_approved_all_where_a_canary_was_chosen(alice, bob):
    waiting = many(3)
    bulk = propose(waiting, canary=waiting[0].pk, then_rest=True)
    assert "Approve all" not in page_of(bob)
    assert "the other 2 follow by themselves" in page_of(bob)
    assert bob.post(reverse("bulk-decisions-approve", args=[bulk.pk])).status_code == 409


def test_a_rejection_and_its_reason_reach_the_proposer(alice, bob):
    bulk = propose(many(3))
    bob.post(reverse("bulk-decisions-reject", args=[bulk.pk]), {"reason": "the disks come at noon"})
    assert AuditEntry.objects.get(action="reject").reason == "the disks come at noon"
    assert "rejected by <bdi>bob</bdi></span>: “<bdi>the disks come at noon</bdi>”" in page_of(alice)
    shown = " ".join(alice.get(reverse("bulk-decision", args=[bulk.pk])).text.split())
    assert "“<bdi>the disks come at noon</bdi>”" in shown


def test_a_proposal_that_expires_is_told_to_its_proposer_until_the_note_is_closed(alice, bob):
    now = timezone.now()
    bulk = propose(many(3), at=now - timedelta(minutes=20))
    assert bulk_decisions.step(now=now).looked
    note = "Your proposal expired because nobody approved it: Kill and restart for 3 processes."
    assert note in page_of(alice)
    assert note in " ".join(alice.get(reverse("problems")).text.split())
    assert note not in page_of(bob)
    assert "expired, nobody approved" in page_of(bob)
    alice.post(reverse("bulk-decisions-close-note", args=[bulk.pk]))
    assert note not in page_of(alice)


def test_the_page_costs_the_same_number_of_queries_for_many_proposals(alice, bob):
    def count():
        with CaptureQueriesContext(connection) as asked:
            page_of(bob)
        return len(asked)

    propose(many(3))
    bulk_decisions.reject(propose(many(3, start=10)).pk, Actor("user:bob", timezone.now()), "no")
    few = count()
    for number in range(5):
        propose(many(3, start=20 + 10 * number, node=f"ship{number}"))
        bulk_decisions.reject(propose(many(3, start=100 + 10 * number)).pk, Actor("user:bob", timezone.now()), "no")
    assert count() == few
    assert len(approvals.open_proposals(timezone.now())) == 6
    assert BulkDecision.objects.filter(state="rejected").count() == 6
