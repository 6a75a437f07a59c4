"""Batches of events: what is packed comes out, what is hostile is rejected in bounds, each event stands alone."""

import gzip
import json
import time
import zlib
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain.limits import Limits
from errorkernel.kernel import batches as sources
from errorkernel.kernel.batches import UnpackingSource
from errorkernel.kernel.intake import open_all
from errorkernel.protocol import batches
from errorkernel.protocol.errors import ProtocolError

PACKED = {"Nats-Msg-Id": "1", **batches.HEADERS}
PLAIN = {batches.CONTENT_TYPE: batches.NDJSON}
lines = st.binary(min_size=1, max_size=200).map(lambda data: data.replace(b"\n", b"n") + b"x")


def event(**fields: Any) -> bytes:
    body = {"v": 1, "id": str(uuid4()), "type": "error", "process": "p", "error": {"text": "x"}}
    return json.dumps({**body, **fields}).encode()


@given(st.lists(lines, min_size=1, max_size=50))
def test_what_is_packed_comes_out(events: list[bytes]) -> None:
    assert batches.unpack(batches.pack(events), PACKED) == events
    assert batches.unpack(b"\r\n".join(events) + b"\n\n", PLAIN)[-1].rstrip(b"\r") == events[-1].rstrip(b"\r")


@given(st.binary(max_size=2000))
def test_any_bytes_give_events_or_a_protocol_error(data: bytes) -> None:
    for headers in (PACKED, PLAIN, {**PLAIN, batches.CONTENT_ENCODING: "br"}):
        try:
            assert batches.unpack(data, headers)
        except ProtocolError:
            pass


BOMB = gzip.compress(b"\0" * 100_000_000, 9)
HOSTILE = {
    "bomb": (BOMB, "too_big"),
    "bomb of lines": (gzip.compress(b"\n" * 400_000), "too_many"),
    "too many events": (batches.pack([b"{}"] * 1001), "too_many"),
    "one byte too much": (gzip.compress(b"x" * (batches.LIMITS.bytes + 1)), "too_big"),
    "cut off": (batches.pack([event()])[:-9], "bad_compression"),
    "something after it": (batches.pack([event()]) + b"x", "bad_compression"),
    "two members": (batches.pack([event()]) * 2, "bad_compression"),
    "not gzip": (b"{}", "bad_compression"),
    "zlib": (zlib.compress(event()), "bad_compression"),
    "nothing": (b"", "bad_compression"),
    "empty": (gzip.compress(b" \n \n"), "empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_batch_is_rejected_within_bounds(name: str) -> None:
    data, reason = HOSTILE[name]
    began = time.thread_time()
    with pytest.raises(ProtocolError) as raised:
        batches.unpack(data, PACKED)
    assert raised.value.reason == reason
    assert time.thread_time() - began < 0.1


class Message:
    """A delivery of a stream that notes how it was answered."""

    def __init__(self, number: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.subject = "ek.evt.ship1"
        self.headers = headers or {}
        self.data = data
        self.source = f"EK_EVENTS:{number}:1"
        self.sequence = number
        self.stored_at = 1.0
        self.deliveries = 1
        self.answers: list[str] = []

    async def ack(self) -> None:
        self.answers.append("ack")

    async def nak(self, delay_s: float) -> None:
        self.answers.append("nak")

    async def term(self) -> None:
        self.answers.append("term")


class Stream:
    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)

    @property
    def waiting(self) -> int:
        return len(self._messages)

    async def get(self, limit: int) -> Sequence[Message]:
        taken, self._messages = self._messages[:limit], self._messages[limit:]
        return taken


async def test_events_of_a_batch_keep_their_place_among_others() -> None:
    texts = [event(error={"text": str(number)}) for number in range(6)]
    source = UnpackingSource(
        Stream([Message(1, texts[0]), Message(2, batches.pack(texts[1:5]), PACKED), Message(3, texts[5])])
    )
    taken = [*await source.get(3), *await source.get(3)]
    assert [delivery.data for delivery in taken] == texts
    assert source.waiting == 0
    assert len({delivery.source for delivery in taken}) == 6
    assert all(delivery.subject == "ek.evt.ship1" for delivery in taken)


async def test_a_batch_is_acknowledged_when_all_its_events_are_settled() -> None:
    message = Message(1, batches.pack([event(), b"not json", event()]), PACKED)
    first, second, third = await UnpackingSource(Stream([message])).get(10)
    await first.ack()
    await second.term()
    assert message.answers == []
    await third.ack()
    assert message.answers == ["ack"]


async def test_an_event_that_cannot_be_read_is_rejected_alone() -> None:
    message = Message(1, batches.pack([event(), b"not json", event(v=9), event()]), PACKED)
    opened = open_all(await UnpackingSource(Stream([message])).get(10), Limits())
    assert len(opened.batch.events) == 2
    assert [rejected.reason for rejected in opened.batch.refusals] == ["not_json", "bad_version"]
    assert len({rejected.source for rejected in opened.batch.refusals}) == 2


async def test_a_batch_that_cannot_be_unpacked_is_rejected_as_a_whole_and_harms_no_other() -> None:
    messages = [Message(1, event()), Message(2, BOMB, PACKED), Message(3, event())]
    taken = await UnpackingSource(Stream(messages)).get(10)
    opened = open_all(taken, Limits())
    assert len(opened.batch.events) == 2
    [rejected] = opened.batch.refusals
    assert (rejected.reason, rejected.node, rejected.data) == ("too_big", "ship1", BOMB)
    for delivery in opened.refused:
        await delivery.term()
    assert messages[1].answers == ["ack"]


async def test_many_bombs_do_not_hold_up_the_loop() -> None:
    source = UnpackingSource(Stream([Message(number, BOMB, PACKED) for number in range(100)]))
    first = await source.get(100)
    assert len(first) <= sources.UNPACK_AT_ONCE_BYTES // batches.LIMITS.bytes
    assert source.waiting == 100 - len(first)


async def test_an_outcome_in_a_batch_is_no_event() -> None:
    outcome = json.dumps({"v": 1, "incident": str(uuid4()), "state": "applied"}).encode()
    message = Message(1, batches.pack([outcome]), PACKED)
    opened = open_all(await UnpackingSource(Stream([message])).get(1), Limits())
    assert [rejected.reason for rejected in opened.batch.refusals] == ["wrong_shape"]
