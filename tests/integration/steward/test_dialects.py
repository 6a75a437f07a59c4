"""Messages of different formats under one name: who is spoken to in which way, and when nobody is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.limits import Limits
from errorkernel.domain.process_actions import ActionKind
from errorkernel.models import AuditEntry, Node
from errorkernel.senders.steward.protocol import event_mapping as wire
from errorkernel.senders.steward.store import actions, dialects, ingest
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.senders.steward.store.ingest import Arrival, Memory
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from tests.support.steward.peer import CTRL, CTRL_2024, STEW, StewardPeer, Version

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
NAME = "ship1@steward"
WHO = Actor("user:alice", NOW)


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def report(version: Version, memory: Memory, hours: float) -> None:
    message = StewardPeer("", "ship1", version).error_message(f"error: {version.name} {hours}", at(hours))
    payload, headers = version.pack(message)
    read = wire.read(version.subject, headers or {}, payload)
    arrival = Arrival(f"{version.name} {hours}", at(hours).timestamp(), wire.report(read, Limits()))
    ingest.record([arrival], [], NameCache(), memory, limits=Limits(), now=at(hours))


def hello(version: Version, memory: Memory, hours: float) -> None:
    message = msgspec.structs.replace(StewardPeer("", "ship1", version).error_message("", NOW), data=bytes(32))
    subject = "central.REQHello.EventNACK" if version.token else "central.hello"
    payload, headers = version.pack(msgspec.structs.replace(message, method=version.method("hello")))
    heard = wire.read(subject, headers or {}, payload)
    ingest.record_heartbeats([("ship1", heard)], memory, nodes_max=99, now=at(hours))


def spoken(hours: float) -> str:
    found = dialects.spoken(Node.objects.get(name=NAME), at(hours))
    return dialects.describe(msgspec.to_builtins(found)) if found else "nothing is sent"


def ask(hours: float) -> None:
    actions.request(NAME, ActionRequest(ActionKind.LIST), actor=Actor("user:alice", at(hours)))


def test_a_node_is_spoken_to_as_it_speaks() -> None:
    memory = Memory()
    report(CTRL, memory, 0)
    assert spoken(0) == "ctrl, B27, cbor, zstd, without REQ"
    # However long it says nothing, and when it says the same again.
    assert spoken(1000) == spoken(0)
    report(CTRL, memory, 1001)
    assert spoken(1001) == spoken(0)
    ask(1001)


@pytest.mark.parametrize("say", [report, hello])
@pytest.mark.parametrize("forged", [STEW, CTRL_2024])
def test_a_message_of_another_kind_ends_that_until_one_has_come_alone_for_a_day(forged: Version, say: Any) -> None:
    memory = Memory()
    report(CTRL, memory, 0)
    say(forged, memory, 1)
    with pytest.raises(ActionRefused, match="different formats"):
        ask(1)
    # Nobody says anything for days: still nobody knows.
    assert spoken(99) == "nothing is sent"
    for hour in range(100, 125):
        report(CTRL, Memory(), hour)
    assert spoken(125) == "ctrl, B27, cbor, zstd, without REQ"
    ask(125)


def test_a_forger_that_goes_on_is_not_taken_for_the_node_and_another_kernel_sees_it_too() -> None:
    one, other = Memory(), Memory()
    report(CTRL, one, 0)
    for hour in range(1, 60):
        report(CTRL, one, hour)
        report(STEW, other, hour + 0.5)
        assert spoken(hour + 0.5) == "nothing is sent"


def test_an_operator_says_which_is_right_until_something_new_comes() -> None:
    memory = Memory()
    report(CTRL, memory, 0)
    report(STEW, memory, 1)
    with pytest.raises(dialects.NotSeen):
        dialects.choose(NAME, "ctrl, A23, gob", "it is ctrl", actor=WHO)
    dialects.choose(NAME, "ctrl, B27, cbor, zstd, without REQ", "it is ctrl", actor=WHO)
    assert AuditEntry.objects.get(action="steward dialect").after["seen"][1] == "Steward, gob"
    assert spoken(1) == "ctrl, B27, cbor, zstd, without REQ"
    report(STEW, memory, 2)
    report(CTRL, memory, 3)
    assert spoken(3) == "ctrl, B27, cbor, zstd, without REQ"
    report(CTRL_2024, memory, 4)
    assert spoken(4) == "nothing is sent"


def test_the_word_ends_when_the_node_speaks_so_no_longer() -> None:
    memory = Memory()
    report(CTRL, memory, 0)
    report(STEW, memory, 1)
    dialects.choose(NAME, "ctrl, B27, cbor, zstd, without REQ", "it is ctrl", actor=WHO)
    for hour in range(2, 40):
        report(STEW, memory, hour)
    assert spoken(40) == "nothing is sent"
    assert dialects.in_doubt(Node.objects.get(name=NAME), at(40))


def signed_in(group: str) -> Client:
    user, client = User.objects.create_user(group), Client()
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


def test_the_page_says_so_and_takes_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: at(1.1))
    memory = Memory()
    report(CTRL, memory, 0)
    report(STEW, memory, 1)
    operator, address = signed_in("operator"), f"/nodes/{NAME}/actions/"
    choose = f"/nodes/{NAME}/format/"
    assert "until you choose its format" in operator.get(f"/nodes/{NAME}/").content.decode()
    page = operator.get(address).content.decode()
    assert 'name="kind" value="Steward, gob"' in page
    assert 'value="list"' not in page
    assert 'name="kind"' not in signed_in("viewer").get(address).content.decode()
    assert operator.post(choose, {"kind": "Steward, gob"}).status_code == 400
    refused = operator.post(choose, {"kind": "no", "reason": "my reason"})
    assert (refused.status_code, 'value="my reason"' in refused.content.decode()) == (409, True)
    assert operator.get(choose).url == address
    sent = operator.post(choose, {"kind": "Steward, gob", "reason": "it is one"})
    assert sent.status_code == 302
    assert "different formats" not in operator.get(address).content.decode()
    assert spoken(1.1) == "Steward, gob"
    assert AuditEntry.objects.get(action="steward dialect").reason == "it is one"
