"""The node API takes events in: only when they are stored in the stream, harmless to repeat."""

import json

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.models import RejectedEvent
from errorkernel.platform import conf
from errorkernel.protocol import json_codec as wire
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from tests.support.node_requests import NOW, event, in_database, new_peer, stored

pytestmark = pytest.mark.django_db(transaction=True)


# Events


async def test_an_event_is_in_the_stream_with_its_exact_bytes_when_202_is_said(stream, peer):
    body = b'  {"v": 1,\n "id": "%s", "type":"error", "process":"p", "error":{"text":"\\u00e9"}, "new": 1.50 }\n' % (
        str(uuid7()).encode()
    )
    told = await peer.post(body)
    assert told.status_code == 202
    assert told.json() == {"accepted": [json.loads(body)["id"]], "rejected": []}
    assert await stream.messages() == [("ek.evt.ship1", body.strip())]


@pytest.mark.parametrize(
    ("content_type", "glue"),
    [
        ("application/json", "array"),
        ("application/x-ndjson", "\n"),
        ("application/x-ndjson; charset=utf-8", "\r\n\r\n"),
        ("application/json", "\n"),
        ("application/x-www-form-urlencoded", "\n"),  # what curl says when it is not told
    ],
)
async def test_a_batch_keeps_its_order(stream, peer, content_type, glue):
    batch = [event(error={"text": f"{n} [1,2],{{}}\n"}) for n in range(300)]
    body = json.dumps(batch) if glue == "array" else glue.join(map(json.dumps, batch))
    told = await peer.post(body.encode(), content_type)
    assert told.json() == {"accepted": [one["id"] for one in batch], "rejected": []}
    assert [json.loads(data) for _, data in await stream.messages()] == batch


async def test_one_pretty_printed_event_is_one_event(stream, peer):
    told = await peer.post(json.dumps(event(), indent=2).encode())
    assert len(told.json()["accepted"]) == 1


async def test_sending_everything_again_stores_nothing_twice(stream, peer):
    batch = [event() for _ in range(20)]
    first, second = await peer.post(batch), await peer.post(batch)
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert await stored(stream) == [one["id"] for one in batch]


async def test_an_event_is_stored_whatever_else_bears_its_id(stream, peer):
    """Even at once, while the broker remembers the id."""
    mended = event()
    await stream.connection.store("ek.evt.ship2", b"of another node", msg_id=mended["id"])
    batch = [mended | {"error": {"text": "said otherwise"}}, mended]
    assert (await peer.post(batch)).status_code == 202
    assert [json.loads(data) for _, data in (await stream.messages())[1:]] == batch
    other = await in_database(new_peer, "ship2")
    assert (await other.post(mended)).status_code == 202
    assert [subject for subject, _ in await stream.messages()] == [
        "ek.evt.ship2",
        *["ek.evt.ship1"] * 2,
        "ek.evt.ship2",
    ]


async def test_bad_events_are_told_apart_kept_and_do_not_hold_up_good_ones(stream, peer):
    good, huge = event(), event(error={"text": "x" * 300_000})
    batch = [{}, good, 7, event(type="shout"), event(v=2), huge, event(process=" "), None]
    told = await peer.post(batch)
    assert told.status_code == 202
    assert told.json()["accepted"] == [good["id"]]
    assert [one["index"] for one in told.json()["rejected"]] == [0, 2, 3, 4, 5, 6, 7]
    assert all(one["error"] for one in told.json()["rejected"])
    assert len(await stream.messages()) == 1
    await peer.post(batch)
    reasons = await in_database(lambda: sorted(RejectedEvent.objects.values_list("reason", flat=True)))
    assert reasons == sorted(["wrong_shape"] * 4 + ["bad_version", "too_big", "bad_process"])  # once, not twice
    kept = await in_database(lambda: RejectedEvent.objects.get(reason="too_big"))
    assert (kept.node, kept.subject, kept.size > 300_000, len(bytes(kept.head))) == (
        "ship1",
        "ek.evt.ship1",
        True,
        4096,
    )


async def test_only_bad_events_are_a_400_of_the_same_shape(stream, peer):
    told = await peer.post([{}, event(type="shout")])
    assert told.status_code == 400
    assert told.json()["accepted"] == []
    assert [one["index"] for one in told.json()["rejected"]] == [0, 1]
    assert await stream.messages() == []


UNREADABLE = {
    "surrogate": rb'"\ud800\ud800"',
    "deep": b"[" * 3000 + b"]" * 3000,
    "number": b"NaN",
    "braces": rb'{"}]\"[,": [{}, "\\"], "b":}',
}


@pytest.mark.parametrize("glue", [b", ", b"\n"], ids=["array", "lines"])
@pytest.mark.parametrize("what", UNREADABLE)
async def test_one_event_that_cannot_be_read_refuses_no_other(stream, peer, what, glue):
    first, last = event(), event()
    bad = json.dumps(event(unknown="@")).encode().replace(b'"@"', UNREADABLE[what])
    body = glue.join([json.dumps(first).encode(), bad, json.dumps(last).encode()])
    told = await peer.post(body if glue == b"\n" else b" [" + body + b" ]\n")
    assert told.status_code == 202
    taken = [first["id"], json.loads(bad)["id"], last["id"]] if what == "surrogate" else [first["id"], last["id"]]
    assert told.json()["accepted"] == taken
    assert [one["index"] for one in told.json()["rejected"]] == ([] if what == "surrogate" else [1])
    assert [json.loads(data)["id"] for _, data in await stream.messages()] == taken


async def test_a_file_name_that_is_not_utf8_is_no_reason_to_refuse_anything(stream, peer):
    name = b"/data/\xff\\udcff.tif".decode("utf-8", "surrogateescape")
    raised = event(type="action", error={"text": name}, tags={name: name})
    assert (await peer.post(raised)).status_code == 202
    ((_, data),) = await stream.messages()
    read = wire.decode_event(data, conf.get().limits)
    assert read.text == "/data/\N{REPLACEMENT CHARACTER}\\udcff.tif"
    assert read.tags == {read.text: read.text}
    await in_database(record, Batch(events=[("ship1", read)]), NameCache(), now=NOW)
    for body in ({}, {"v": 1, "incident": raised["id"]}):
        assert (await peer.outcome(raised["id"], body | {"state": "failed", "detail": name})).status_code == 202
    assert wire.decode_outcome((await stream.messages())[-1][1], conf.get().limits).detail == read.text
