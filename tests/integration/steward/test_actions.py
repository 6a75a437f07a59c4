"""What is kept of actions on Steward nodes, who may ask for them, what the pages show: without a node and a kernel."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.models import AuditEntry, ErrorEvent, Node, ProcessAction, ProcessActionRequest
from errorkernel.platform import conf
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.operator_messages import Listed
from errorkernel.senders.steward.protocol.process_control import Ended, Line
from errorkernel.senders.steward.store import actions
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest, LeaseHolder
from errorkernel.store.accounts import api_tokens
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STEWARD = Dialect(True, True, Format.GOB, Compression.NONE, "A23", declared=True)
CTRL = Dialect(False, False, Format.CBOR, Compression.ZSTD, "B27", declared=False)
LISTED = (Listed("ship1.REQHttpGet.EventACK", 15, "subscriber"), Listed("ship1.REQErrorLog.EventACK", 3, "subscriber"))
A, B = LeaseHolder("a", 30), LeaseHolder("b", 30)


@pytest.fixture
def ship1() -> Node:
    return Node.objects.create(name="ship1", dialect=msgspec.to_builtins(STEWARD))


def ask(plan: ActionKind = ActionKind.KILL, method: str = "REQHttpGet", **more: Any) -> ProcessAction:
    wish = ActionRequest(plan, method, more.pop("reason", "it hangs"), **more)
    return actions.request("ship1", wish, actor=Actor("user:alice", NOW))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_nothing_is_sent_to_a_node_that_was_not_understood(ship1: Node) -> None:
    for dialect in (None, {}, {"token": True}, ["gob"]):
        Node.objects.filter(pk=ship1.pk).update(dialect=dialect)
        with pytest.raises(ActionRefused, match="its command format"):
            ask(ActionKind.LIST, "")
    Node.objects.filter(pk=ship1.pk).update(dialect=msgspec.to_builtins(STEWARD), enabled=False)
    with pytest.raises(ActionRefused, match="disabled"):
        ask(ActionKind.LIST, "")
    assert not ProcessAction.objects.exists()


@pytest.mark.parametrize("method", ["REQErrorLog", "REQOpProcessStop", "httpGet", "REQHello", "", "REQHttpGet.x"])
def test_only_what_a_start_brings_back_is_touched_and_as_the_node_spells_it(ship1: Node, method: str) -> None:
    for plan in (ActionKind.STOP, ActionKind.START, ActionKind.KILL):
        with pytest.raises(ActionRefused, match="not one of the processes"):
            ask(plan, method)


def test_it_needs_a_reason_and_one_process_is_acted_on_once_at_a_time(ship1: Node) -> None:
    with pytest.raises(ActionRefused, match="reason"):
        ask(reason="")
    first = ask(request_id="r1")
    assert ask(request_id="r1") == first
    for other in ({"plan": ActionKind.STOP}, {"method": "REQCliCommand"}):
        with pytest.raises(ActionRefused, match="something else"):
            ask(request_id="r1", **other)
    with pytest.raises(ActionRefused, match="acted on already"):
        ask(ActionKind.STOP)
    ask(method="REQCliCommand")
    [taken, _] = actions.claim(A, now=NOW, limit=9)
    actions.end(taken, A, Ended(ActionOutcome.DONE, "It is done."), now=NOW)
    assert ask().pk != first.pk


def test_a_node_is_not_asked_without_end(ship1: Node) -> None:
    for _ in range(actions.A_MINUTE_MAX):
        ask(ActionKind.LIST, "")
        [taken] = actions.claim(A, now=NOW, limit=9)
        actions.end(taken, A, Ended(ActionOutcome.DONE, ""), now=NOW)
    with pytest.raises(ActionRefused, match="within a minute"):
        ask(ActionKind.LIST, "")
    wish = ActionRequest(ActionKind.LIST)
    actions.request("ship1", wish, actor=Actor("user:alice", at(61)))


def test_an_action_is_one_kernels_alone_until_that_is_silent(ship1: Node) -> None:
    ask()
    [mine] = actions.claim(A, now=NOW, limit=9)
    assert actions.claim(B, now=at(29), limit=9) == []
    begun = actions.begin(mine, A, RequestKind.LIST, now=at(10))
    assert begun
    assert actions.claim(B, now=at(39), limit=9) == []
    [theirs] = actions.claim(B, now=at(41), limit=9)
    # The message may have been carried out: it counts as sent, with no answer.
    assert actions.lines(theirs) == [Line(RequestKind.LIST, RequestResult.SILENT)]
    # Who was slow writes and sends nothing more.
    assert not actions.record_result(mine, begun[0], A, RequestResult.LISTED, "", listed=LISTED, now=at(42))
    assert actions.begin(mine, A, RequestKind.STOP, now=at(42)) is None
    actions.end(mine, A, Ended(ActionOutcome.DONE, "no"), now=at(42))
    theirs.refresh_from_db()
    assert (theirs.state, theirs.summary) == ("running", "")


def test_every_line_is_on_record_with_what_the_node_said(ship1: Node) -> None:
    ask()
    [action] = actions.claim(A, now=NOW, limit=9)
    for ask_, result, detail, listed in (
        (RequestKind.LIST, RequestResult.LISTED, "2 processes", LISTED),
        (RequestKind.STOP, RequestResult.STOPPED, "info: OpProcessStop: process stopped id: 15", None),
    ):
        begun = actions.begin(action, A, ask_, now=NOW)
        assert begun
        assert begun[1] == STEWARD
        assert actions.record_result(action, begun[0], A, result, detail, listed=listed, now=NOW)
    assert actions.lines(action) == [
        Line(RequestKind.LIST, RequestResult.LISTED, (15,)),
        Line(RequestKind.STOP, RequestResult.STOPPED),
    ]
    actions.end(action, A, Ended(ActionOutcome.UNCLEAR, "The node does not answer."), now=NOW)
    told = AuditEntry.objects.filter(target="node:ship1").order_by("id")
    assert [(one.actor, one.action) for one in told] == [
        ("user:alice", "steward kill"), ("node:ship1", "steward line"), ("node:ship1", "steward line"),
        ("system", "end kill"),
    ]  # fmt: skip
    assert told[2].after == {"action": action.pk, "line": 2, "ask": "stop", "result": "stopped"}
    assert told[3].reason == "The node does not answer."


def test_a_node_that_is_no_longer_understood_is_sent_nothing_more(ship1: Node) -> None:
    ask()
    [action] = actions.claim(A, now=NOW, limit=9)
    Node.objects.filter(pk=ship1.pk).update(dialect=None)
    with pytest.raises(ActionRefused):
        actions.begin(action, A, RequestKind.LIST, now=NOW)
    assert action.requests.count() == 0


# Pages and API


@pytest.fixture(autouse=True)
def spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(conf.get(), legacy="plain", legacy_nats_url="nats://127.0.0.1:1")
    monkeypatch.setattr(conf, "get", lambda: mine)


def person(group: str) -> User:
    user = User.objects.create_user(group)
    user.groups.add(Group.objects.get(name=group))
    return user


def signed_in(group: str) -> Client:
    client = Client()
    client.force_login(person(group))
    return client


def listed() -> None:
    ask(ActionKind.LIST, "")
    [action] = actions.claim(A, now=NOW, limit=9)
    begun = actions.begin(action, A, RequestKind.LIST, now=NOW)
    assert begun
    actions.record_result(action, begun[0], A, RequestResult.LISTED, "2 processes", listed=LISTED, now=NOW)
    actions.end(action, A, Ended(ActionOutcome.DONE, "The node has told its processes."), now=NOW)


def test_the_page_offers_what_the_node_listed_and_may_be_touched(ship1: Node) -> None:
    client = signed_in("operator")
    before = client.get("/nodes/ship1/actions/").content.decode()
    assert "List processes" in before
    assert 'value="kill"' not in before
    listed()
    page = client.get("/nodes/ship1/actions/").content.decode()
    assert '<input type="radio" name="process" value="REQHttpGet" required>' in page
    assert 'value="REQErrorLog"' not in page
    assert "<option>REQCliCommand</option>" in page
    assert "<option>REQHttpGet</option>" not in page
    refused = client.post("/nodes/ship1/act/", {"action": "kill", "process": "REQErrorLog", "reason": "my reason"})
    typed = refused.content.decode()
    assert (refused.status_code, "is not one of the processes" in typed, 'value="my reason"' in typed) == (
        409,
        True,
        True,
    )
    sent = client.post("/nodes/ship1/act/", {"action": "kill", "process": "REQHttpGet", "reason": "it hangs"})
    assert sent.status_code == 302
    action = ProcessAction.objects.get(plan="kill")
    assert sent["Location"] == f"/nodes/ship1/actions/{action.pk}/"
    assert "in the queue of the kernel" in client.get(sent["Location"]).content.decode()
    assert AuditEntry.objects.get(action="steward kill").origin


def test_a_viewer_sees_and_does_nothing(ship1: Node) -> None:
    listed()
    client = signed_in("viewer")
    page = client.get("/nodes/ship1/actions/").content.decode()
    assert "REQHttpGet" in page
    assert "<button name" not in page.split("<main")[1]
    assert client.post("/nodes/ship1/act/", {"action": "list"}).status_code == 403
    assert ProcessAction.objects.count() == 1


def test_the_page_says_why_nothing_can_be_done(ship1: Node) -> None:
    client = signed_in("operator")
    Node.objects.update(dialect=None)
    page = client.get("/nodes/ship1/actions/").content.decode()
    assert "have not shown its command format" in page
    assert 'name="action"' not in page
    refused = client.post("/nodes/ship1/act/", {"action": "list"})
    assert (refused.status_code, "its command format" in refused.content.decode()) == (409, True)
    assert client.post("/nodes/ship1/act/", {"action": "crash"}).status_code == 400
    assert client.get("/nodes/nobody/actions/").status_code == 404
    assert client.get("/nodes/ship1/actions/99/").status_code == 404


def test_where_such_nodes_are_not_spoken_to_nothing_is_promised(ship1: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "get", lambda: replace(conf.load({"HOME": "/"}), data_dir=conf.Path("/")))
    client = signed_in("operator")
    assert "STEWARD_LEGACY is off" in client.get("/nodes/ship1/actions/").content.decode()
    assert client.post("/nodes/ship1/act/", {"action": "list"}).status_code == 409


def test_the_api_does_the_same(ship1: Node) -> None:
    token = api_tokens.add(person("operator"), actor=Actor.system(NOW))
    headers = {"Authorization": f"Bearer {token}"}
    address, client = f"/api/v1/nodes/{ship1.pk}/actions", Client(headers=headers)

    def post(**body: Any) -> tuple[int, Any]:
        answer = client.post(address, json.dumps(body), content_type="application/json")
        return answer.status_code, answer.json()

    status, made = post(action="kill", process="REQHttpGet", reason="it hangs", request_id="r1")
    assert (status, made["state"], made["actor"], made["requests"]) == (202, "queued", "user:operator", [])
    assert post(action="kill", process="REQHttpGet", reason="it hangs", request_id="r1")[1]["id"] == made["id"]
    assert post(action="stop", process="REQHttpGet", reason="it hangs")[0] == 409
    assert post(action="stop", process="REQErrorLog", reason="it hangs")[0] == 409
    assert post(action="melt")[0] == 400
    assert [one["id"] for one in client.get(address).json()["items"]] == [made["id"]]
    assert client.get("/api/v1/nodes/99999/actions").status_code == 404
    viewer = api_tokens.add(person("viewer"), actor=Actor.system(NOW))
    refused = Client(headers={"Authorization": f"Bearer {viewer}"})
    assert refused.get(address).status_code == 200
    assert refused.post(address, "{}", content_type="application/json").status_code == 403


def test_what_may_be_touched_is_spelled_as_the_node_does() -> None:
    assert {"REQHttpGet", "REQToFileNACK"} <= set(actions.choices(STEWARD))
    assert {"httpGet", "PortDst"} <= set(actions.choices(CTRL))
    assert not set(actions.choices(STEWARD)) & set(actions.choices(CTRL))


# What the node tells besides


def event_of(ship1: Node, text: str, **more: Any) -> ErrorEvent:
    report = Event(
        id=uuid.uuid4(), type=EventType.ERROR, level=Level.ERROR, process="(not named)", text=text, **more
    )  # fmt: skip
    record(Batch(events=[(ship1.name, report)]), NameCache(), now=at(5))
    return ErrorEvent.objects.latest("seq")


def ended(result: RequestResult, detail: str, end: ActionOutcome) -> ProcessAction:
    ask()
    [action] = actions.claim(A, now=NOW, limit=9)
    begun = actions.begin(action, A, RequestKind.STOP, now=NOW)
    assert begun
    assert actions.record_result(action, begun[0], A, result, detail, now=at(6))
    assert actions.end(action, A, Ended(end, "The node does not answer."), now=at(6))
    assert not actions.end(action, A, Ended(end, "again"), now=at(7))
    action.refresh_from_db()
    return action


def test_a_node_that_refused_the_signature_meanwhile_is_said_to_have(ship1: Node) -> None:
    event = event_of(ship1, "error: ACL or Signature were verified not-OK", kind="refused")
    assert (
        f"(event {event.seq}) that it refuses" in ended(RequestResult.SILENT, "No reply.", ActionOutcome.FAILED).summary
    )


def test_a_refusal_of_before_or_after_a_decision_is_not_about_this(ship1: Node) -> None:
    event = event_of(ship1, "error: ACL or Signature were verified not-OK", kind="refused")
    assert ended(RequestResult.STOPPED, "stopped", ActionOutcome.FAILED).summary == "The node does not answer."
    ErrorEvent.objects.filter(pk=event.pk).update(received_at=at(-1))
    assert ended(RequestResult.SILENT, "No reply.", ActionOutcome.FAILED).summary == "The node does not answer."


def test_the_event_in_which_a_node_repeats_its_reply_shows_the_action(ship1: Node) -> None:
    text = "info: OpProcessStop: process stopped id: 15, method: {ship1 EventACK REQHttpGet 0xc0} on: ship1"
    action = ended(RequestResult.STOPPED, text, ActionOutcome.DONE)
    event = event_of(ship1, text)
    assert list(actions.of_event(event)) == [action]
    assert list(actions.of_event(event_of(ship1, text + "2"))) == []
    ErrorEvent.objects.update(received_at=at(9999))
    event.refresh_from_db()
    assert list(actions.of_event(event)) == []
    event.node = Node.objects.create(name="ship2")
    event.received_at = at(5)
    assert list(actions.of_event(event)) == []


def test_actions_go_with_the_retention_and_their_trail_stays(ship1: Node) -> None:
    ended(RequestResult.STOPPED, "stopped", ActionOutcome.DONE)
    assert actions.prune(days=0, now=NOW + timedelta(days=999)) == 0
    assert actions.prune(days=90, now=NOW + timedelta(days=90)) == 0
    waiting = ask()
    assert actions.prune(days=90, now=NOW + timedelta(days=91)) == 1
    assert list(ProcessAction.objects.all()) == [waiting]
    assert ProcessActionRequest.objects.count() == 0
    assert AuditEntry.objects.filter(action="end kill").exists()
