"""Rules over the API."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from errorkernel.domain.values import Action, EventType, Level
from errorkernel.models import AuditEntry, Incident, Rule
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from tests.support.rule_data import ask, event, store
from tests.support.rule_pages import judge, made, person

pytestmark = pytest.mark.django_db


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
    assert rule.pop("last_week")["incidents"] == 0
    assert (rule["revision"], rule["position"], rule["author"], rule["uses"]) == (1, 1, "user:bob", 0)
    assert reader("GET", "rules").json() == {"items": [rule], "next": None, "last": rule["id"]}
    changed = api("PUT", f"rules/{rule['id']}", {**BODY, "action": "stop", "revision": 1}).json()
    assert (changed["revision"], changed["action"], changed["max_uses"]) == (2, "stop", None)
    lost = api("PUT", f"rules/{rule['id']}", {**BODY, "revision": 1})
    assert (lost.status_code, lost.json()["revision"], lost.json()["author"]) == (409, 2, "user:bob")
    assert api("POST", f"rules/{rule['id']}/suspend", {"reason": "odd"}).json()["suspended_reason"] == "odd"
    assert api("POST", f"rules/{rule['id']}/resume", {"reason": "fine"}).json()["suspended_at"] is None
    again = api("POST", f"rules/{rule['id']}/resume", {"reason": "fine"})
    assert (again.status_code, again.json()["error"]) == (409, "This rule is not suspended.")
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
    assert (answer.status_code, answer.json()["field"]) == (400, "expires_at")


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
    rule = api("POST", "rules", {**BODY, "confirm": 3}).json()["id"]
    calls = [api("POST", "rules", waiting), api("PUT", f"rules/{rule}", {**waiting, "revision": 1})]
    api("POST", f"rules/{rule}/suspend", {"reason": "odd"})
    calls.append(api("POST", f"rules/{rule}/resume", {"reason": "fine", "also_waiting": True}))
    told = [(one.status_code, one.json()["field"], "second person" in one.json()["error"]) for one in calls]
    assert told == [(409, "also_waiting", True)] * 3


def test_poison_and_the_revision_that_decided_are_in_the_lists(reader):
    made("consecutive>=3")
    store(event(), event(level=Level.CRITICAL, type=EventType.ERROR))
    incident = ask()
    judge()
    [item] = reader("GET", "incidents").json()["items"]
    assert (item["id"], item["poison"], item["decision"]["rule_revision"]) == (str(incident.pk), True, 1)
    [letter] = reader("GET", "dead-letters").json()["items"]
    assert (letter["incident"], letter["failures"], letter["state"]) == (str(incident.pk), 3, "kept")
    assert letter["message"]["data"] == "x"
    for state, count in (("kept", 1), ("resent", 0), ("dropped,kept", 1), ("dropped,resent", 0)):
        assert len(reader("GET", f"dead-letters?{urlencode({'state': state})}").json()["items"]) == count, state
    refused = reader("GET", "dead-letters?state=bogus")
    assert refused.status_code == 400
    assert refused.json()["error"] == "'state' must be kept, resent or dropped, not 'bogus'."
    assert Incident.objects.count() == 1
