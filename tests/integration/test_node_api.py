"""HTTP for nodes, against a real nats-server: taken in only when stored there, harmless to repeat."""

import asyncio
import base64
import contextlib
import gzip
import itertools
import json
import threading
import time
import tracemalloc
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.contrib.auth.models import User
from django.db.backends.signals import connection_created
from django.test import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errorkernel.broker import streams
from errorkernel.broker.access import kernel_seed
from errorkernel.broker.connection import Connection
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.bypasses.request_threads import Django, KeptThreads
from errorkernel.domain.ids import uuid7
from errorkernel.domain.rate_limit import RateLimit
from errorkernel.domain.values import Action, Outcome, OutcomeState
from errorkernel.live import hub as hubs
from errorkernel.live.publisher import announce_incidents_async
from errorkernel.models import Incident, Node, RejectedEvent
from errorkernel.platform import conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import json_codec as wire
from errorkernel.store import nodes
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.web.node_api import bodies, broker_connection, decision_waits, gateway, views
from errorkernel.web.node_api.front import NodesFirst
from errorkernel.web.operations import incidents as operations
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
EVENTS = "/api/v1/events"
CHUNK_BYTES = 50_000
STORE_BYTES = 64 * 1024 * 1024


def settings_in(path):
    return replace(conf.get(), data_dir=path, nats_url="", nats_port=0)


def serve(given):
    server = EmbeddedServer(
        given.data_dir,
        kernel_key=public_nkey(kernel_seed(given)),
        host="127.0.0.1",
        port=0,
        binary=find_binary(given.nats_server),
        max_store_bytes=1024**3,
    )
    server.start([])
    return server


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A real nats-server for the whole file, and the settings that lead to it."""
    given = settings_in(tmp_path_factory.mktemp("broker"))
    server = serve(given)
    yield server, given
    server.stop()


@contextlib.asynccontextmanager
async def kernel_link(server, given):
    connection = Connection(server.url, name="test", seed=kernel_seed(given))
    connection.start()
    await connection.wait_until_ready(PATIENCE_S)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def stream(broker, monkeypatch):
    """The events' stream, empty; this process's settings are the broker's."""
    server, given = broker
    monkeypatch.setattr(conf, "get", lambda: given)
    async with kernel_link(server, given) as connection:
        await streams.ensure_streams(connection, events_max_bytes=STORE_BYTES)
        await connection.api(f"STREAM.PURGE.{streams.subjects.EVENTS_STREAM}", {})
        yield Stream(connection)
    await end_web()


async def end_web():
    await views.close()
    if hubs._hub is not None:
        await hubs._hub.close()
        hubs._hub = None


class Stream:
    def __init__(self, connection):
        self.connection = connection

    async def messages(self):
        """(subject, bytes) of everything that is stored."""
        state = (await self.connection.api("STREAM.INFO.EK_EVENTS", {}))["state"]
        found = []
        for seq in range(state["first_seq"], state["last_seq"] + 1):
            message = (await self.connection.api("STREAM.MSG.GET.EK_EVENTS", {"seq": seq}))["message"]
            found.append((message["subject"], base64.b64decode(message["data"])))
        return found


class Statements(list[tuple[str, str]]):
    """Every statement on connections that are opened from now on: (the thread's name, SQL)."""

    def note(self, execute, sql, params, many, context):
        self.append((threading.current_thread().name, sql))
        return execute(sql, params, many, context)

    def of(self, thread, text=""):
        return [sql for name, sql in self if name.startswith(thread) and text in sql]


@pytest.fixture
def statements():
    noted = Statements()

    def opened(connection, **_):
        connection.execute_wrappers.append(noted.note)

    connection_created.connect(opened)
    yield noted
    connection_created.disconnect(opened)


async def until(condition):
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


class Told:
    """A response as it came off the ASGI server's interface."""

    def __init__(self, messages):
        start, *bodies = messages
        self.status_code = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        self.content = b"".join(one.get("body", b"") for one in bodies)

    def __getitem__(self, name):
        return self.headers[name.lower()]

    def json(self):
        return json.loads(self.content)


class Peer:
    """A client that was written against the contract alone: a node's token and HTTP."""

    def __init__(self, token):
        self.token = token
        self.application = NodesFirst(KeptThreads(Django()))

    async def request(self, method, path, body=b"", content_type="application/json", gone=None, **headers):
        """``gone``: an event that is set when this client hangs up; ``None`` is answered then."""
        given = {"Host": "localhost", "Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "query_string": query.encode(), "client": ("127.0.0.1", 1), "server": ("localhost", 80),
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in given.items() if v is not None],
        }  # fmt: skip
        chunks = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)] or [b""]
        sent = []

        async def receive():
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
            await (gone or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.application(scope, receive, send)
        return Told(sent) if sent else None

    async def post(self, body, content_type="application/json", path=EVENTS, **headers):
        return await self.request("POST", path, body, content_type, **headers)

    async def decision(self, incident, wait="", gone=None):
        return await self.request("GET", f"/api/v1/incidents/{incident}/decision?wait={wait}", gone=gone)

    async def outcome(self, incident, body):
        return await self.post(body, path=f"/api/v1/incidents/{incident}/outcome")


def new_peer(name="ship1"):
    return Peer(nodes.add_node(name, actor=Actor.system(NOW)).token)


@pytest.fixture
def peer(transactional_db):
    return new_peer()


def event(**fields):
    usual = {"v": 1, "id": str(uuid7()), "type": "error", "process": "copy-files", "error": {"text": "no such file"}}
    return usual | fields


async def in_database(function, *args, **kwargs):
    threads = DatabaseThreads("test")
    try:
        return await threads.run(function, *args, **kwargs)
    finally:
        threads.close()


async def asked(node="ship1", **fields):
    """A stored question of that node."""
    raised = event(type="action", **fields)
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[(node, value)]), NameCache(), now=datetime.now(UTC))
    return UUID(raised["id"])


async def stored(stream):
    """The ids of what a kernel stores of all that is in the stream, in its order."""
    sent = [("ship1", wire.decode_event(data, conf.get().limits)) for _, data in await stream.messages()]
    recorded = await in_database(record, Batch(events=sent), NameCache(), now=NOW)
    return [str(row.id) for row in recorded.rows]


async def answer(incident, action=Action.KILL, reason="disk is being replaced"):
    return await in_database(decisions.decide, incident, action, Actor("user:alice", datetime.now(UTC)), reason=reason)


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


# The broker comes and goes


async def test_while_the_broker_is_away_nothing_is_taken_and_all_of_it_works_afterwards(tmp_path, monkeypatch, peer):
    given = settings_in(tmp_path)
    monkeypatch.setattr(conf, "get", lambda: given)
    monkeypatch.setattr(broker_connection, "FIRST_WAIT_S", 0.2)
    batch = [event() for _ in range(10)]
    try:
        told = await peer.post(batch)  # it has never been started
        assert told.status_code == 503
        assert int(told["Retry-After"]) >= 1
        server = serve(given)
        async with kernel_link(server, given) as connection:
            await streams.ensure_streams(connection, events_max_bytes=STORE_BYTES)
        assert await until_taken(peer, batch) == 202
        server.stop()
        assert (await peer.post(batch)).status_code == 503
        # Somebody else has its port meanwhile: it comes back on another one.
        taken = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", server.port)
        old, server = server.port, serve(given)
        assert server.port != old
        assert await until_taken(peer, batch) == 202
        async with kernel_link(server, given) as connection:
            assert await stored(Stream(connection)) == [one["id"] for one in batch]
        taken.close()
    finally:
        await end_web()
        server.stop()


async def until_taken(peer, batch):
    until = time.monotonic() + 10
    while (status := (await peer.post(batch)).status_code) == 503 and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return status


# Decisions


async def test_an_answer_that_is_there_is_given_at_once_and_marked_as_delivered(stream, peer):
    incident = await asked(incarnation=7)
    made = await answer(incident)
    told = await peer.decision(incident)
    assert told.status_code == 200
    assert told["Content-Type"] == "application/json"
    decision = wire.decode_decision(told.content)
    assert (decision.incident, decision.decision_id, decision.action) == (incident, made.pk, Action.KILL)
    assert (decision.by, decision.reason, decision.incarnation) == ("user:alice", "disk is being replaced", 7)
    assert (await in_database(Incident.objects.get, pk=incident)).state == "delivered"
    assert (await peer.decision(str(incident).upper())).content == told.content


async def test_a_waiting_node_is_told_as_soon_as_somebody_answers(stream, peer):
    incident = await asked()
    waiting = asyncio.ensure_future(peer.decision(incident, 30))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    await answer(incident, Action.CONTINUE)
    answered_at = time.monotonic()
    await announce_incidents_async([incident])
    told = await asyncio.wait_for(waiting, PATIENCE_S)
    assert told.json()["action"] == "continue"
    assert time.monotonic() - answered_at < 1.0


async def test_a_lost_wake_up_costs_a_moment_only(stream, peer):
    incident = await asked()
    waiting = asyncio.ensure_future(peer.decision(incident, 30))
    await asyncio.sleep(0.5)
    await answer(incident)  # and nobody announces it
    assert (await asyncio.wait_for(waiting, 4)).status_code == 200


async def test_without_an_answer_it_is_204_after_the_wait(stream, peer):
    incident = await asked()
    began = time.monotonic()
    told = await peer.decision(incident, 1)
    assert (told.status_code, told.content) == (204, b"")
    assert 0.9 < time.monotonic() - began < 2
    assert (await peer.decision(incident, -5)).status_code == 204


@pytest.mark.parametrize("wait", ["soon", "nan", "inf", "-inf", "0&wait=1", "1&wait="])
async def test_a_wait_that_is_no_number_of_seconds_is_400(stream, peer, wait):
    told = await peer.decision(await asked(), wait)
    assert told.status_code == 400
    assert "wait" in told.json()["error"]
    async with ThreadSensitiveContext():
        address = f"/api/v1/incidents/{uuid4()}/decision?wait={wait}"
        told = await AsyncClient().get(address, headers={"Authorization": f"Bearer {peer.token}"})
    assert told.status_code == 400


async def test_more_than_a_minute_is_not_waited(stream, peer, monkeypatch):
    monkeypatch.setattr(gateway, "WAIT_MAX_S", 0.2)
    assert (await asyncio.wait_for(peer.decision(await asked(), "1e300"), 5)).status_code == 204


async def test_a_node_may_ask_right_after_its_report_before_the_kernel_has_stored_it(stream, peer):
    raised = event(type="action")
    assert (await peer.post(raised)).status_code == 202
    waiting = asyncio.ensure_future(peer.decision(raised["id"], 30))
    await asyncio.sleep(1)
    assert not waiting.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    await asyncio.sleep(1)
    await answer(UUID(raised["id"]))
    assert (await asyncio.wait_for(waiting, 5)).status_code == 200


async def test_right_after_the_report_there_is_no_answer_yet_however_short_the_wait(stream, peer):
    raised = event(type="action")
    assert (await peer.post(raised)).status_code == 202
    waiting = asyncio.ensure_future(peer.decision(raised["id"], 0))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    assert (await asyncio.wait_for(waiting, 5)).status_code == 204


async def test_an_operator_may_answer_right_after_the_report_too(stream, peer, monkeypatch):
    def operator():
        return api_tokens.add(User.objects.create_superuser("alice"), actor=Actor.system(NOW))

    async def answered(incident, headers):
        address = f"/api/v1/incidents/{incident}/decision"
        async with ThreadSensitiveContext():
            return await AsyncClient().post(address, {"action": "stop"}, "application/json", headers=headers)

    raised, headers = event(type="action"), {"Authorization": f"Bearer {await in_database(operator)}"}
    assert (await peer.post(raised)).status_code == 202
    with monkeypatch.context() as patched:  # the first request takes its time
        patched.setattr(operations, "APPEAR_WAIT_S", 0.1)
        assert (await answered(raised["id"], headers)).status_code == 404
    answering = asyncio.ensure_future(answered(raised["id"], headers))
    await asyncio.sleep(0.5)
    assert not answering.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    assert (await asyncio.wait_for(answering, 5)).status_code == 200


async def test_what_never_was_asked_or_belongs_to_another_node_is_404(stream, peer, monkeypatch):
    monkeypatch.setattr(decision_waits, "APPEAR_WAIT_S", 0.3)
    other = await asked("ship2")
    await answer(other)
    for incident in (other, uuid4(), "nonsense", "..", "0"):
        assert (await peer.decision(incident, 0)).status_code == 404
        assert (await peer.outcome(incident, {"state": "applied"})).status_code == 404
    assert (await in_database(Incident.objects.get, pk=other)).state == "decided"
    assert await stream.messages() == []


async def test_a_client_that_hung_up_has_not_been_told(stream, peer):
    incident, gone = await asked(), asyncio.Event()
    waiting = asyncio.ensure_future(peer.decision(incident, 30, gone))
    await asyncio.sleep(0.3)
    gone.set()
    assert await asyncio.wait_for(waiting, 2) is None
    await answer(incident)
    await asyncio.sleep(2.5)
    assert (await in_database(Incident.objects.get, pk=incident)).state == "decided"


async def test_a_withdrawn_question_ends_the_asking(stream, peer):
    incident = await asked()
    gone = Outcome(incident=incident, state=OutcomeState.WITHDRAWN)
    await in_database(decisions.record_outcome, "ship1", gone, now=NOW)
    for wait in (30, 0, ""):
        told = await peer.decision(incident, wait)
        assert (told.status_code, told.json()["state"]) == (404, "withdrawn")


async def test_many_nodes_wait_at_the_same_time(stream, peer):
    asking = [await asked() for _ in range(conf.get().node_waits)]
    waiting = [asyncio.ensure_future(peer.decision(one, 20)) for one in asking]
    await asyncio.sleep(0.5)
    assert (await asyncio.wait_for(peer.post(event()), 5)).status_code == 202  # others are served meanwhile
    for one in asking:
        await answer(one)
    assert {told.status_code for told in await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)} == {200}


async def test_a_node_has_a_bounded_number_of_waits(stream, peer, monkeypatch):
    other, allowed = await in_database(new_peer, "ship2"), conf.get().node_waits
    incident, others = await asked(), await asked("ship2")
    waiting = [asyncio.ensure_future(peer.decision(incident, 30)) for _ in range(allowed + 30)]
    told = list(itertools.islice(asyncio.as_completed(waiting, timeout=PATIENCE_S), 30))
    refused = [await one for one in told]
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer["Retry-After"]) >= 1 for answer in refused)
    assert (await peer.decision(incident, 0)).status_code == 204  # an answer at once is no wait
    assert (await peer.outcome(uuid4(), {"state": "applied"})).status_code == 429
    waiting_too = asyncio.ensure_future(other.decision(others, 30))
    for one in (incident, others):
        await answer(one)
    await announce_incidents_async([incident, others])
    assert (await asyncio.wait_for(waiting_too, PATIENCE_S)).status_code == 200
    left = await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)
    assert sorted(answer.status_code for answer in left) == [200] * allowed + [429] * 30
    assert (await peer.decision(incident, 30)).status_code == 200  # its waits are over


async def test_waits_cost_no_statements_while_nothing_happens(stream, peer, statements):
    per_node = conf.get().node_waits
    peers = [peer, *[await in_database(new_peer, f"ship{number}") for number in range(2, 6)]]
    incidents = {one: [await asked(f"ship{at}") for _ in range(per_node)] for at, one in enumerate(peers, 1)}
    ids = [incident for each in incidents.values() for incident in each]
    statements.clear()
    waiting = [asyncio.ensure_future(one.decision(incident, 60)) for one in peers for incident in incidents[one]]
    await until(lambda: len(statements.of("gateway", "errorkernel_incident")) > 1)
    before = len(statements.of("gateway"))
    assert before < len(ids)  # one look-up for many of them
    checks = len(statements.of("live"))
    await until(lambda: len(statements.of("live")) >= checks + 6)  # three seconds of the hub's
    assert len(statements.of("gateway")) - before <= 8  # the last that came
    for incident in ids:
        await answer(incident)
    statements.clear()
    await announce_incidents_async(ids)
    assert {told.status_code for told in await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)} == {200}
    assert len(statements.of("gateway", "SELECT")) < len(ids)


# Outcomes


# Outcomes


async def test_an_outcome_is_in_the_stream_when_202_is_said(stream, peer):
    incident = await asked()
    made = await answer(incident)
    body = {"v": 1, "incident": str(incident), "decision_id": str(made.pk), "state": "applied", "new_incarnation": 8}
    first, second = await peer.outcome(incident, body), await peer.outcome(incident, body)
    assert first.status_code == second.status_code == 202
    assert first.json() == {"accepted": [str(incident)]}
    assert set(await stream.messages()) == {(f"ek.out.ship1.{incident}", json.dumps(body).encode())}


async def test_an_outcome_that_is_put_right_is_stored_beside_the_wrong_one(stream, peer):
    incident = await asked()
    outcomes = [{"v": 1, "incident": str(incident), "state": "applied", "decision_id": str(uuid4())} for _ in "12"]
    await stream.connection.store(f"ek.out.ship2.{incident}", b"of another node", msg_id=f"{incident}:applied")
    for one in outcomes:
        assert (await peer.outcome(incident, one)).status_code == 202
    assert [json.loads(data) for _, data in (await stream.messages())[1:]] == outcomes


async def test_what_the_address_says_need_not_be_said_again(stream, peer):
    incident = await asked()
    assert (await peer.outcome(incident, {"state": "withdrawn"})).status_code == 202
    ((subject, data),) = await stream.messages()
    assert subject == f"ek.out.ship1.{incident}"
    assert wire.decode_outcome(data, conf.get().limits) == Outcome(incident=incident, state=OutcomeState.WITHDRAWN)


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "fine"}, {"state": "applied", "incident": str(uuid4())}, {"state": "applied", "v": 2}, [], b"{",
     {"state": "applied", "detail": "x" * 300_000}],
)  # fmt: skip
async def test_an_outcome_that_says_nothing_or_something_else_is_400(stream, peer, body):
    incident = await asked()
    assert (await peer.outcome(incident, body)).status_code == 400
    assert await stream.messages() == []
    assert await in_database(RejectedEvent.objects.count) == 1


# Django alone, without what stands in front of it


async def test_django_alone_serves_nodes_the_same(stream, peer):
    async def request(method, path, body=b"", **headers):
        async with ThreadSensitiveContext():
            headers["Authorization"] = f"Bearer {peer.token}"
            return await AsyncClient().generic(method, path, body, "application/json", headers=headers)

    sent = [event() for _ in range(300)]
    packed = gzip.compress(json.dumps(sent).encode())
    assert (await request("POST", EVENTS, packed, **{"Content-Encoding": "gzip"})).status_code == 202
    assert [json.loads(data) for _, data in await stream.messages()] == sent
    assert (await request("POST", EVENTS, b"{")).status_code == 400
    assert (await request("POST", EVENTS, b" " * 6_000_000)).status_code == 413
    incident = await asked()
    waiting = asyncio.ensure_future(request("GET", f"/api/v1/incidents/{incident}/decision?wait=20"))
    await asyncio.sleep(0.5)
    await answer(incident)
    told = await asyncio.wait_for(waiting, 5)
    assert told.json()["action"] == "kill"
    assert (await request("POST", f"/api/v1/incidents/{incident}/outcome", b'{"state":"applied"}')).status_code == 202
    assert (await request("PUT", EVENTS)).status_code == 405


async def test_the_database_may_be_away_for_a_moment(stream, peer, monkeypatch):
    from django.db import OperationalError

    def away(token):
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(nodes, "names_by_token", away)
        told = await peer.post(event())
    assert told.status_code == 503
    assert told["Retry-After"]
    assert (await peer.post(event())).status_code == 202
    assert await in_database(Node.objects.count) == 1
