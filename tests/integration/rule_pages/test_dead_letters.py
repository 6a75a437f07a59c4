"""Dead letters on pages."""

import pytest
from django.utils import timezone

from errorkernel.domain.values import Outcome, OutcomeState
from errorkernel.models import AuditEntry, DeadLetter
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.incidents.requeues import Wanted, Wish
from errorkernel.store.platform.actor import Actor
from tests.support.rule_data import ask, event, store

pytestmark = pytest.mark.django_db


def test_a_dead_letter_is_shown_with_its_message_and_the_incident_says_poison(alice):
    store(event(), event())
    incident = ask()
    page = alice.get("/dead-letters/").content.decode()
    for chosen, count in (
        ("node=ship1&state=kept", 1),
        ("process=copy-files", 1),
        ("node=ship", 0),
        ("state=dropped", 0),
    ):
        assert alice.get(f"/dead-letters/?{chosen}").content.decode().count('id="letter-') == count, chosen
    assert alice.get("/dead-letters/?state=gone").status_code == 400
    assert "8841" in page
    assert f"/incidents/{incident.pk}/" in page
    assert "poison" in alice.get(f"/incidents/{incident.pk}/").content.decode()


def test_a_dead_letter_that_nobody_asked_about_is_sent_again_or_dropped_on_its_page(alice, viewer):
    store(event(), event(), event())
    store(*(event(message="other") for _ in range(3)))
    other, first = DeadLetter.objects.order_by("-id")
    page = alice.get("/dead-letters/?state=kept").content.decode()
    requeue = f"/dead-letters/{first.pk}/requeue/?state=kept"
    assert page.count(f' action="{requeue}"') == 1
    assert "/requeue/" not in viewer.get("/dead-letters/").content.decode()
    assert viewer.post(requeue).status_code == 403
    assert alice.post(f"/dead-letters/{first.pk}/dead-letter/").status_code == 404
    assert alice.get(requeue).url == "/dead-letters/"
    done = alice.post(requeue, {"reason": "there is space"})
    assert done.url == f"/dead-letters/?state=kept#letter-{first.pk}"
    assert alice.post(f"/dead-letters/{first.pk}/drop/").status_code == 409
    assert alice.post(f"/dead-letters/{other.pk}/drop/", {"reason": "old"}).status_code == 302
    assert alice.post("/dead-letters/4711/drop/").status_code == 404
    page = alice.get("/dead-letters/").content.decode()
    assert all(one in page for one in ("requeued by", "there is space", "dropped by", "old", "alice"))
    assert "/requeue/" not in page, "one is on its way, the other gone"
    entries = AuditEntry.objects.filter(target__startswith="dead-letter:").values_list("actor", "action", "reason")
    assert list(entries.order_by("pk")) == [
        ("user:alice", "requeue", "there is space"), ("user:alice", "drop", "old"),
    ]  # fmt: skip


def sent_again(letter, outcome=None):
    """The letter after it was sent to its process again, and after what came of that."""
    row = requeues.dispose_of_letter(letter.pk, Wanted(Wish.REQUEUE), actor=Actor("user:alice", timezone.now()))
    if outcome:
        told = Outcome(row.pk, outcome, detail="still no space")
        assert requeues.record_outcome("ship1", told, now=timezone.now())[0] is OutcomeResult.CHANGED
    letter.refresh_from_db()
    return letter


@pytest.mark.parametrize("asked", [False, True])
def test_a_dead_letter_whose_process_failed_on_it_again_waits_for_somebody_as_before(alice, asked):
    store(event(), event())
    if asked:
        decisions.record_outcome("ship1", Outcome(ask().pk, OutcomeState.WITHDRAWN), now=timezone.now())
    else:
        store(event())
    letter = sent_again(DeadLetter.objects.get())
    assert letter.state == "resent"
    assert 'id="letter-' not in alice.get("/dead-letters/?state=kept").content.decode()
    requeues.record_outcome("ship1", Outcome(letter.requeues.get().pk, OutcomeState.FAILED), now=timezone.now())
    page = alice.get("/dead-letters/?state=kept").content.decode()
    assert page.count('id="letter-') == 1
    assert "failed again" in page
    assert f"/dead-letters/{letter.pk}/requeue/" in page
    assert sent_again(letter, OutcomeState.APPLIED).state == "resent"
    assert [one.state for one in letter.requeues.all()] == ["failed", "applied"]


@pytest.mark.parametrize("outcome", [None, OutcomeState.APPLIED, OutcomeState.FAILED])
def test_a_message_that_fails_again_has_no_second_dead_letter(alice, outcome):
    store(event(), event(), event())
    letter = sent_again(DeadLetter.objects.get(), outcome)
    store(event())
    [again] = DeadLetter.objects.all()
    assert (again.pk, again.state, again.failures, again.first_at) == (letter.pk, "kept", 4, letter.first_at)
    # It is what there is to do, but cannot be sent while it is on its way.
    page = alice.get("/dead-letters/?state=kept").content.decode()
    assert "requeued by" in page
    assert ("/requeue/" in page) == (outcome is not None)
    if outcome is None:
        requeues.record_outcome("ship1", Outcome(letter.requeues.get().pk, OutcomeState.FAILED), now=timezone.now())
        assert DeadLetter.objects.get().state == "kept"
    assert alice.post(f"/dead-letters/{letter.pk}/drop/").status_code == 302
    store(event())
    assert [one.state for one in DeadLetter.objects.order_by("id")] == ["dropped", "kept"]


def test_a_message_that_was_sent_again_and_is_kept_by_hand_is_the_same_dead_letter(alice):
    store(event(), event())
    incident = ask()
    decisions.record_outcome("ship1", Outcome(incident.pk, OutcomeState.WITHDRAWN), now=timezone.now())
    letter = sent_again(DeadLetter.objects.get(), OutcomeState.APPLIED)
    assert alice.post(f"/incidents/{incident.pk}/dead-letter/").status_code == 302
    [kept] = DeadLetter.objects.all()
    assert (kept.pk, kept.state) == (letter.pk, "kept")


def test_an_operator_keeps_a_message_on_the_page_of_its_incident(alice):
    incident = ask()
    act = f"/incidents/{incident.pk}/dead-letter/"
    assert alice.post(act).status_code == 409, "its process still has it"
    decisions.record_outcome("ship1", Outcome(incident.pk, OutcomeState.WITHDRAWN), now=timezone.now())
    assert f'formaction="{act}"' in alice.get(f"/incidents/{incident.pk}/").content.decode()
    assert alice.post(act, {"reason": "ask Bob"}).url == f"/incidents/{incident.pk}/"
    for page in (f"/incidents/{incident.pk}/", "/dead-letters/"):
        shown = alice.get(page).content.decode()
        assert all(one in shown for one in ("kept as a dead letter by", "alice", "ask Bob")), page
    # One that is kept because it is poison is the same one.
    store(event(), event(), event())
    [letter] = DeadLetter.objects.all()
    assert (letter.incident_id, letter.failures) == (incident.pk, 4)
    assert alice.post(f"/dead-letters/{letter.pk}/drop/").status_code == 302
    assert DeadLetter.objects.get().state == "dropped"
    assert alice.post(act).status_code == 409
