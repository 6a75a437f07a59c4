"""Access denials, from the broker's log and of requests."""

import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from errorkernel.broker import log_tailer
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.log_tailer import LogTailer
from errorkernel.domain.access_denials import KEYS_MAX, Denial, DenialCounter
from errorkernel.models import AccessDenial, Node
from errorkernel.store import nodes as fleet
from errorkernel.store.accounts import access_denials
from errorkernel.store.platform.actor import Actor
from tests.support.fleet_data import NOW, SECOND

KEY = "UAOI5IC5I6STIJGV57UQOQKPXJRW3BHPXCV4E6F5ULW4464UCWJ4IB7J"


# Refused attempts


def line(client: str, what: str) -> str:
    return f"[9] 2026/11/24 08:50:56.306896 [ERR] 10.0.0.9:52086 - cid:7 - {client}{what}"


NAME = r'"v2:python3:we \"ird\" - \"node-victim/nkey:U\" - Publish Violation - Subject \"x\"" - '


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(NAME + f'"node-a-b/nkey:{KEY}" - ', 'Publish Violation - Subject "ek.evt.b"'),
         Denial("publish", "ek.evt.b", "a-b", f"key:{KEY}", "10.0.0.9")),
        (line(f'"node-a/nkey:{KEY}" - ', 'Subscription Violation - Subject "x.y", Queue: "q", SID 2'),
         Denial("subscribe", "x.y", "a", f"key:{KEY}", "10.0.0.9")),
        (line(f'"v2" - "node-a/nkey:{KEY}" - ', 'Publish Violation - Reply "_R_.x"'),
         Denial("publish", "(answer to) _R_.x", "a", f"key:{KEY}", "10.0.0.9")),
        (line("", f'authentication error - Nkey "{KEY}"'), Denial("connect", "", "", f"key:{KEY}", "10.0.0.9")),
        (line("", 'authentication error - User "u\\n"'), Denial("connect", "", "", "user:u\n", "10.0.0.9")),
        (line("", 'authentication error - Token "[REDACTED]"'), Denial("connect", "", "", "", "10.0.0.9")),
        (line("", "authentication error"), Denial("connect", "", "", "", "10.0.0.9")),
        ("[9] 2026/11/24 08:50:56.306896 [INF] Server is ready", None), ("", None), ("\x00\xff", None),
    ],
)  # fmt: skip
def test_a_line_of_the_brokers_log_is_read_and_no_name_of_a_client_can_forge_one(
    text: str, expected: Denial | None
) -> None:
    assert log_tailer.parse(text) == expected


def test_the_log_is_followed_through_rotation_and_halves_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("old\n")
    tail = LogTailer(path)
    assert tail.read() == []
    with path.open("a") as out:
        out.write("one\ntw")
    assert tail.read() == ["one"]
    with path.open("a") as out:
        out.write("o\n")
    assert tail.read() == ["two"]
    with path.open("a") as out:
        out.write("last\n")
    os.rename(path, tmp_path / "server.log.1")
    path.write_text("new\n")
    assert [*tail.read(), *tail.read(), *tail.read()] == ["last", "new"]
    path.write_text("")
    tail.read()
    with path.open("a") as out:
        out.write("after a cut\n")
    assert [*tail.read(), *tail.read()] == ["after a cut"]


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = LogTailer(tmp_path / "log")
    assert tail.read() == []
    (tmp_path / "log").write_text("first\n")
    assert tail.read() == ["first"]


def test_a_storm_of_different_attempts_is_few_in_memory() -> None:
    tally = DenialCounter()
    for number in range(10_000):
        tally.add(Denial("publish", f"ek.evt.{number}", "a"))
    tally.add(Denial("connect", "", "", "key:U"))
    taken = tally.take()
    assert (len(taken), sum(taken.values())) == (KEYS_MAX + 2, 10_001)
    assert tally.take() == {}


@pytest.mark.django_db
def test_the_same_attempt_is_one_row_and_rows_are_bounded() -> None:
    for minute in range(3):
        access_denials.record({Denial("publish", "ek.evt.b", "a"): 4}, now=NOW + minute * 60 * SECOND)
    row = AccessDenial.objects.get()
    assert (row.count, row.first_at, row.last_at) == (12, NOW, NOW + 120 * SECOND)
    for hour in range(1, 4):
        later = NOW + timedelta(hours=2 * hour)
        access_denials.record({Denial("publish", f"x.{hour}.{number}\0", "a"): 1 for number in range(300)}, now=later)
        access_denials.record(
            {Denial("connect", "", "", f"key:{hour}.{number}"): 1 for number in range(600)}, now=later
        )
        half = access_denials.KEPT_OF_A_NODE // 2
        assert AccessDenial.objects.get(node="a", target="…").count == hour * (300 - half)
    assert AccessDenial.objects.filter(node="a").count() == access_denials.KEPT_OF_A_NODE
    assert AccessDenial.objects.filter(node="").count() == access_denials.KEPT_OF_UNKNOWN_SENDERS
    assert not AccessDenial.objects.filter(target="ek.evt.b").exists(), "the oldest made way"


@pytest.mark.django_db
def test_whoever_comes_with_the_key_or_token_of_a_node_that_is_shut_out_is_known_by_it() -> None:
    made = fleet.add_node("ship1", actor=Actor.system(NOW))
    old = public_nkey(made.nkey_seed)
    fleet.renew_node("ship1", actor=Actor.system(NOW))
    token_digest = Node.objects.get().token_digest
    access_denials.record(
        {Denial("connect", "", "", f"key:{old}"): 1, Denial("http", "/api/v1/", "", f"token:{token_digest}"): 1,
         Denial("http", "/api/v1/", "", "token:" + "0" * 64): 1}, now=NOW,
    )  # fmt: skip
    found = {(one.operation, one.node): one.credential for one in AccessDenial.objects.all()}
    assert found["connect", "ship1"] == f"key:{old}"
    assert found["http", "ship1"] == f"token:{token_digest[:12]}", "never the whole digest"
    assert ("http", "") in found
    assert all(UUID(int=0).hex not in claimed for claimed in found.values())
