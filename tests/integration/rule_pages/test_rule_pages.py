"""Rules on pages."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import Action, OnDeadline, Outcome, OutcomeState
from errorkernel.models import AuditEntry, Decision, Node, Rule
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from tests.support.rule_data import ask, event, store, wording
from tests.support.rule_pages import ADD, DRY_RUN, NEW, client_of, form, judge, made

pytestmark = pytest.mark.django_db


HOSTILE = "<script>alert(1)</script>\u202eevil"


def html_of(response) -> str:
    """The page with single spaces, however its template breaks the lines."""
    return " ".join(response.content.decode().split())


# Pages


def test_pages_answer_for_those_who_may_see_them(alice, viewer, client):
    rule = made()
    for page in (reverse("rules"), reverse("rule", args=[rule.pk]), reverse("dead-letters")):
        assert viewer.get(page).status_code == 200
        assert alice.get(page).status_code == 200
        assert client.get(page).status_code == 302
        assert client_of(f"nobody {page}").get(page).status_code == 403
    assert alice.get(NEW).status_code == 200
    assert viewer.get(NEW).status_code == 403
    assert viewer.get("/rules/4711/").status_code == 404
    assert viewer.get(f"/rules/{10**30}/").status_code == 404


def test_a_viewer_changes_nothing(viewer):
    rule = made()
    assert viewer.post(ADD, form()).status_code == 403
    assert viewer.post(f"/rules/{rule.pk}/change/", form(revision=1)).status_code == 403
    for act in ("move", "suspend", "resume", "delete"):
        assert viewer.post(f"/rules/{rule.pk}/{act}/", {"reason": "x", "direction": "up"}).status_code == 403
    assert "Save and enable" not in viewer.get(f"/rules/{rule.pk}/").content.decode()
    rule.refresh_from_db()
    assert (rule.revision, Rule.objects.count()) == (1, 1)


def test_the_journey_from_remembering_to_a_decision(alice):
    incident = ask(node="ship 1".replace(" ", "-"), process="copy files")
    decisions.decide(incident.pk, Action.KILL, actor=Actor("user:alice", timezone.now()), reason="always helps")
    page = alice.get(f"/incidents/{incident.pk}/").content.decode()
    assert f"/rules/new/?incident={incident.pk}" in page
    draft = alice.get(f"/rules/new/?incident={incident.pk}")
    typed = draft.context["form"]
    assert typed["condition"] == f'node:ship-1 process:"copy files" problem:{incident.problem_id}'
    assert (typed["action"], typed["max_uses"], typed["reason"]) == ("kill", 10, "always helps")
    assert Rule.objects.count() == 0
    tried = alice.post(DRY_RUN, {**typed, "since": "7"})
    assert "Would have matched" in tried.content.decode()
    assert Rule.objects.count() == 0
    saved = alice.post(ADD, {**typed, "enabled": "on"}, follow=True)
    rule = Rule.objects.get()
    assert f"Rule {rule.pk} is saved as revision 1 and is enabled." in html_of(saved)
    assert timedelta(hours=23, minutes=58) < rule.expires_at - timezone.now() <= timedelta(hours=24)
    again = ask(node="ship-1", process="copy files", message="other")
    judge()
    shown = f"rule {rule.pk} (revision 1): {rule.name}"
    assert Decision.objects.get(incident=again).actor == f"rule:{rule.pk}"
    for page in (f"/incidents/{again.pk}/", "/incidents/", f"/rules/{rule.pk}/"):
        assert shown in html_of(alice.get(page)), page
    assert f'href="/rules/{rule.pk}/"' in alice.get(f"/incidents/{again.pk}/").content.decode()


def test_the_problems_that_a_condition_names_are_told_by_their_text(alice, viewer):
    number = ask(text="disk <full>").problem_id
    rule = made(f"(problem:{number} OR -problem:4711) node:ship1")
    for page in (alice.get(f"/rules/{rule.pk}/"), viewer.get(f"/rules/{rule.pk}/")):
        told = html_of(page).split("<h2>")[0]
        assert f'problem {number}: <a href="/problems/{number}/"><bdi>' in told
        assert "disk &lt;full&gt;" in told
        assert "problem 4711: no problem with this number" in told
    assert "disk &lt;full&gt;" in alice.post(DRY_RUN, form(condition=f"problem:{number}")).content.decode()
    assert alice.post(ADD, form(condition="problem:")).status_code == 400


def test_a_form_that_lacks_its_reason_is_not_sent_but_can_be_tried(alice):
    page = alice.get(NEW).content.decode()
    for name in ("condition", "name", "reason"):
        assert re.search(rf'<input name="{name}"[^>]* required', page), name
    trying = re.findall(r'<button formaction="/rules/dry-run/"[^>]*>', page)
    assert len(trying) == 2
    assert all("formnovalidate" in one for one in trying)
    assert not re.search(r'<button name="enabled" value="o(n|ff)"[^>]*formnovalidate', page)


def test_an_unknown_incident_is_not_remembered(alice):
    for wrong in ("x", "0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123"):
        assert alice.get(f"/rules/new/?incident={wrong}").status_code == 404


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"condition": "nod:x"}, "Unknown field &quot;nod&quot;."), ({"condition": ""}, "needs a condition"),
        ({"action": "x"}, "Choose"),
        ({"name": ""}, "needs a name"), ({"reason": " "}, "needs a reason"), ({"max_uses": "-1"}, "whole number"),
        ({"expires_at": "soon"}, "2026-11-25T10:00"), ({"loop_limit": "9" * 30}, "whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_said_and_what_was_typed_stays(alice, wrong, said):
    answer = alice.post(ADD, form(**{"name": "my name", "reason": "my reason"} | wrong))
    page = answer.content.decode()
    assert answer.status_code == 400
    assert said in page
    assert ("my name" in page) or "name" in wrong
    assert Rule.objects.count() == 0


def test_a_rule_that_somebody_else_changed_meanwhile_is_not_overwritten_unseen(alice):
    rule = made()
    changes.change(rule.pk, 1, wording(name="bob's"), actor=Actor("user:bob", timezone.now()))
    answer = alice.post(f"/rules/{rule.pk}/change/", form(revision=1, name="mine"))
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "user:bob has changed the rule; it is now revision 2. Nothing was saved." in page
    assert 'value="mine"' in page
    rule.refresh_from_db()
    assert rule.name == "bob's"
    assert alice.post(f"/rules/{rule.pk}/change/", form(revision=2, name="mine")).status_code == 302


def test_rules_are_moved_suspended_cleared_and_removed_with_a_reason(alice):
    first, second = made(name="first"), made(name="second")
    moved = alice.post(f"/rules/{second.pk}/move/", {"direction": "up"})
    assert moved.url == f"/rules/#rule-{second.pk}-up"
    # The first one's button goes no further and keeps the focus all the same: it is not switched off.
    assert f'id="rule-{second.pk}-up" name="direction" value="up" aria-disabled="true"' in html_of(alice.get("/rules/"))
    assert [one.name for one in changes.listed()] == ["second", "first"]
    refused = alice.post(f"/rules/{first.pk}/resume/", {"reason": "it is fine"})
    assert (refused.status_code, "This rule is not suspended." in refused.content.decode()) == (409, True)
    assert alice.post(f"/rules/{first.pk}/suspend/", {"reason": ""}).status_code == 400
    alice.post(f"/rules/{first.pk}/suspend/", {"reason": "looks odd"})
    assert "1 rule suspended" in alice.get("/").content.decode()
    assert "looks odd" in alice.get("/rules/").content.decode()
    alice.post(f"/rules/{first.pk}/resume/", {"reason": "it is fine"})
    assert "rule suspended" not in alice.get("/").content.decode()
    alice.post(f"/rules/{first.pk}/delete/", {"reason": "done"})
    assert [one.name for one in changes.listed()] == ["second"]
    assert "removed" in alice.get(f"/rules/{first.pk}/").content.decode()
    assert alice.post(f"/rules/{first.pk}/change/", form(revision=4)).status_code == 409
    assert alice.post(f"/rules/{first.pk}/resume/", {"reason": "x"}).status_code == 409
    assert alice.post(f"/rules/{second.pk}/dance/", {}).status_code == 404
    assert set(AuditEntry.objects.filter(target=f"rule:{first.pk}").values_list("action", flat=True)) == {
        "add", "suspend", "resume", "remove",
    }  # fmt: skip


def test_what_a_rule_left_to_a_person_is_told_on_the_incident(alice):
    rule = made(action=RuleAction.ASK, name="look first")
    incident = ask()
    judge()
    page = html_of(alice.get(f"/incidents/{incident.pk}/"))
    assert f"rule {rule.pk} (revision 1): look first" in page
    changes.change(rule.pk, 1, wording(action=RuleAction.ESCALATE), actor=Actor("user:bob", timezone.now()))
    other = ask(process="other")
    judge()
    assert "escalated by a rule" in alice.get(f"/incidents/{other.pk}/").content.decode()
    assert '<span class="escalated">escalated</span>' in html_of(alice.get("/incidents/"))


def test_an_incident_that_a_rule_escalated_still_says_what_its_deadline_will_do(alice):
    made(action=RuleAction.ESCALATE)
    incident = ask(now=timezone.now(), deadline_s=300, on_deadline=OnDeadline.KILL)
    judge()
    assert "then: the process is killed and restarted<" in html_of(alice.get(f"/incidents/{incident.pk}/"))


def test_the_nodes_on_which_a_rule_may_act_are_chosen_from_those_that_are_known(alice, viewer):
    """And one that is named stays named, also when it is known no more."""
    gone = made(controlled_nodes=("gone@steward",))
    Node.objects.create(name="ship1")
    Node.objects.create(name="ship1@steward", family="steward")
    page = html_of(alice.get("/rules/new/"))
    assert 'name="controlled_nodes" value="ship1@steward">' in page
    assert 'value="ship1"' not in page
    assert 'name="controlled_nodes" value="gone@steward" checked>' in html_of(alice.get(f"/rules/{gone.pk}/"))
    sent = alice.post(ADD, form(controlled_nodes=["ship1@steward"]))
    rule = Rule.objects.latest("pk")
    assert (sent.status_code, rule.controlled_nodes) == (302, ["ship1@steward"])
    assert "ship1@steward" in viewer.get(f"/rules/{rule.pk}/").content.decode()
    tried = html_of(alice.post(DRY_RUN, form(controlled_nodes=["ship1@steward"])))
    assert "covers incidents only" in tried
    assert 'value="ship1@steward" checked' in tried
    refused = alice.post(ADD, form(controlled_nodes=["ship*@steward"]))
    assert (refused.status_code, "not a wildcard here" in refused.content.decode()) == (400, True)
    # A form that does not speak of them names none.
    alice.post(f"/rules/{rule.pk}/change/", form(revision="1"))
    rule.refresh_from_db()
    assert rule.controlled_nodes == []


def test_hostile_text_stays_text_everywhere(alice):
    made("node:*", name=HOSTILE, reason=HOSTILE)
    store(*(event(HOSTILE, message=HOSTILE) for _ in range(3)))
    incident = ask(HOSTILE)
    judge()
    for page in ("/rules/", f"/rules/{Rule.objects.get().pk}/", "/dead-letters/", f"/incidents/{incident.pk}/"):
        answer = alice.get(page).content.decode()
        assert "<script>alert" not in answer, page
        # A field must hold what was typed; browsers keep what is in it to itself.
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", answer), page
    tried = alice.post(DRY_RUN, form(condition='"<script>"', name=HOSTILE)).content.decode()
    assert "<script>alert" not in tried


def test_whose_revision_it_was_stands_wherever_an_automatic_decision_does(alice):
    """On the incident, in what was answered then, in a life that it ended, in the trail, and for who was too late."""
    rule = made(action=RuleAction.KILL)
    first = ask(now=timezone.now(), incarnation=1)
    judge()
    outcome = Outcome(first.pk, OutcomeState.APPLIED, decision_id=Decision.objects.get().pk, new_incarnation=2)
    decisions.record_outcome("ship1", outcome, now=timezone.now())
    late = alice.post(f"/incidents/{first.pk}/decision/", {"action": "continue"})
    changes.suspend(rule.pk, "enough", actor=Actor.system(timezone.now()))
    second = ask(now=timezone.now(), incarnation=2)
    said = f"rule {rule.pk} (revision 1)"
    process = f"/nodes/ship1/{first.process_id}/"
    pages = [
        late,
        *(
            alice.get(one)
            for one in (f"/incidents/{first.pk}/", f"/incidents/{second.pk}/", process, "/audit/?show=all")
        ),
    ]
    assert [said in page.content.decode() for page in pages] == [True] * 5
