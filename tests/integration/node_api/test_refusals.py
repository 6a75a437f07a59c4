"""The node API refuses bodies, tokens, methods and floods."""

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errorkernel.broker import streams
from errorkernel.domain.rate_limit import RateLimit
from errorkernel.platform import conf
from errorkernel.store import nodes
from errorkernel.store.platform.actor import Actor
from errorkernel.web.node_api import bodies
from tests.support.node_requests import (
    EVENTS,
    NOW,
    STORE_BYTES,
    event,
    in_database,
    new_peer,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"{", b"[{}", b"7", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b"{}x", b'{"a":\n{"b":\n'],
)  # fmt: skip
async def test_what_is_no_json_is_a_400(stream, peer, body):
    told = await peer.post(body)
    assert told.status_code == 400
    assert told.json()["error"]
    assert told.json()["accepted"] == []


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
        ("gzip", lambda body: gzip.compress(body[:50]) + bytes(70_000) + gzip.compress(body[50:]) + bytes(70_000)),
        ("gzip, identity", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
        ("identity", bytes),
    ],
)
async def test_a_packed_body_is_unpacked(stream, peer, encoding, pack):
    batch = [event() for _ in range(50)]
    told = await peer.post(pack(json.dumps(batch).encode()), content_encoding=encoding)
    assert len(told.json()["accepted"]) == 50


GOOD = json.dumps([event() for _ in range(50)]).encode()


@pytest.mark.parametrize(
    ("status", "encoding", "body"),
    [
        (413, "gzip", gzip.compress(b"[" + b" " * 30_000_000 + b"]")),  # 30 MB in 30 KB
        (413, "deflate", zlib.compress(b" " * 30_000_000)),
        (413, None, b" " * (5 * 1024 * 1024 + 1)),
        (413, None, b"[" + b"1," * 2_000_000 + b"1]"),  # small, but two million objects once parsed
        (413, None, b"[" + b",".join([b"{}"] * 1001) + b"]"),
        (413, None, b"{}\n" * 1001),
        (413, None, b"\n" * 100_000 + b"{}\n" + b"\n" * 100_000 + b"{}"),
        (400, "gzip", gzip.compress(GOOD)[:-1]),
        (400, "gzip", gzip.compress(GOOD)[:-8] + b"\0" * 8),  # checksum
        (400, "gzip", gzip.compress(GOOD) + b"x"),
        (400, "gzip", GOOD),
        (400, "gzip", b""),
        (400, "gzip", gzip.compress(b"") * 1000 + gzip.compress(GOOD)),
        (400, "deflate", b"\x78\x9cgarbage"),
        (415, "br", GOOD),
        (400, "deflate", zlib.compress(GOOD) + b"\0"),
        (415, "gzip, br", gzip.compress(GOOD)),
        (415, "gzip, gzip", gzip.compress(gzip.compress(GOOD))),
    ],
)
async def test_a_body_that_is_too_much_or_broken_is_refused(stream, peer, status, encoding, body):
    told = await peer.post(body, content_encoding=encoding)
    assert told.status_code == status
    assert told.json()["error"]
    assert await stream.messages() == []
    assert (await peer.post(event())).status_code == 202


@pytest.mark.parametrize(
    "body", [b"[" + b"1," * 3_000_000 + b"1]", b"{}" + b"\n" * 6_000_000 + b"{}", b"[" * 6_000_000,
             b"[" + b'""' * 3_000_000 + b"]", b'["' + b"\\" * 6_000_000]
)  # fmt: skip
def test_what_would_unfold_in_memory_is_refused_before_it_does(body):
    tracemalloc.start()
    try:
        with pytest.raises(bodies.BodyError):
            bodies.split("", body, conf.get().limits)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer ekn_unknown", "Basic eDp5", "Bearer eku_x", "Bearer \xe9\xff"],
)
async def test_without_a_nodes_token_nothing_is_taken(stream, peer, authorization):
    told = await peer.post(event(), Authorization=authorization)
    assert told.status_code == 401
    assert told["WWW-Authenticate"].startswith("Bearer")
    assert told.json()["error"]
    assert await stream.messages() == []


async def test_a_disabled_node_is_refused_within_seconds(stream, peer, monkeypatch):
    assert (await peer.post(event())).status_code == 202
    await in_database(nodes.set_node_enabled, "ship1", False, Actor.system(NOW))
    until = time.monotonic() + 5
    while (status := (await peer.post(event())).status_code) == 202 and time.monotonic() < until:
        await asyncio.sleep(0.1)
    assert status == 401


async def test_a_node_that_posts_too_much_is_told_when_to_come_back(stream, peer, monkeypatch, broker):
    monkeypatch.setattr(conf, "get", lambda: replace(broker[1], node_rate_per_s=10, node_burst=30))
    other = await in_database(new_peer, "ship2")
    assert (await peer.post([event() for _ in range(30)])).status_code == 202
    told = await peer.post([event() for _ in range(20)])
    assert told.status_code == 429
    assert told["Retry-After"] == "2"
    assert (await other.post(event())).status_code == 202
    assert len(await stream.messages()) == 31


def test_the_bucket_refills_and_a_request_above_the_burst_passes_when_it_is_full():
    rate = RateLimit(10, 30)
    assert rate.wait_s("a", 30, 0.0) == 0
    assert rate.wait_s("a", 1, 0.0) == pytest.approx(0.1)
    assert rate.wait_s("b", 30, 0.0) == 0
    assert rate.wait_s("a", 10, 1.0) == 0
    assert rate.wait_s("a", 100, 100.0) == 0
    assert rate.wait_s("a", 1, 100.0) == pytest.approx(7.1)
    assert RateLimit(0, 0).wait_s("a", 10**9, 0.0) == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", EVENTS, "POST"),
        ("DELETE", EVENTS, "POST"),
        ("HEAD", "/api/v1/incidents/0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123/decision", "GET"),
        ("GET", "/api/v1/incidents/0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123/outcome", "POST"),
    ],
)
async def test_other_methods_are_405(stream, peer, method, path, allowed):
    told = await peer.request(method, path)
    assert told.status_code == 405
    assert allowed in told["Allow"]


_SCALARS = st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.integers()
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=400) | _VALUES.map(lambda value: json.dumps(value).encode()),
    content_type=st.sampled_from(["application/json", "application/x-ndjson", "multipart/form-data; boundary=x", ""]),
    encoding=st.sampled_from([None, "gzip", "deflate", "identity", "\xfe"]),
)
async def test_any_bytes_get_an_answer_that_is_the_clients_fault(stream, peer, body, content_type, encoding):
    for path in (EVENTS, f"/api/v1/incidents/{uuid4()}/outcome"):
        told = await peer.post(body, content_type, path=path, content_encoding=encoding)
        assert 400 <= told.status_code < 500 or (told.status_code == 202 and body.strip() == b"[]"), told.content
        json.loads(told.content)


async def test_a_full_share_of_the_stream_is_429_for_that_node_alone(stream, peer):
    await streams.ensure_streams(stream.connection, events_max_bytes=STORE_BYTES, node_events=5)
    try:
        assert (await peer.post([event() for _ in range(5)])).status_code == 202
        told = await peer.post(event())
        assert told.status_code == 429
        assert int(told["Retry-After"]) >= 1
        other = await in_database(new_peer, "ship2")
        assert (await other.post(event())).status_code == 202
        await stream.connection.api(f"STREAM.PURGE.{streams.subjects.EVENTS_STREAM}", {})
        assert (await peer.post(event())).status_code == 202
    finally:
        await streams.ensure_streams(stream.connection, events_max_bytes=STORE_BYTES)
