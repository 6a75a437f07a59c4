"""Deciding an incident by the form of a page."""

import re
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from errorkernel.domain.values import (
    Outcome,
    OutcomeState,
)
from errorkernel.models import AuditEntry, Decision, Incident, Outbox
from errorkernel.store.incidents import decisions
from tests.support.page_data import NOW, ask, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob():
    return person("bob", "operator")


def send(client, incident, action, reason="", *, script=False, **fields):
    headers = {"X-Steward-Card": "1"} if script else {}
    data = {"action": action, "reason": reason, **fields}
    return client.post(reverse("incidents-decision", args=[incident.pk]), data, headers=headers)


# Answering


def test_a_decision_works_without_script_and_leads_back_to_the_page(alice):
    incident = ask()
    response = send(alice, incident, "kill", "stuck", next="/?x=1", request_id="r1")
    assert (response.status_code, response["Location"]) == (302, "/?x=1")
    decision = Decision.objects.get()
    assert (decision.action, decision.actor, decision.reason) == ("kill", "user:alice", "stuck")
    assert decision.user is not None
    assert Incident.objects.get().state == "decided"
    assert Outbox.objects.count() == 1
    entry = AuditEntry.objects.get(action="decide")
    assert entry.origin.startswith("127.0.0.1 session ")
    assert "You decided kill" in alice.get("/").content.decode()


def test_the_page_after_a_decision_is_one_of_ours(alice):
    incident = ask()
    response = send(alice, incident, "continue", next="https://evil.example/")
    assert response["Location"] == reverse("incident", args=[incident.pk])


def test_sending_the_same_form_twice_counts_once(alice):
    incident = ask()
    for _ in range(2):
        assert send(alice, incident, "continue", request_id="same").status_code == 302
    assert Decision.objects.count() == 1
    response = send(alice, incident, "kill", "now kill", request_id="same")
    assert response.status_code == 409
    assert "You decided continue" in response.content.decode()


def test_the_second_person_is_told_who_was_first_and_why(alice, bob):
    incident = ask()
    assert send(bob, incident, "kill", "disk is being <b>replaced</b>").status_code == 302
    response = send(alice, incident, "continue")
    html = response.content.decode()
    assert response.status_code == 409
    assert re.search(r"bob decided kill \d\.\d s earlier: disk is being &lt;b&gt;replaced", html)
    assert Decision.objects.get().actor == "user:bob"


def test_a_script_gets_the_card_alone(alice, bob):
    incident = ask()
    won = send(bob, incident, "continue", script=True)
    lost = send(alice, incident, "kill", "why not", script=True)
    for response, status in ((won, 200), (lost, 409)):
        html = response.content.decode()
        assert response.status_code == status
        assert response["X-Steward-Card"] == "1"
        assert html.lstrip().startswith("<article")
        assert re.search(r"decided <b>continue</b> by\s+<bdi>bob</bdi>", html)
    assert "bob decided continue" in lost.content.decode()


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_killing_needs_a_reason_and_keeps_what_was_typed(alice, action, script):
    incident = ask()
    response = send(alice, incident, action, "   ", script=script)
    assert response.status_code == 400
    assert "needs a reason" in response.content.decode()
    response = send(alice, incident, action, "x" * 1001, script=script)
    assert response.status_code == 400
    assert "x" * 1001 in response.content.decode()
    assert Incident.objects.get().state == "open"


def test_what_is_not_a_decision_is_refused(alice):
    incident = ask()
    for action in ("", "delete", "Kill"):
        assert send(alice, incident, action, "why").status_code == 400
    unknown = Incident(pk=UUID(int=7))
    assert send(alice, unknown, "continue").status_code == 404
    assert send(alice, unknown, "kill").status_code == 404
    assert alice.get(reverse("incidents-decision", args=[incident.pk])).status_code == 302
    assert Incident.objects.get().state == "open"


def test_an_incident_that_no_longer_stands_cannot_be_decided(alice):
    incident = ask()
    decisions.record_outcome("ship1", Outcome(incident=incident.pk, state=OutcomeState.WITHDRAWN), now=NOW)
    response = send(alice, incident, "continue")
    assert response.status_code == 409
    assert "no longer pending" in response.content.decode()


def test_viewers_and_strangers_cannot_decide(viewer, client):
    incident = ask()
    assert send(viewer, incident, "continue").status_code == 403
    assert send(client, incident, "continue").status_code == 302
    assert send(client, incident, "continue", script=True).status_code == 401
    assert Incident.objects.get().state == "open"
    assert 'data-may-decide="no"' in viewer.get("/").content.decode()


def test_an_answer_without_its_token_is_refused():
    person("alice", "operator")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    incident = ask()
    response = send(strict, incident, "continue")
    assert response.status_code == 403
    assert "Request rejected" in response.content.decode()
    assert Incident.objects.get().state == "open"
