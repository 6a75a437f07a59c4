"""Who may do what at the broker: the product's own one, real nkeys, every right of the contract and its edges."""

import asyncio
import contextlib
import json
import sqlite3
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from errorkernel.broker.credentials import make_nkey, public_nkey
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

REFUSED = (nats.errors.Error, ConnectionResetError)
NOT_LET_IN = r"Authorization Violation|Connection lost|reset by peer"
"""The server says why and closes; a client that is still writing may meet the closed connection first."""

NAMES = ("a", "a-b", "a_", "A")
"""Names that look like each other: none may be taken for a part or a pattern of another."""
NEXT = "$JS.API.CONSUMER.MSG.NEXT.EK_DECISIONS.node-{}"
INFO = "$JS.API.CONSUMER.INFO.EK_DECISIONS.node-{}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("up") / "data").start()
    yield product
    product.stop()


@pytest.fixture(scope="module")
def given(running: Product) -> dict[str, dict[str, str]]:
    """The credentials of all nodes, once the broker and the kernel know them."""
    made = {name: running.add_node(name) for name in NAMES}

    async def known() -> bool:
        for name in NAMES:
            try:
                async with connected(made[name]) as nc:
                    info = json.loads((await nc.request(INFO.format(name), b"", timeout=2)).data)
                    if "error" in info:
                        return False
            except (nats.errors.Error, TimeoutError):
                return False
        return True

    wait_for(lambda: asyncio.run(known()))
    return made


def event(**fields: object) -> bytes:
    return json.dumps(
        {"v": 1, "id": str(uuid.uuid4()), "type": "error", "process": "p", "error": {"text": "no"}, **fields}
    ).encode()


@contextlib.asynccontextmanager
async def connected(credentials: dict[str, str], **options: Any) -> AsyncIterator[Client]:
    """A plain NATS client with a node's credentials; what the broker refuses is in ``nc.refused``."""
    refused: list[str] = []

    async def error(exc: Exception) -> None:
        refused.append(str(exc))

    nc = await nats.connect(
        credentials["nats_url"],
        nkeys_seed_str=credentials["nkey_seed"],
        inbox_prefix=f"_INBOX_{credentials['node']}".encode(),
        allow_reconnect=False,
        error_cb=error,
        **options,
    )
    nc.refused = refused  # type: ignore[attr-defined]
    try:
        yield nc
    finally:
        await nc.close()


async def refusals(nc: Any, count: int) -> list[str]:
    """What has been refused, once it is ``count`` things (or, when it stays less, after a while)."""
    await nc.flush()
    for _ in range(500):
        if len(nc.refused) >= count:
            break
        await asyncio.sleep(0.02)
    return list(nc.refused)


async def raise_and_answer(running: Product, nc: Client, name: str) -> str:
    """A question of the node and its answer in EK_DECISIONS; returns the incident."""
    asked = str(uuid.uuid4())
    await nc.jetstream().publish(f"ek.evt.{name}", event(id=asked, type="action"))
    token = await asyncio.to_thread(running.token)

    def answered() -> bool:
        body = {"action": "continue", "reason": "test"}
        return running.call(f"/api/v1/incidents/{asked}/decision", token, body)[0] == 200

    await asyncio.to_thread(wait_for, answered)
    return asked


@pytest.mark.parametrize("name", NAMES)
def test_a_node_may_do_what_the_contract_gives_it(running: Product, given: Any, name: str) -> None:
    async def run() -> None:
        async with connected(given[name]) as nc:
            js = nc.jetstream()
            asked = await raise_and_answer(running, nc, name)
            pull = await js.pull_subscribe_bind(consumer=f"node-{name}", stream="EK_DECISIONS")
            [message] = await pull.fetch(1, timeout=PATIENCE_S)
            assert json.loads(message.data)["incident"] == asked
            await message.ack_sync(timeout=PATIENCE_S)
            outcome = {"v": 1, "incident": asked, "state": "applied"}
            stored = await js.publish(f"ek.out.{name}.{asked}", json.dumps(outcome).encode())
            assert stored.stream == "EK_EVENTS"
            sync = await nc.request(
                f"ek.sync.{name}", json.dumps({"open": [asked], "outcomes": []}).encode(), timeout=5
            )
            assert json.loads(sync.data)["decisions"][0]["incident"] == asked
            await nc.publish(f"ek.hello.{name}", json.dumps({"v": 1, "version": "mine"}).encode())
            await nc.subscribe(f"_INBOX_{name}.>")
            assert await refusals(nc, 0) == []

    asyncio.run(run())


def forbidden_publishes(name: str, other: str) -> list[str]:
    """Everything below the roots that is not the node's own, and every way into JetStream's administration."""
    api = "$JS.API"
    return [
        f"ek.evt.{other}", f"ek.out.{other}.{uuid.uuid4()}", f"ek.hello.{other}", f"ek.sync.{other}",
        f"ek.evt.{name}.x", f"ek.out.{name}", f"ek.out.{name}.x.y", f"ek.dec.{name}.x", f"ek.dec.{other}.x",
        f"_INBOX_{name}.x", f"_INBOX_{other}.x", "_INBOX.x", "live.x", "x",
        NEXT.format(other), INFO.format(other), f"$JS.ACK.EK_DECISIONS.node-{other}.1.1.1.1.0",
        "$JS.ACK.EK_EVENTS.kernel.1.1.1.1.0", f"{api}.CONSUMER.MSG.NEXT.EK_EVENTS.kernel",
        f"{api}.INFO", f"{api}.STREAM.NAMES", f"{api}.STREAM.INFO.EK_EVENTS", f"{api}.STREAM.INFO.EK_DECISIONS",
        f"{api}.STREAM.CREATE.MINE", f"{api}.STREAM.UPDATE.EK_EVENTS", f"{api}.STREAM.DELETE.EK_EVENTS",
        f"{api}.STREAM.PURGE.EK_DECISIONS", f"{api}.STREAM.MSG.GET.EK_DECISIONS", f"{api}.STREAM.MSG.DELETE.EK_EVENTS",
        f"{api}.DIRECT.GET.EK_DECISIONS", f"{api}.CONSUMER.CREATE.EK_DECISIONS",
        f"{api}.CONSUMER.CREATE.EK_DECISIONS.node-{name}", f"{api}.CONSUMER.DURABLE.CREATE.EK_DECISIONS.node-{name}",
        f"{api}.CONSUMER.DELETE.EK_DECISIONS.node-{name}", f"{api}.CONSUMER.DELETE.EK_DECISIONS.node-{other}",
        f"{api}.CONSUMER.NAMES.EK_DECISIONS", f"{api}.CONSUMER.PAUSE.EK_DECISIONS.node-{name}",
        "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.STEWARD.CONNZ", "$SYS.REQ.USER.INFO.x", "$JS.EVENT.ADVISORY.x",
    ]  # fmt: skip


FORBIDDEN_SUBSCRIPTIONS = [
    ">", "*", "ek.>", "ek.dec.{}.*", "ek.dec.>", "ek.evt.{}", "ek.sync.*", "_INBOX_{other}.>", "_INBOX.>",
    "_INBOX_{}", "*.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "_R_.>",
]  # fmt: skip


@pytest.mark.parametrize(("name", "other"), [("a", "a-b"), ("a-b", "a"), ("a", "a_"), ("a_", "a"), ("a", "A")])
def test_a_node_may_do_nothing_else(given: Any, name: str, other: str) -> None:
    publishes = forbidden_publishes(name, other)
    subscriptions = [one.format(name, other=other) for one in FORBIDDEN_SUBSCRIPTIONS]

    async def run() -> None:
        async with connected(given[name]) as nc:
            for subject in publishes:
                await nc.publish(subject, b"", reply=f"_INBOX_{name}.x")
            for subject in subscriptions:
                await nc.subscribe(subject)
            found = await refusals(nc, len(publishes) + len(subscriptions))
        # nats-py tells them in lower case.
        told = [one.split(' to "', 1)[1].rstrip('"') for one in found]
        assert told == [one.lower() for one in [*publishes, *subscriptions]]

    asyncio.run(run())


def streams(running: Product) -> dict[str, Any]:
    """Stream → (messages by subject, consumers), as the kernel sees them."""
    seed = (running.directory / "kernel.nk").read_text().strip()

    async def ask() -> dict[str, Any]:
        nc = await nats.connect(running.nats_url, nkeys_seed_str=seed)
        found = {}
        for stream in ("EK_EVENTS", "EK_DECISIONS"):
            info = await nc.jetstream().stream_info(stream, subjects_filter=">")
            consumers = await nc.jetstream().consumers_info(stream)
            found[stream] = info.state.subjects or {}, {one.name for one in consumers}
        await nc.close()
        return found

    return asyncio.run(ask())


def quarantined(running: Product) -> set[str]:
    """The nodes in whose names something was refused."""
    with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
        return {node for (node,) in database.execute("SELECT node FROM errorkernel_rejectedevent")}


def test_a_forged_reply_subject_reaches_nothing_of_anybody_else(running: Product, given: Any) -> None:
    """JetStream and the kernel answer wherever a request says: that place must be the asking node's own."""
    targets = [
        "_INBOX_a-b.forged", "ek.evt.a-b", "ek.evt.a", "ek.out.a-b.x", "ek.dec.a-b.x", "ek.hello.a-b", "ek.sync.a-b",
        "$JS.API.STREAM.PURGE.EK_EVENTS", "$JS.API.STREAM.DELETE.EK_EVENTS", "$JS.API.STREAM.DELETE.EK_DECISIONS",
        "$JS.API.CONSUMER.DELETE.EK_DECISIONS.node-a-b", "$JS.API.CONSUMER.DELETE.EK_EVENTS.kernel", NEXT.format("a-b"),
    ]  # fmt: skip
    no_wait = json.dumps({"batch": 1, "no_wait": True}).encode()
    before = streams(running)
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async def run() -> None:
        async with connected(given["a"]) as nc, connected(given["a-b"]) as victim:
            await victim.subscribe("_INBOX_a-b.>", cb=hear)
            await victim.flush()
            for target in targets:
                await nc.publish("ek.evt.a", event(), reply=target)
                await nc.publish(NEXT.format("a"), no_wait, reply=target)
                await nc.publish(INFO.format("a"), b"", reply=target)
                await nc.publish("ek.sync.a", b'{"open": [], "outcomes": []}', reply=target)
            for reserved in ("_R_.x", "$JS.ACK.EK_DECISIONS.node-a-b.1.1.1.1.0"):
                await nc.publish("ek.sync.a", b"{}", reply=reserved)
            assert len(await refusals(nc, 2)) == 2
            # A request that came after them all has been answered: so have they.
            await nc.request("ek.sync.a", b'{"open": [], "outcomes": []}', timeout=5)
            await victim.flush()

    asyncio.run(run())

    def settled() -> bool:
        return "ek.evt.a" not in streams(running)["EK_EVENTS"][0]

    wait_for(settled)
    after = streams(running)
    assert heard == []
    assert [after[stream][1] for stream in after] == [before[stream][1] for stream in before]
    assert after["EK_DECISIONS"][0] == before["EK_DECISIONS"][0]
    # An answer that it sent to its own subject stands there as its own nonsense.
    assert quarantined(running) <= {"a"}


def test_a_made_up_acknowledgement_takes_nothing_from_anybody_else(running: Product, given: Any) -> None:
    """The number in an acknowledgement is chosen by the node: it counts for its own durable alone."""

    async def run() -> None:
        async with connected(given["a_"]) as nc, connected(given["a-b"]) as victim:
            asked = await raise_and_answer(running, victim, "a-b")
            for number in range(1, 40):
                await nc.publish(f"$JS.ACK.EK_DECISIONS.node-a_.1.{number}.{number}.1.0", b"+TERM")
            await nc.flush()
            pull = await victim.jetstream().pull_subscribe_bind(consumer="node-a-b", stream="EK_DECISIONS")
            found = [json.loads(one.data)["incident"] for one in await pull.fetch(1, timeout=PATIENCE_S)]
            assert found == [asked]

    asyncio.run(run())


@pytest.mark.parametrize(
    "options",
    [{}, {"nkeys_seed_str": make_nkey()[0]}, {"user": "a", "password": "a"}, {"user": "kernel"}, {"token": "a"}],
    ids=["none", "unknown nkey", "password", "user", "token"],
)
def test_a_stranger_does_not_get_in(running: Product, options: dict[str, str]) -> None:
    async def run() -> None:
        with pytest.raises(REFUSED, match=NOT_LET_IN):
            await nats.connect(running.nats_url, allow_reconnect=False, max_reconnect_attempts=0, **options)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["disable", "renew"])
def test_old_credentials_are_refused_within_5_s_and_other_nodes_notice_nothing(running: Product, how: str) -> None:
    node, other = running.add_node(f"cut-{how}"), running.add_node(f"stays-{how}")
    lost, gone = asyncio.Event(), []

    async def closed() -> None:
        lost.set()

    async def other_closed() -> None:
        gone.append(True)

    async def run() -> None:
        async with connected(node, closed_cb=closed), connected(other, disconnected_cb=other_closed) as stays:
            client_id = stays.client_id
            await asyncio.to_thread(running.command, "node", how, node["node"])
            done = time.monotonic()
            await asyncio.wait_for(lost.wait(), PATIENCE_S)
            with pytest.raises(REFUSED, match=NOT_LET_IN):
                await nats.connect(
                    node["nats_url"], nkeys_seed_str=node["nkey_seed"], allow_reconnect=False, max_reconnect_attempts=0
                )
            status = 0
            while time.monotonic() - done < 5 and status != 401:
                status, _ = await asyncio.to_thread(running.call, "/api/v1/events", node["token"], json.loads(event()))
            assert status == 401
            await stays.request(f"ek.sync.{other['node']}", b'{"open": [], "outcomes": []}', timeout=5)
            assert (stays.client_id, gone) == (client_id, [])

    asyncio.run(run())


def test_a_decision_reaches_a_node_that_waited_for_it_while_others_came_and_went(
    running: Product, given: Any, tmp_path: Path
) -> None:
    """The broker takes new users over without forgetting who waits for what."""
    arrived: list[Any] = []

    async def arrive(message: Any) -> None:
        arrived.append(message)

    async def run() -> None:
        async with connected(given["A"]) as nc:
            await nc.subscribe("_INBOX_A.waits", cb=arrive)
            request = json.dumps({"batch": 1, "expires": 50 * 10**9}).encode()
            await nc.publish(NEXT.format("A"), request, reply="_INBOX_A.waits")
            await nc.flush()
            await asyncio.to_thread(running.add_node, f"new-{uuid.uuid4().hex[:8]}")
            await asyncio.sleep(1)
            asked = await raise_and_answer(running, nc, "A")
            await asyncio.to_thread(wait_for, lambda: arrived)
            assert json.loads(arrived[0].data)["incident"] == asked

    asyncio.run(run())


def attempts(running: Product) -> list[tuple[Any, ...]]:
    """(node, what, target, claimed, count) of what the product knows to have been refused."""
    with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
        return database.execute(
            "SELECT node, operation, target, credential, count FROM errorkernel_accessdenial ORDER BY id"
        ).fetchall()


def test_an_administrator_sees_who_tried_what_and_a_storm_of_it_is_a_few_rows(running: Product) -> None:
    node, cut = running.add_node("curious"), running.add_node("shut-out")
    stranger, key = make_nkey()
    running.command("node", "disable", "shut-out")

    async def run() -> None:
        async with connected(node, name='evil" - "node-victim/nkey:U" - Publish Violation - Subject "x') as nc:
            for _ in range(12):
                await nc.publish("ek.evt.other", b"")
            await nc.subscribe("ek.dec.>")
            for number in range(2000):
                await nc.publish(f"ek.evt.storm.{number}", b"")
            # A client that goes away takes what the broker has not read yet with it.
            assert len(await refusals(nc, 2013)) == 2013
        with pytest.raises(REFUSED, match=NOT_LET_IN):
            await nats.connect(running.nats_url, nkeys_seed_str=stranger, allow_reconnect=False)
        # Until the broker has been told, the node that is shut out still gets in, or is cut off while it comes in.
        with pytest.raises(REFUSED, match=NOT_LET_IN):
            while True:
                with contextlib.suppress(ConnectionResetError):
                    nc = await nats.connect(running.nats_url, nkeys_seed_str=cut["nkey_seed"], allow_reconnect=False)
                    await nc.close()
                await asyncio.sleep(0.1)

    asyncio.run(run())
    for token in (cut["token"], "ekn_unknown"):
        wait_for(lambda token=token: running.call("/api/v1/events", token, {})[0] == 401)

    def seen() -> bool:
        rows = attempts(running)
        told = {row[:3] for row in rows}
        return (
            ("curious", "publish", "ek.evt.other", f"key:{public_nkey(node['nkey_seed'])}", 12) in rows
            and ("curious", "subscribe", "ek.dec.>") in told
            and sum(row[4] for row in rows if row[0] == "curious") >= 2013
            and ("", "connect", "", f"key:{key}", 1) in rows
            and {("shut-out", "connect", ""), ("shut-out", "http", "/api/v1/"), ("", "http", "/api/v1/")} <= told
        )

    wait_for(seen)
    assert len([row for row in attempts(running) if row[0] == "curious"]) <= 100
    assert not [row for row in attempts(running) if row[0] == "victim"]
    with urllib.request.urlopen(running.http_url + "/metrics") as answer:
        metrics = answer.read().decode()
    assert float(metrics.split('errorkernel_refused_attempts_total{what="publish"} ')[1].split()[0]) >= 2012
