"""Requests of nodes over HTTP, for tests."""

import asyncio
import base64
import contextlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.broker.access import kernel_seed
from errorkernel.broker.connection import Connection
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.bypasses.request_threads import Django, KeptThreads
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action
from errorkernel.live import hub as hubs
from errorkernel.platform import conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import json_codec as wire
from errorkernel.store import nodes
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.web.node_api import views
from errorkernel.web.node_api.front import NodesFirst
from tests.support.waiting import PATIENCE_S

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


@contextlib.asynccontextmanager
async def kernel_link(server, given):
    connection = Connection(server.url, name="test", seed=kernel_seed(given))
    connection.start()
    await connection.wait_until_ready(PATIENCE_S)
    try:
        yield connection
    finally:
        await connection.close()


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
