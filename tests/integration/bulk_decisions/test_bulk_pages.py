"""Bulk decisions on pages, over the API, and on a running kernel."""

import pytest
from django.urls import reverse

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, Decision, Incident
from errorkernel.platform import conf
from errorkernel.store.incidents import bulk_decisions
from tests.support.bulk_data import carry_out, many
from tests.support.page_data import answer, ask, person
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def bob():
    return person("bob", "operator")


@pytest.fixture
def viewer():
    return person("vera", "viewer")


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
    assert 'approve/" formnovalidate aria-disabled="true"' in shown
    assert alice.post(page + "approve/").status_code == 409
    assert 'approve/" formnovalidate>' in bob.get(page).text
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
    for name, args in (("problem", [one.problem_id]),):
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


def test_a_running_kernel_decides_what_was_confirmed(tmp_path):
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
