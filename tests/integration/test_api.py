"""The operators' API: who may, what the lists bear and how they are paged, one answer to one question."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import (
    Action,
    Event,
    EventType,
    Heartbeat,
    Level,
    Message,
    Outcome,
    OutcomeState,
    ProcessReport,
)
from errorkernel.models import ApiToken, AuditEntry, Decision, ErrorEvent, Incident, Node, Outbox
from errorkernel.protocol import json_codec as wire
from errorkernel.store import nodes
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.web.operations import listing, lists
from tests.support.heartbeats import record_hellos

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 10, 0, 0, 123000, tzinfo=UTC)
LISTS = ["events", "incidents", "problems", "processes", "nodes", "rules", "map", "bulk-decisions"]


class Caller:
    """A script or a browser: by token or by session, with CSRF checked as it is outside of tests."""

    def __init__(self, *, token="", user=None):
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        if user:
            self.client.force_login(user)

    def get(self, path, **parameters):
        return self.client.get(f"/api/v1/{path}", parameters, headers=self.headers)

    def post(self, path, body, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.generic(
            "POST", f"/api/v1/{path}", body, "application/json", headers={**self.headers, **headers}
        )

    def decide(self, incident, **body):
        return self.post(f"incidents/{incident}/decision", body)

    def pages(self, path, **parameters):
        """All items by following ``next``, and how many pages that took."""
        items, pages, after = [], 0, {}
        while True:
            answer = self.get(path, **parameters, **after).json()
            items += answer["items"]
            pages += 1
            if answer["next"] is None:
                return items, pages
            after = {"after": answer["next"]}


def person(name, group=None):
    user = User.objects.create_user(name)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def token_of(name, group=None):
    return Caller(token=api_tokens.add(person(name, group), actor=Actor.system(NOW)))


@pytest.fixture
def viewer():
    return token_of("vera", "viewer")


@pytest.fixture
def alice():
    return token_of("alice", "operator")


def report(text="no such file", *, process="copy-files", **fields):
    usual = {"id": uuid7(), "type": EventType.ERROR, "level": Level.ERROR, "process": process, "text": text}
    return Event(**(usual | fields))


def store(*events, node="ship1", now=NOW):
    record(Batch(events=[(node, one) for one in events]), NameCache(), now=now)


def ask(node="ship1", **fields):
    raised = report(type=EventType.ACTION, incarnation=7, **fields)
    store(raised, node=node)
    return raised.id


# Who may


@pytest.mark.parametrize("path", LISTS)
def test_nobody_gets_a_list_without_login(path):
    for caller in (Caller(), Caller(token="eku_unknown"), Caller(token="\xe9")):
        answer = caller.get(path)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["error"]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_needs_the_permission_and_viewers_have_it(path, viewer):
    assert token_of("nobody").get(path).status_code == 403
    answer = viewer.get(path)
    assert (answer.status_code, answer.json()) == (200, {"items": [], "next": None, "last": None})
    assert answer["Cache-Control"] == "private, no-cache"
    assert Caller(user=User.objects.get(username="vera")).get(path).status_code == 200
    told = viewer.post(path, {})
    # Events are posted by nodes, rules by those who may change them, answers by those who may answer.
    assert told.status_code == {"events": 401, "rules": 403, "bulk-decisions": 403}.get(path, 405)


def test_a_token_that_is_sent_never_falls_back_to_the_session():
    caller = Caller(user=person("vera", "viewer"))
    caller.headers = {"Authorization": "Bearer eku_wrong"}
    assert caller.get("events").status_code == 401


def test_a_revoked_token_and_one_of_a_person_who_left_are_refused(viewer):
    assert viewer.get("nodes").status_code == 200
    assert ApiToken.objects.get().last_used_at
    User.objects.update(is_active=False)
    assert viewer.get("nodes").status_code == 401
    User.objects.update(is_active=True)
    api_tokens.revoke(ApiToken.objects.get(), actor=Actor.system(NOW))
    assert viewer.get("nodes").status_code == 401


def test_a_nodes_token_is_no_operators():
    secrets = nodes.add_node("ship1", actor=Actor.system(NOW))
    assert Caller(token=secrets.token).get("events").status_code == 401


def test_what_is_not_there_is_404_in_json(alice):
    for path in ("nothing", "events/", "incidents/", ""):
        assert alice.get(path).status_code == 404
        assert alice.get(path).json()["error"]


# Lists


def test_an_event_bears_what_the_contract_names(viewer):
    raised = report(
        type=EventType.ACTION,
        incarnation=7,
        kind="OSError",
        occurred_at=NOW,
        message=Message(id="8841", method="REQCopySrc"),
    )
    store(raised, report("other", process="<b>"))
    first, second = viewer.get("events").json()["items"]
    assert first == first | {
        "id": str(raised.id), "seq": 1, "type": "action", "level": "error", "node": "ship1", "process": "copy-files",
        "incarnation": 7, "kind": "OSError", "text": "no such file", "message": {"id": "8841", "method": "REQCopySrc"},
        "occurred_at": "2026-11-24T10:00:00.123000Z", "received_at": "2026-11-24T10:00:00.123000Z",
        "incident": str(raised.id),
    }  # fmt: skip
    assert isinstance(first["problem"], int)
    assert (second["process"], second["incident"], second["message"]) == ("<b>", None, None)


def test_what_was_cut_is_marked_as_cut(viewer, alice):
    long = wire.encode_event(report("x" * 70_000, type=EventType.ACTION, tags={"t": "y" * 300}))
    store(wire.decode_event(long, Limits()), report("short", type=EventType.ACTION))
    for path in ("events", "incidents"):
        cut, whole = viewer.get(path).json()["items"]
        assert (len(cut["text"]), cut["cut"], whole["cut"]) == (Limits().text_bytes, ["text", "tags"], [])
    tried = alice.post("rules/dry-run", {"condition": "process:*", "days": 3000}).json()["items"]
    assert sorted(one["cut"] for one in tried) == [[], ["text", "tags"]]
    ErrorEvent.objects.all().delete()
    assert [one["cut"] for one in viewer.get("incidents").json()["items"]] == [None, None]


def test_events_are_paged_by_seq_without_gap_or_repetition(viewer):
    store(*(report(f"t{n}") for n in range(250)))
    items, pages = viewer.pages("events", limit=100)
    assert ([one["seq"] for one in items], pages) == (list(range(1, 251)), 3)
    items, pages = viewer.pages("events", limit=100, order="desc")
    assert ([one["seq"] for one in items], pages) == (list(range(250, 0, -1)), 3)
    assert viewer.get("events", after=250).json() == {"items": [], "next": None, "last": 250}
    assert viewer.get("events", limit=250).json()["next"] is None


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_query_looks_at_a_bounded_part_and_goes_on(viewer, monkeypatch, order):
    store(*(report("rare" if n in (0, 99) else "often") for n in range(100)))
    monkeypatch.setattr(lists, "SCAN_EVENTS", 30)
    found, pages = viewer.pages("events", q="rare", order=order)
    assert [one["seq"] for one in found] == ([1, 100] if order == "asc" else [100, 1])
    assert pages == 4
    found, _ = viewer.pages("events", q="often", order=order, limit=7)
    assert len({one["seq"] for one in found}) == len(found) == 98


def test_a_page_is_bounded_in_bytes(viewer, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 100_000)
    store(*(report("x" * 40_000) for _ in range(10)))
    assert len(viewer.get("events").json()["items"]) == 3
    items, _ = viewer.pages("events")
    assert len(items) == 10


def test_a_list_of_thousands_costs_a_page_alone(viewer, django_assert_max_num_queries):
    store(*(report(type=EventType.ACTION, process=f"p{n}", fingerprint=(f"f{n}",)) for n in range(2000)))
    Node.objects.bulk_create(Node(name=f"n{n}") for n in range(2000))
    for path in LISTS:
        with django_assert_max_num_queries(8, info=path):
            answer = viewer.get(path, limit=1000)
        assert len(answer.json()["items"]) == (0 if path in ("rules", "bulk-decisions") else 1000), path


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "parameters",
    [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": "x"}, {"after": -1}, {"after": 10**19}, {"order": "up"}],
)
def test_a_wrong_parameter_is_400(path, parameters, viewer):
    answer = viewer.get(path, **parameters)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_wrong_query_says_where(viewer):
    answer = viewer.get("events", q="node:a lvel:error")
    assert (answer.status_code, answer.json()["position"]) == (400, 7)
    for path in ("rules", "processes", "nodes"):
        assert viewer.get(path, q="node:a").status_code == 400  # not silently everything


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(["q", "after", "limit", "order", "node", "process", "state", "kind"]), st.text())
)
def test_no_parameters_break_a_list(viewer, parameters):
    try:
        parameters = {name: value for name, value in parameters.items() if value.encode()}
    except UnicodeEncodeError:
        return
    for path in LISTS:
        assert viewer.get(path, **parameters).status_code in (200, 400)


def test_incidents_are_filtered_and_numbered_by_their_last_change(viewer):
    first, second, third = ask(), ask("ship2"), ask(process="other")
    items, _ = viewer.pages("incidents", limit=1)
    assert [one["id"] for one in items] == [str(first), str(second), str(third)]
    seen = items[-1]["change"]
    made = decisions.decide(first, Action.KILL, actor=Actor("user:bob", NOW), reason="why")
    (changed,) = viewer.get("incidents", after=seen).json()["items"]
    assert (changed["id"], changed["state"]) == (str(first), "decided")
    assert changed["decision"] == {
        "id": str(made.pk), "action": "kill", "by": "user:bob", "approved_by": None, "reason": "why",
        "rule_revision": None, "decided_at": "2026-11-24T10:00:00.123000Z",
    }  # fmt: skip

    def ids(**parameters):
        return [one["id"] for one in viewer.get("incidents", **parameters).json()["items"]]

    assert ids(state="open") == [str(second), str(third)]
    assert ids(state="open,decided", node="ship1", order="desc") == [str(first), str(third)]
    assert ids(process="other") == [str(third)]
    assert viewer.get("incidents", state="opne").status_code == 400


def test_nodes_processes_and_problems_tell_what_is_known_and_no_secrets(viewer):
    secrets = nodes.add_node("ship1", actor=Actor.system(NOW))
    record_hellos([("ship1", Heartbeat(version="1.4", processes=(ProcessReport("copy", "running", 7, 99),)))], now=NOW)
    store(report(kind="OSError"))
    (node,) = viewer.get("nodes", node="ship1").json()["items"]
    assert (node["name"], node["version"], node["enabled"], node["events"]) == ("ship1", "1.4", True, 1)
    known = Node.objects.get()
    assert not {known.token_digest, known.public_key, secrets.token} & {str(one) for one in node.values()}
    (process,) = viewer.get("processes", process="copy").json()["items"]
    assert (process["node"], process["name"], process["incarnation"], process["pid"]) == ("ship1", "copy", 7, 99)
    (problem,) = viewer.get("problems", kind="OSError").json()["items"]
    assert (problem["title"], problem["count"], problem["nodes"]) == ("no such file", 1, 1)


# Answers


def test_the_map_tells_what_each_process_of_each_node_met(viewer):
    store(report("no such file", kind="A"), report("no such file", kind="A"), report("disk full", kind="B"))
    store(report("no such file", kind="A", process="other"), node="ship2")

    def found(**given):
        items = viewer.get(f"map?{urlencode(given)}").json()["items"]
        return [(one["node"], one["process"], one["kind"], one["count"]) for one in items]

    everything = found()
    assert sorted(everything) == [
        ("ship1", "copy-files", "A", 2), ("ship1", "copy-files", "B", 1), ("ship2", "other", "A", 1),
    ]  # fmt: skip
    assert found(node="ship2") == found(process="other") == [("ship2", "other", "A", 1)]
    assert found(node="ship1", process="other") == found(node="nobody") == []
    problem = viewer.get("map?node=ship2").json()["items"][0]["problem"]
    assert {one[0] for one in found(problem=problem)} == {"ship1", "ship2"}
    assert viewer.get("map?problem=x").status_code == 400


def test_an_operator_answers_once_and_the_same_request_again_is_the_same_answer(alice):
    incident = ask()
    body = {"action": "kill", "reason": "disk is being replaced", "request_id": "r1"}
    first, again = alice.decide(incident, **body), alice.decide(incident, **body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert first.json() == first.json() | {
        "incident": str(incident), "action": "kill", "by": "user:alice", "reason": "disk is being replaced",
    }  # fmt: skip
    made = Decision.objects.get()
    assert made.user.username == "alice"
    assert Outbox.objects.get().subject == f"ek.dec.ship1.{incident}"
    assert "token" in AuditEntry.objects.get(action="decide").origin


def test_who_comes_second_is_told_who_won_and_what(alice):
    incident = ask()
    first = token_of("bob", "operator").decide(incident, action="kill", reason="disk is being replaced", request_id="r")
    for body in ({"request_id": "r"}, {}, {"request_id": "mine"}):
        answer = alice.decide(incident, action="continue", **body)
        assert answer.status_code == 409
        assert answer.json() == answer.json() | {
            "winner": "user:bob", "action": "kill", "reason": "disk is being replaced",
            "decided_at": first.json()["decided_at"],
        }  # fmt: skip
    assert Decision.objects.count() == 1


def test_the_same_request_id_for_another_answer_does_not_pass_as_given(alice):
    incident = ask()
    alice.decide(incident, action="kill", request_id="r")
    answer = alice.decide(incident, action="continue", request_id="r")
    assert (answer.status_code, answer.json()["action"]) == (409, "kill")


def test_a_withdrawn_question_is_409_with_its_state(alice):
    incident = ask()
    decisions.record_outcome("ship1", Outcome(incident=incident, state=OutcomeState.WITHDRAWN), now=NOW)
    answer = alice.decide(incident, action="continue")
    assert (answer.status_code, answer.json()["state"]) == (409, "withdrawn")


@pytest.mark.parametrize("incident", [uuid4(), "nonsense", "0"])
def test_an_unknown_incident_is_404(alice, incident, monkeypatch):
    monkeypatch.setattr("errorkernel.web.operations.incidents.APPEAR_WAIT_S", 0.1)
    assert alice.decide(incident, action="continue").status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"{", b"\xff", b'{"action":"explode"}', b'{"action":["kill"]}', b"[" * 10_000,
     b'{"action":"kill","reason":7}', b'{"action":"kill","reason":"%s"}' % (b"x" * 1001),
     b'{"action":"kill","request_id":"%s"}' % (b"x" * 65), b'{"action":"kill","reason":"\\ud800"}'],
)  # fmt: skip
def test_what_is_no_answer_is_400_and_changes_nothing(alice, body):
    incident = ask()
    answer = alice.post(f"incidents/{incident}/decision", body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert Incident.objects.get().state == "open"


@pytest.mark.parametrize("size", [100_000, 6_000_000])
def test_a_body_that_is_far_too_large_is_413(alice, size):
    assert alice.post(f"incidents/{ask()}/decision", b" " * size).status_code == 413


def test_a_viewer_may_not_answer_and_nobody_else_without_login(viewer):
    incident = ask()
    assert viewer.decide(incident, action="continue").status_code == 403
    assert Caller().decide(incident, action="continue").status_code == 401
    assert Caller(token="ekn_x").decide(incident, action="continue").status_code == 401
    assert Incident.objects.get().state == "open"


def test_a_session_needs_the_csrf_token_and_a_personal_token_does_not():
    incident, bob = ask(), Caller(user=person("bob", "operator"))
    refused = bob.decide(incident, action="continue")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]
    forged = bob.post(f"incidents/{incident}/decision", {"action": "continue"}, **{"X-CSRFToken": "x" * 64})
    assert forged.status_code == 403
    assert Incident.objects.get().state == "open"
    bob.client.get("/")  # a page of ours sets the cookie
    token = bob.client.cookies["csrftoken"].value
    answer = bob.post(f"incidents/{incident}/decision", {"action": "continue"}, **{"X-CSRFToken": token})
    assert answer.status_code == 200
    assert "session" in AuditEntry.objects.get(action="decide").origin


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x"]
)
def test_a_body_that_calls_itself_a_form_is_read_the_same(alice, kind):
    bob = Caller(user=person("bob", "operator"))
    bob.client.get("/")
    token = {"X-CSRFToken": bob.client.cookies["csrftoken"].value}
    for caller, headers in ((alice, alice.headers), (bob, token)):
        answer = caller.client.generic(
            "POST", f"/api/v1/incidents/{ask()}/decision", b'{"action":"continue"}', kind, headers=headers
        )
        assert answer.status_code == 200


def test_what_is_ours_is_a_500_in_json(alice, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("errorkernel.web.operations.incidents.decisions.decide", broken)
    answer = alice.decide(ask(), action="continue")
    assert answer.status_code == 500
    assert answer.json()["error"]
    assert "mistake" not in answer.content.decode()


def test_the_document_has_a_page_with_every_operation(alice):
    paths = alice.get("openapi.json").json()["paths"]
    page = alice.get("docs").content.decode()
    names = [methods[verb]["operationId"] for methods in paths.values() for verb in methods if verb != "parameters"]
    assert len(names) == len(set(names)) > 40
    assert [name for name in names if f'id="{name}"' not in page] == []
