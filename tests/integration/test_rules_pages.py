"""Rules in the browser and over HTTP: who may, what is said when something is wrong, and that nothing is lost by it."""

import json
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import Action, EventType, Level, OnDeadline, Outcome, OutcomeState
from errorkernel.models import AuditEntry, DeadLetter, Decision, Incident, Node, Rule
from errorkernel.platform import conf
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.incidents.requeues import Wanted, Wish
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from tests.integration.test_rules import ask, event, store, wording
from tests.integration.test_rules import judge as judge_at

pytestmark = pytest.mark.django_db


def judge():
    judge_at(timezone.now())


HOSTILE = "<script>alert(1)</script>\u202eevil"


def person(name, group=None):
    user = User.objects.create_user(name)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def client_of(name, group=None):
    client = Client()
    client.force_login(person(name, group))
    return client


@pytest.fixture
def alice():
    return client_of("alice", "operator")


@pytest.fixture
def viewer():
    return client_of("vera", "viewer")


def made(condition="node:ship*", action=RuleAction.CONTINUE, **given) -> Rule:
    return changes.add(wording(condition, action, **given), actor=Actor("user:alice", timezone.now()))


def form(**given):
    usual = {
        "name": "go on", "condition": "node:ship*", "action": "continue", "reason": "known", "expires_at": "",
        "max_uses": "", "storm_limit": "50", "loop_limit": "5", "since": "7", "do": "on",
    }  # fmt: skip
    return usual | given


NEW = "/rules/new/"


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
    assert viewer.post(NEW, form()).status_code == 403
    assert viewer.post(f"/rules/{rule.pk}/", form(revision=1)).status_code == 403
    for act in ("move", "suspend", "resume", "delete"):
        assert viewer.post(f"/rules/{rule.pk}/{act}/", {"reason": "x", "direction": "up"}).status_code == 403
    assert "Save and enable" not in viewer.get(f"/rules/{rule.pk}/").content.decode()
    rule.refresh_from_db()
    assert (rule.revision, Rule.objects.count()) == (1, 1)


def test_the_journey_from_remembering_to_an_answer(alice):
    incident = ask(node="ship 1".replace(" ", "-"), process="copy files")
    decisions.decide(incident.pk, Action.KILL, actor=Actor("user:alice", timezone.now()), reason="always helps")
    page = alice.get(f"/incidents/{incident.pk}/").content.decode()
    assert f"/rules/new/?incident={incident.pk}" in page
    draft = alice.get(f"/rules/new/?incident={incident.pk}")
    typed = draft.context["form"]
    assert typed["condition"] == f'node:ship-1 process:"copy files" problem:{incident.problem_id}'
    assert (typed["action"], typed["max_uses"], typed["reason"]) == ("kill", 10, "always helps")
    assert Rule.objects.count() == 0
    tried = alice.post(NEW, {**typed, "do": "try", "since": "7"})
    assert "Would have matched" in tried.content.decode()
    assert Rule.objects.count() == 0
    saved = alice.post(NEW, {**typed, "do": "on"}, follow=True)
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
    assert "disk &lt;full&gt;" in alice.post(NEW, form(do="try", condition=f"problem:{number}")).content.decode()
    assert alice.post(NEW, form(condition="problem:")).status_code == 400


def test_a_form_that_lacks_its_reason_is_not_sent_but_can_be_tried(alice):
    page = alice.get(NEW).content.decode()
    for name in ("condition", "name", "reason"):
        assert re.search(rf'<input name="{name}"[^>]* required', page), name
    trying = re.findall(r'<button name="do" value="try"[^>]*>', page)
    assert len(trying) == 2
    assert all("formnovalidate" in one for one in trying)
    assert not re.search(r'<button name="do" value="o(n|ff)"[^>]*formnovalidate', page)


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
    answer = alice.post(NEW, form(**{"name": "my name", "reason": "my reason"} | wrong))
    page = answer.content.decode()
    assert answer.status_code == 400
    assert said in page
    assert ("my name" in page) or "name" in wrong
    assert Rule.objects.count() == 0


def test_a_rule_that_somebody_else_changed_meanwhile_is_not_overwritten_unseen(alice):
    rule = made()
    changes.change(rule.pk, 1, wording(name="bob's"), actor=Actor("user:bob", timezone.now()))
    answer = alice.post(f"/rules/{rule.pk}/", form(revision=1, name="mine"))
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "user:bob has changed the rule; it is now revision 2. Nothing was saved." in page
    assert 'value="mine"' in page
    rule.refresh_from_db()
    assert rule.name == "bob's"
    assert alice.post(f"/rules/{rule.pk}/", form(revision=2, name="mine")).status_code == 302


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
    assert alice.post(f"/rules/{first.pk}/", form(revision=4)).status_code == 409
    assert alice.post(f"/rules/{first.pk}/resume/", {"reason": "x"}).status_code == 404
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


def test_a_question_that_a_rule_escalated_still_says_what_its_deadline_will_do(alice):
    made(action=RuleAction.ESCALATE)
    incident = ask(now=timezone.now(), deadline_s=300, on_deadline=OnDeadline.KILL)
    judge()
    assert "→ kill<" in html_of(alice.get(f"/incidents/{incident.pk}/"))


def test_the_nodes_on_which_a_rule_may_act_are_chosen_from_those_that_are_known(alice, viewer):
    """And one that is named stays named, also when it is known no more."""
    gone = made(controlled_nodes=("gone@steward",))
    Node.objects.create(name="ship1")
    Node.objects.create(name="ship1@steward", family="steward")
    page = html_of(alice.get("/rules/new/"))
    assert 'name="controlled_nodes" value="ship1@steward">' in page
    assert 'value="ship1"' not in page
    assert 'name="controlled_nodes" value="gone@steward" checked>' in html_of(alice.get(f"/rules/{gone.pk}/"))
    sent = alice.post("/rules/new/", form(controlled_nodes=["ship1@steward"]))
    rule = Rule.objects.latest("pk")
    assert (sent.status_code, rule.controlled_nodes) == (302, ["ship1@steward"])
    assert "ship1@steward" in viewer.get(f"/rules/{rule.pk}/").content.decode()
    tried = html_of(alice.post("/rules/new/", form(controlled_nodes=["ship1@steward"], do="try")))
    assert "covers incidents only" in tried
    assert 'value="ship1@steward" checked' in tried
    refused = alice.post("/rules/new/", form(controlled_nodes=["ship*@steward"]))
    assert (refused.status_code, "not a wildcard here" in refused.content.decode()) == (400, True)
    # A form that does not speak of them names none.
    alice.post(f"/rules/{rule.pk}/", form(revision="1"))
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
    tried = alice.post(NEW, form(do="try", condition='"<script>"', name=HOSTILE)).content.decode()
    assert "<script>alert" not in tried


def test_whose_revision_it_was_stands_wherever_an_automatic_answer_does(alice):
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
        *(alice.get(one) for one in (f"/incidents/{first.pk}/", f"/incidents/{second.pk}/", process, "/audit/")),
    ]
    assert [said in page.content.decode() for page in pages] == [True] * 5


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


def test_an_operator_keeps_a_message_on_the_page_of_its_question(alice):
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


def test_a_long_dry_run_goes_on_by_script_or_by_a_button(alice, monkeypatch):
    for number in range(5):
        ask(process=f"p{number}", now=timezone.now())
    monkeypatch.setattr("errorkernel.web.console.dry_run.STEP_INCIDENTS", 2)
    monkeypatch.setattr("errorkernel.web.console.rules.BUDGET_S", 0)
    page = alice.post(NEW, form(do="try")).content.decode()
    assert "<progress" in page
    assert "errorkernel/dry_run" in page
    whole = alice.post(NEW, form(do="all")).content.decode()
    assert "<progress" not in whole
    assert "<b data-matched>5</b>" in whole


@pytest.fixture
def two_needed_above_2(monkeypatch):
    monkeypatch.setenv("STEWARD_KILL_NEEDS_TWO_ABOVE", "2")
    conf.get.cache_clear()
    yield
    conf.get.cache_clear()


def test_a_rule_that_would_end_too_many_of_those_that_wait_is_refused_and_leads_to_one_answer_to_many(
    alice, two_needed_above_2
):
    for number in range(3):
        ask(process=f"p{number}")
    many = "/bulk-decisions/new/?q=node%3Aship%2A"
    kill = form(action="kill", name="my name", also_waiting="on")
    refused = alice.post(NEW, kill)
    page = refused.content.decode()
    assert (refused.status_code, Rule.objects.count()) == (409, 0)
    assert (
        "3 pending incidents match the condition. kill for more than 2 at once needs approval by a second person"
        in page
    )
    assert many in page
    assert "my name" in page
    tried = alice.post(NEW, kill | {"do": "try"}).content.decode()
    assert "3 pending incidents match its condition." in tried
    assert "kill for more than 2 at once needs approval by a second person" in tried
    assert many in tried
    assert "needs approval by a second person" not in alice.post(NEW, form(do="try")).content.decode()
    saved = alice.post(NEW, form(action="kill"))
    rule = Rule.objects.get()
    assert (saved.status_code, alice.post(f"/rules/{rule.pk}/", kill | {"revision": 1}).status_code) == (302, 409)
    alice.post(f"/rules/{rule.pk}/suspend/", {"reason": "odd"})
    kept = alice.post(f"/rules/{rule.pk}/resume/", {"reason": "fine", "also_waiting": "on"})
    assert (kept.status_code, "needs approval by a second person" in kept.content.decode()) == (409, True)
    judge()
    assert Decision.objects.count() == 0


# API


class Caller:
    def __init__(self, user):
        self.client = Client()
        self.headers = {"Authorization": f"Bearer {api_tokens.add(user, actor=Actor('user:root', timezone.now()))}"}

    def __call__(self, method, path, body=None):
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self.client.generic(
            method, f"/api/v1/{path}", b"" if method == "GET" else data, "application/json", headers=self.headers
        )


@pytest.fixture
def api():
    return Caller(person("bob", "operator"))


@pytest.fixture
def reader():
    return Caller(person("rita", "viewer"))


BODY = {"name": "go on", "condition": "node:ship*", "action": "kill", "reason": "known", "enabled": True}


def test_a_rule_is_made_read_changed_and_removed_over_the_api(api, reader):
    answer = api("POST", "rules", {**BODY, "max_uses": 3, "expires_at": "2100-01-01T00:00:00Z"})
    assert answer.status_code == 201
    rule = answer.json()
    assert (rule["revision"], rule["position"], rule["author"], rule["uses"]) == (1, 1, "user:bob", 0)
    assert reader("GET", "rules").json() == {"items": [rule], "next": None}
    changed = api("PUT", f"rules/{rule['id']}", {**BODY, "action": "stop", "revision": 1}).json()
    assert (changed["revision"], changed["action"], changed["max_uses"]) == (2, "stop", None)
    lost = api("PUT", f"rules/{rule['id']}", {**BODY, "revision": 1})
    assert (lost.status_code, lost.json()["revision"], lost.json()["author"]) == (409, 2, "user:bob")
    assert api("POST", f"rules/{rule['id']}/suspend", {"reason": "odd"}).json()["suspended_reason"] == "odd"
    assert api("POST", f"rules/{rule['id']}/resume", {"reason": "fine"}).json()["suspended_at"] is None
    again = api("POST", f"rules/{rule['id']}/resume", {"reason": "fine"})
    assert (again.status_code, again.json()) == (409, {"error": "This rule is not suspended."})
    assert reader("GET", "rules").json()["items"][0]["revision"] == 4
    assert api("POST", f"rules/{rule['id']}/move", {"steps": -1}).status_code == 200
    assert api("POST", f"rules/{rule['id']}/delete", {"reason": "done"}).status_code == 200
    assert reader("GET", "rules").json()["items"] == []
    assert api("POST", f"rules/{rule['id']}/delete", {"reason": "done"}).status_code == 404
    assert AuditEntry.objects.filter(origin__contains="token").count() >= 5


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"condition": "level>=err"}, "condition"), ({"name": ""}, "name"), ({"max_uses": 0}, "max_uses"),
     ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"), ({"reason": "a\0b"}, "reason")],
)  # fmt: skip
def test_what_cannot_be_is_a_400_that_names_the_field(api, wrong, field):
    answer = api("POST", "rules", BODY | wrong)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert Rule.objects.count() == 0


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_leaves_the_calendar_is_a_400(api, at):
    answer = api("POST", "rules", BODY | {"expires_at": at})
    assert (answer.status_code, "`expires_at` is a time" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"name": 7}', b"x" * 70_000, b"\xff", b"[" * 5000])
def test_a_body_that_cannot_be_read_is_refused(api, body):
    assert api("POST", "rules", body).status_code in (400, 413)
    assert api("POST", "rules/dry-run", body).status_code in (400, 413)


def test_addresses_that_are_not_there_and_methods_that_are_not_meant(api):
    assert api("PUT", "rules/x", {**BODY, "revision": 1}).status_code == 404
    assert api("PUT", f"rules/{10**18}", {**BODY, "revision": 1}).status_code == 404
    assert api("DELETE", "rules/1").status_code == 405
    assert api("GET", "rules/dry-run").status_code == 405
    assert api("GET", "rules/1/suspend").status_code == 405
    assert api("POST", "rules/1/suspend", {}).status_code == 400
    assert api("POST", "rules/1/dance", {}).status_code == 404


def test_a_viewer_may_read_and_try_and_change_nothing(reader):
    rule = made()
    ask()
    tried = reader("POST", "rules/dry-run", {"condition": "node:ship*", "days": 4000})
    assert tried.status_code == 400
    assert reader("POST", "rules", BODY).status_code == 403
    assert reader("PUT", f"rules/{rule.pk}", {**BODY, "revision": 1}).status_code == 403
    assert reader("POST", f"rules/{rule.pk}/suspend", {"reason": "x"}).status_code == 403
    assert Caller(person("nobody"))("POST", "rules/dry-run", {"condition": "x"}).status_code == 403


def test_a_dry_run_tells_what_would_have_been_the_rules_own(reader):
    now = timezone.now()
    asked = [ask(process=f"p{number}", now=now - timedelta(minutes=9 - number)) for number in range(3)]
    decisions.decide(asked[0].pk, Action.CONTINUE, actor=Actor("user:bob", now))
    above = made("process:p1")
    found = reader("POST", "rules/dry-run", {"condition": "node:ship*"}).json()
    assert (found["looked_at"], found["matched"], found["next"], found["done"]) == (3, 2, None, 1.0)
    assert found["ended"] == {"continue": 1, "nobody": 1}
    assert [one["id"] for one in found["items"]] == [str(asked[2].pk), str(asked[0].pk)]
    assert reader("POST", "rules/dry-run", {"condition": "node:ship*", "rule": above.pk}).json()["matched"] == 3
    wrong = reader("POST", "rules/dry-run", {"condition": "node:ship* nod:x"})
    assert (wrong.status_code, wrong.json()["position"]) == (400, 11)


def test_the_api_says_what_would_end_too_many_at_once(api, two_needed_above_2):
    for number in range(3):
        ask(process=f"p{number}")
    waiting = {**BODY, "also_waiting": True}
    assert api("POST", "rules/dry-run", {"condition": "node:ship*"}).json()["waiting"] == 3
    rule = api("POST", "rules", BODY).json()["id"]
    calls = [api("POST", "rules", waiting), api("PUT", f"rules/{rule}", {**waiting, "revision": 1})]
    api("POST", f"rules/{rule}/suspend", {"reason": "odd"})
    calls.append(api("POST", f"rules/{rule}/resume", {"reason": "fine", "also_waiting": True}))
    told = [(one.status_code, one.json()["field"], "second person" in one.json()["error"]) for one in calls]
    assert told == [(409, "also_waiting", True)] * 3


def test_poison_and_the_revision_that_answered_are_in_the_lists(reader):
    made("consecutive>=3")
    store(event(), event(level=Level.CRITICAL, type=EventType.ERROR))
    incident = ask()
    judge()
    [item] = reader("GET", "incidents").json()["items"]
    assert (item["id"], item["poison"], item["decision"]["rule_revision"]) == (str(incident.pk), True, 1)
    [letter] = reader("GET", "dead-letters").json()["items"]
    assert (letter["incident"], letter["failures"], letter["state"]) == (str(incident.pk), 3, "kept")
    assert letter["message"]["data"] == "x"
    for state, count in (("kept", 1), ("resent", 0), ("dropped,kept", 1), ("dropped,resent", 0), ("", 1)):
        assert len(reader("GET", f"dead-letters?{urlencode({'state': state})}").json()["items"]) == count, state
    refused = reader("GET", "dead-letters?state=bogus")
    assert refused.status_code == 400
    assert "'bogus' is no state; there are kept, resent, dropped." in refused.json()["error"]
    assert Incident.objects.count() == 1
