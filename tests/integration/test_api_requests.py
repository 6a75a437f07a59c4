"""The operators' API read strictly: typos, repetitions, retries; its errors, single reads, filters and caching."""

import gzip
import json
import re
import threading
from datetime import timedelta

import pytest
from django.db import connection

import steward_site.urls  # noqa: F401 - with the operations of other packages
from errorkernel.domain.values import Action, EventType, Level
from errorkernel.models import Decision, ErrorEvent, Incident, Problem, RepeatableRequest, Rule
from errorkernel.store.platform import repeated_requests
from errorkernel.web.operations.json_view import body_shape
from errorkernel.web.operations.lists import LISTS
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.errors import CODES
from tests.integration.test_api import NOW, Caller, ask, person, report, store, token_of
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db
RULE = {"name": "r", "condition": "process:nobody", "action": "continue", "reason": "It is known."}


@pytest.fixture
def alice():
    return token_of("alice", "operator")


@pytest.fixture
def viewer():
    return token_of("vera", "viewer")


def refused(answer, status, code, field=None):
    """The error of a response, which is a problem detail in every case."""
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"], body.get("field")) == (status, status, code, field)
    assert body["error"] == body["detail"]
    assert body["title"] == CODES[code].title
    assert body["type"].endswith(f"#error-{code}")
    assert not re.search(r"Expected `|Object |msgspec|Traceback|\$\.", body["detail"])
    return body["detail"]


# Strict requests


def test_a_mistyped_field_is_refused_and_nothing_happens(alice):
    store(report())
    number = Problem.objects.get().pk
    detail = refused(
        alice.post(f"problems/{number}/mute", {"untill": "2026-11-25T06:00:00Z"}), 400, "unknown_field", "untill"
    )
    assert detail == "Unknown field 'untill'. Did you mean 'until'?"
    assert Problem.objects.get().state == "open"
    detail = refused(alice.post("rules", {**RULE, "enbaled": True}), 400, "unknown_field", "enbaled")
    assert detail == "Unknown field 'enbaled'. Did you mean 'enabled'?"
    assert not Rule.objects.exists()


WRITES = [one for one in registry.operations if one.is_in_api and one.method != "GET"]


@pytest.mark.parametrize("operation", WRITES, ids=lambda one: one.name)
def test_every_operation_refuses_unknown_fields_and_parameters(operation, alice):
    path = "/".join(part if "<" not in part else "1" for part in operation.api_route.split("/"))
    if "incident_id" in operation.api_route:
        path = path.replace("/1", f"/{ask()}")
    method = operation.method
    for body, query in (({"zzz": 1}, ""), ({}, "?zzz=1")):
        answer = alice.client.generic(
            method, f"/api/v1/{path}{query}", json.dumps({**operation.example, **body}), "application/json",
            headers=alice.headers,
        )  # fmt: skip
        refused(answer, 400, "unknown_parameter" if query else "unknown_field", "zzz")


@pytest.mark.parametrize("operation", WRITES, ids=lambda one: one.name)
def test_every_field_refuses_a_value_of_another_type(operation, alice):
    shape = body_shape(operation)
    path = "/".join(part if "<" not in part else "1" for part in operation.api_route.split("/"))
    if "incident_id" in operation.api_route:
        path = path.replace("/1", f"/{ask()}")
    for field in shape.__struct_fields__:
        answer = alice.client.generic(
            operation.method, f"/api/v1/{path}", json.dumps({**operation.example, field: {"a": 1}}), "application/json",
            headers=alice.headers,
        )  # fmt: skip
        assert f"'{field}' must be " in refused(answer, 400, "invalid_field", field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"action": "stpo"}', "invalid_field", "action"),
        (b'{"action": "kill", "action": "continue"}', "duplicate_field", "action"),
        (b'{"reason": "x"}', "missing_field", "action"),
        (b'{"action": ', "invalid_body", None),
        (b'[{"action": "kill"}]', "invalid_body", None),
        (b'{"action": "kill", "reason": "\\ud800"}', "invalid_body", None),
        (b'{"Action": "kill"}', "unknown_field", "Action"),
    ],
)
def test_a_wrong_body_names_what_is_wrong(body, code, field, alice):
    refused(alice.post(f"incidents/{ask()}/decision", body), 400, code, field)
    assert Incident.objects.get().state == "open"


def test_a_form_is_named_as_what_it_is(alice):
    answer = alice.client.generic(
        "POST", f"/api/v1/incidents/{ask()}/decision", b"action=kill", "application/x-www-form-urlencoded",
        headers=alice.headers,
    )  # fmt: skip
    refused(answer, 415, "unsupported_media_type")
    packed = {**alice.headers, "Content-Encoding": "br"}
    answer = alice.client.generic("POST", "/api/v1/rules", b"{}", "application/json", headers=packed)
    refused(answer, 415, "unsupported_encoding")


@pytest.mark.parametrize("listing", LISTS, ids=lambda one: one.name)
def test_every_list_refuses_what_it_does_not_know(listing, viewer):
    store(report(type=EventType.ACTION))
    path = re.sub("<.*?>", "1", listing.route)
    if "bulk" in path and "<" in listing.route:
        path = path.replace("1", "0")
    refused(viewer.get(path, zzz="1"), 400, "unknown_parameter", "zzz")
    refused(viewer.get(path, limit=["1", "2"]), 400, "repeated_parameter", "limit")
    if "<" in listing.route:
        return
    for narrow in listing.filters:
        refused(viewer.get(path, **{narrow.name: ""}), 400, "invalid_parameter", narrow.name)
        if narrow.schema.get("type") != "string" or "enum" in narrow.schema:
            refused(viewer.get(path, **{narrow.name: "bogus"}), 400, "invalid_parameter", narrow.name)
        if not narrow.is_list:
            refused(viewer.get(path, **{narrow.name: ["1", "2"]}), 400, "repeated_parameter", narrow.name)


def test_a_mistyped_parameter_gets_the_nearest(viewer):
    detail = refused(viewer.get("incidents", stat="open"), 400, "unknown_parameter", "stat")
    assert detail == "Unknown parameter 'stat'. Did you mean 'state'?"
    detail = refused(viewer.get("incidents", state="opne"), 400, "invalid_parameter", "state")
    assert detail.endswith("Did you mean 'open'?")


# Errors


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v2/events", "/api/v1", "/api/v1/", "/api/v1/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_unknown_addresses_answer_in_json(path, method, client):
    refused(client.generic(method, path), 404, "unknown_address")


def test_an_unknown_method_is_told_which_there_are(alice):
    for method in ("DELETE", "PATCH", "OPTIONS", "BREW"):
        answer = alice.client.generic(method, "/api/v1/rules", headers=alice.headers)
        refused(answer, 405, "method_not_allowed")
        assert answer["Allow"] == "GET, HEAD, POST"


def test_every_code_is_in_the_docs_and_no_other():
    text = (ROOT / "docs/http.md").read_text()
    table = text.split("### Error codes")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    assert {name: int(status) for name, status in rows} == {code.name: code.status for code in CODES.values()}


def test_the_type_of_every_error_leads_to_its_place_on_the_page(alice):
    page = alice.get("docs").content.decode()
    addresses = {code.type.partition("#")[0] for code in CODES.values()}
    assert addresses == {"/api/v1/docs"}
    assert [code.name for code in CODES.values() if f'id="{code.type.partition("#")[2]}"' not in page] == []


def test_refusals_of_an_operation_have_codes_of_their_own(alice):
    store(report())
    number = Problem.objects.get().pk
    refused(alice.post(f"problems/{number}/unmute", {}), 409, "not_muted")
    refused(alice.post(f"problems/{number}/reopen", {}), 409, "not_resolved")
    refused(alice.post(f"problems/{number}/split", {}), 409, "not_merged")
    refused(alice.post(f"problems/{number}/merge", {"into": number}), 409, "cannot_merge", "into")
    refused(alice.post(f"problems/{number}/assign", {"to": "nobody at all"}), 409, "unknown_user", "to")
    refused(alice.post("rules", {**RULE, "condition": "nod:a"}), 400, "invalid_field", "condition")
    refused(alice.post("rules/1/resume", {"reason": "x"}), 404, "not_found")
    incident = ask()
    refused(alice.post(f"incidents/{incident}/requeue", {}), 409, "no_message")


# Retries


def test_the_same_request_twice_makes_one_rule(alice):
    first = alice.post("rules", {**RULE, "request_id": "r1"})
    again = alice.post("rules", {**RULE, "request_id": "r1"})
    by_header = alice.post("rules", RULE, **{"Idempotency-Key": '"r1"'})
    assert [one.status_code for one in (first, again, by_header)] == [201] * 3
    assert first.json() == again.json() == by_header.json()
    assert (first.get("Idempotent-Replayed"), again["Idempotent-Replayed"]) == (None, "true")
    assert Rule.objects.count() == 1


def test_another_request_with_the_same_id_is_refused(alice):
    alice.post("rules", {**RULE, "request_id": "r1"})
    refused(alice.post("rules", {**RULE, "name": "other", "request_id": "r1"}), 409, "request_id_reused", "request_id")
    refused(alice.post("rules/1/move", {"steps": 1, "request_id": "r1"}), 409, "request_id_reused", "request_id")
    bob = token_of("bob", "operator")
    assert bob.post("rules", {**RULE, "request_id": "r1"}).status_code == 201  # an id is each person's own


def test_a_refused_request_does_not_use_its_id_up(alice):
    store(report())
    number = Problem.objects.get().pk
    refused(alice.post(f"problems/{number}/unmute", {"request_id": "r1"}), 409, "not_muted")
    assert alice.post(f"problems/{number}/mute", {"request_id": "r1"}).status_code == 200
    assert alice.post(f"problems/{number}/mute", {"request_id": "r1"}).status_code == 200


def test_an_operation_without_a_body_takes_an_id(alice):
    ask()
    proposal = {"action": "continue", "condition": "process:*", "reason": "x"}
    number = alice.post("bulk-decisions", {**proposal, "request_id": "p"}).json()["id"]
    assert alice.post("bulk-decisions", {**proposal, "request_id": "p"}).json()["id"] == number
    first = alice.post(f"bulk-decisions/{number}/approve", {"request_id": "a"})
    assert first.status_code == 200
    assert alice.post(f"bulk-decisions/{number}/approve", {"request_id": "a"}).json() == first.json()
    refused(alice.post(f"bulk-decisions/{number}/approve", b""), 409, "wrong_state")


@pytest.mark.parametrize("key", ["", "x" * 65, '""'])
def test_an_unusable_key_is_refused(key, alice):
    refused(alice.post("rules", RULE, **{"Idempotency-Key": key}), 400, "invalid_parameter", "Idempotency-Key")
    alice.post("rules", {**RULE, "request_id": "a"}, **{"Idempotency-Key": "b"})
    assert RepeatableRequest.objects.get().request_id == "b"  # the header counts


def test_results_are_kept_for_a_day_and_not_more_than_so_many(alice, monkeypatch):
    monkeypatch.setattr(repeated_requests, "KEPT_MAX", 2)
    for number in range(4):
        alice.post("rules", {**RULE, "request_id": f"r{number}"})
    now = RepeatableRequest.objects.latest("pk").at
    assert repeated_requests.prune(now=now) == 2
    assert sorted(RepeatableRequest.objects.values_list("request_id", flat=True)) == ["r2", "r3"]
    assert repeated_requests.prune(now=now + timedelta(days=2)) == 2
    assert repeated_requests.prune(now=now) == 0


@pytest.mark.django_db(transaction=True)
def test_the_same_request_at_the_same_time_makes_one_rule():
    alice, statuses = token_of("alice", "operator"), []

    def send():
        statuses.append(alice.post("rules", {**RULE, "request_id": "r1"}).status_code)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses, Rule.objects.count()) == ([201] * 6, 1)


def test_a_retry_of_ones_own_decision_is_the_decision(alice):
    incident = ask()
    first = alice.decide(incident, action="kill", reason="stuck")
    again = alice.decide(incident, action="kill", reason="stuck")
    assert (again.status_code, again.json()) == (200, first.json())
    assert Decision.objects.count() == 1
    refused(alice.decide(incident, action="continue"), 409, "already_decided")
    refused(token_of("bob", "operator").decide(incident, action="kill"), 409, "already_decided")


def test_a_decision_takes_its_id_from_the_header(alice):
    incident = ask()
    assert (
        alice.post(f"incidents/{incident}/decision", {"action": "kill"}, **{"Idempotency-Key": "k"}).status_code == 200
    )
    assert Decision.objects.get().request_id == "k"


# Single reads


def test_each_kind_is_read_by_itself(alice):
    incident = ask(stack="File a.py", tags={"release": "1.4.2"}, kind="OSError")
    problem = Problem.objects.get().pk
    alice.post(f"problems/{problem}/comment", {"text": "Look at the cable."})
    alice.decide(incident, action="kill", reason="stuck")
    number = alice.post("rules", RULE).json()["id"]
    listed = {
        path: alice.get(path).json()["items"][0]
        for path in ("events", "incidents", "problems", "nodes", "processes", "rules")
    }
    for path, item in listed.items():
        found = alice.get(f"{path}/{item['id']}").json()
        volatile = {"heartbeat_age_s"}
        assert {name: found[name] for name in item if name not in volatile} == {
            name: value for name, value in item.items() if name not in volatile
        }
    assert alice.get(f"events/{listed['events']['seq']}").json()["stack"] == "File a.py"
    shown = alice.get(f"incidents/{incident}").json()
    assert (shown["stack"], shown["tags"]) == ("File a.py", {"release": "1.4.2"})
    assert [comment["text"] for comment in shown["comments"]] == ["Look at the cable."]
    assert [entry["action"] for entry in shown["history"]] == ["decide"]
    shown = alice.get(f"problems/{problem}").json()
    assert [comment["author"] for comment in shown["comments"]] == ["user:alice"]
    assert [entry["action"] for entry in shown["history"]] == ["comment"]
    assert [entry["action"] for entry in alice.get(f"rules/{number}").json()["history"]] == ["add"]
    ErrorEvent.objects.all().delete()
    shown = alice.get(f"incidents/{incident}").json()
    assert (shown["stack"], shown["tags"], shown["text"]) == (None, None, "no such file")


@pytest.mark.parametrize("path", ["events", "incidents", "problems", "nodes", "processes", "rules", "dead-letters"])
@pytest.mark.parametrize("key", ["0", "99999999999999999999", "nonsense", "0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123"])
def test_what_is_not_there_is_404(path, key, alice):
    refused(alice.get(f"{path}/{key}"), 404, "not_found")


def test_a_list_of_events_has_their_tags(viewer):
    store(report(tags={"release": "1.4.2"}), report())
    assert [item["tags"] for item in viewer.get("events").json()["items"]] == [{"release": "1.4.2"}, {}]


# Filters, orders, totals


def found(caller, path, name="id", **parameters):
    answer = caller.get(path, **parameters)
    assert answer.status_code == 200, answer.content
    return [item[name] for item in answer.json()["items"]]


def test_a_repeated_parameter_is_any_of_them(viewer):
    store(*(report(level=level, text=level.value) for level in Level))
    assert found(viewer, "events", "level", level=["error", "critical"]) == ["error", "critical"]
    assert found(viewer, "events", "level", level="error,critical") == ["error", "critical"]
    assert found(viewer, "problems", "level", level=["error", "critical"]) == ["error", "critical"]


def test_events_are_filtered_as_incidents_are(viewer):
    store(report("a", type=EventType.ACTION, process="p"), report("b", process="q"))
    store(report("c"), node="ship2")
    problem = viewer.get("events").json()["items"][1]["problem"]
    assert found(viewer, "events", "text", node="ship2") == ["c"]
    assert found(viewer, "events", "text", process="q") == ["b"]
    assert found(viewer, "events", "text", problem=problem) == ["b"]
    assert found(viewer, "events", "text", type="action") == ["a"]
    assert found(viewer, "events", "text", until="2h") == ["a", "b", "c"]
    assert found(viewer, "events", "text", since="2h") == []
    assert found(viewer, "events", "text", q="b OR c", node="ship2") == ["c"]


def test_incidents_are_found_by_problem_query_and_age(viewer):
    old, young = ask(text="a", kind="OSError"), ask(text="b", process="other")
    Incident.objects.filter(pk=young).update(opened_at=NOW + timedelta(days=3650))
    first = Problem.objects.order_by("pk")[0].pk
    assert found(viewer, "incidents", problem=first) == [str(old)]
    assert found(viewer, "incidents", q="process:other") == [str(young)]
    assert found(viewer, "incidents", until="1h") == [str(old)]
    assert found(viewer, "incidents", since="1h") == [str(young)]
    assert found(viewer, "incidents", kind="OSError") == [str(old)]
    Incident.objects.filter(pk=old).update(change=100)
    assert found(viewer, "incidents") == [str(young), str(old)]
    assert found(viewer, "incidents", sort="opened") == [str(old), str(young)]
    refused(viewer.get("incidents", q="lvel:error"), 400, "invalid_search", "q")


def test_problems_are_found_by_state_assignee_and_level_and_sorted(alice):
    for text, times in (("a", 3), ("b", 1), ("c", 2)):
        store(*(report(text) for _ in range(times)))
    a, b, c = found(alice, "problems")
    alice.post(f"problems/{b}/mute", {})
    alice.post(f"problems/{c}/assign", {"to": "alice"})
    assert found(alice, "problems", state="muted") == [b]
    assert found(alice, "problems", state=["muted", "open"]) == [a, b, c]
    assert found(alice, "problems", assignee="alice") == [c]
    assert found(alice, "problems", assignee="nobody") == [a, b]
    assert found(alice, "problems", q="times>=2") == [a, c]
    assert found(alice, "problems", sort="count", order="desc") == [a, c, b]
    items, pages = alice.pages("problems", sort="count", limit=1)
    assert ([item["id"] for item in items], pages) == ([b, c, a], 3)
    items, pages = alice.pages("problems", sort="level", limit=1, order="desc")
    assert ([item["id"] for item in items], pages) == ([c, b, a], 3)


def test_a_total_is_counted_when_asked_for(viewer):
    store(*(report(f"t{number}") for number in range(5)))
    assert "total" not in viewer.get("events").json()
    answer = viewer.get("events", limit=2, total="true").json()
    assert (len(answer["items"]), answer["total"], answer["total_exact"]) == (2, 5, True)
    assert viewer.get("events", q="t1", total="true", after=3).json()["total"] == 1


def test_a_poller_keeps_its_place(viewer):
    keep = viewer.get("events").json()["last"]
    assert keep is None
    seen = []
    for number in range(3):
        store(report(f"t{number}"))
        answer = viewer.get("events", **({"after": keep} if keep is not None else {})).json()
        seen += [item["text"] for item in answer["items"]]
        keep = answer["last"]
        assert viewer.get("events", after=keep).json() == {"items": [], "next": None, "last": keep}
    assert seen == ["t0", "t1", "t2"]
    # A search that finds nothing gets ahead all the same.
    assert viewer.get("events", q="nothing").json()["last"] == 3


# Caching and compression


def test_a_read_that_has_not_changed_is_304(viewer):
    store(report())
    for path in ("events", "problems", "events/1", "openapi.json"):
        first = viewer.get(path)
        again = viewer.client.get(f"/api/v1/{path}", headers={**viewer.headers, "If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b""), path
    etag = viewer.get("events")["ETag"]
    store(report("other"))
    changed = viewer.client.get("/api/v1/events", headers={**viewer.headers, "If-None-Match": etag})
    assert changed.status_code == 200
    assert {"Authorization", "Cookie"} <= {part.strip() for part in changed["Vary"].split(",")}


def test_a_long_answer_is_compressed_for_who_can_read_it(viewer):
    store(*(report(f"t{number}") for number in range(50)))
    answer = viewer.client.get("/api/v1/events", headers={**viewer.headers, "Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.content)) == viewer.get("events").json()
    again = viewer.client.get(
        "/api/v1/events", headers={**viewer.headers, "Accept-Encoding": "gzip", "If-None-Match": answer["ETag"]}
    )
    assert again.status_code == 304


def test_an_action_is_what_it_was(alice):
    """Decisions keep their shape for old clients."""
    incident = ask()
    body = alice.decide(incident, action=Action.KILL.value).json()
    assert body.keys() == {"incident", "decision_id", "action", "by", "reason", "decided_at"}
    won = token_of("bob", "operator").decide(incident, action="continue").json()
    assert {"error", "winner", "action", "reason", "decided_at"} <= won.keys()


def test_sessions_read_the_same_errors():
    caller = Caller(user=person("bob", "operator"))
    refused(caller.post("rules", RULE), 403, "csrf_failed")
    refused(Caller().get("events"), 401, "unauthenticated")
    refused(Caller(token="eku_x").get("events"), 401, "invalid_token")
    refused(token_of("vera", "viewer").post("rules", RULE), 403, "forbidden")
