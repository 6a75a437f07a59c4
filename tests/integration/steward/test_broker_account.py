"""The account that nodes of Steward and ctrl share on the embedded broker: what they reach, and what they cannot."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg

from errorkernel.broker.config import NodeUser, SharedAccount
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.credentials import is_public_nkey, make_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.domain import sender_names
from errorkernel.protocol.subjects import KERNEL_DURABLE, is_node_name
from errorkernel.senders.steward.broker.account import ACCOUNT
from errorkernel.senders.steward.broker.permissions import render_permissions, shared_account_permissions
from errorkernel.senders.steward.broker.plain_subscription import PlainSubscription
from errorkernel.senders.steward.broker.streams import ensure_error_stream
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM, ERROR_SUBJECTS
from tests.support.steward.peer import CTRL, STEW, PlainServer, StewardPeer
from tests.support.waiting import PATIENCE_S, eventually


def account(kernel_key: str, node_key: str, stored: tuple[str, ...] = ()) -> SharedAccount:
    return SharedAccount(ACCOUNT, kernel_key, (NodeUser("ship1", node_key),), shared_account_permissions(), stored)


def serve(directory: Path, account: SharedAccount, kernel_key: str) -> EmbeddedServer:
    server = EmbeddedServer(
        directory,
        kernel_key=kernel_key,
        host="127.0.0.1",
        port=0,
        binary=find_binary(""),
        max_store_bytes=1024**3,
        shared_accounts=[account],
    )
    server.start([])
    return server


async def test_an_error_reaches_the_stream_and_the_broker_acknowledges_it_to_the_node_alone(tmp_path: Path) -> None:
    (kernel, kernel_key), (_, our_key), (seed, key) = make_nkey(), make_nkey(), make_nkey()
    server = serve(tmp_path, account(our_key, key, ERROR_SUBJECTS), kernel_key)
    try:
        central = await nats.connect(server.url, nkeys_seed_str=kernel)
        await central.jetstream().add_stream(name="S", subjects=["errorCentral.errorLog"])
        node = await nats.connect(server.url, nkeys_seed_str=seed)
        answers: list[bytes] = []

        async def answered(message: nats.aio.msg.Msg) -> None:
            answers.append(message.data)

        await node.subscribe("errorCentral.errorLog.reply", cb=answered)
        await node.publish("errorCentral.errorLog", b"x", reply="errorCentral.errorLog.reply")
        await eventually(lambda: answers)
        assert b'"seq":1' in answers[0]
        # The answer of a stream goes where the node says. It comes back into the nodes' account, not to ours.
        await node.publish("errorCentral.errorLog", b"x", reply="$JS.API.STREAM.DELETE.S")
        await node.publish("errorCentral.errorLog", b"y", reply="errorCentral.errorLog.reply")
        await eventually(lambda: len(answers) == 2)
        assert (await central.jetstream().stream_info("S")).state.messages == 3
        await node.close()
        await central.close()
    finally:
        server.stop()


async def test_a_node_may_not_hear_errors_nor_acknowledge_them(tmp_path: Path) -> None:
    kernel_key, (ours, our_key), (seed, key) = make_nkey()[1], make_nkey(), make_nkey()
    server = serve(tmp_path, account(our_key, key), kernel_key)
    try:
        refused: list[str] = []

        async def said(exc: Exception) -> None:
            refused.append(str(exc))

        node = await nats.connect(server.url, nkeys_seed_str=seed, error_cb=said)
        await node.subscribe("errorCentral.REQErrorLog.EventACK")
        await node.publish("errorCentral.errorLog.reply", b"")
        await eventually(lambda: len(refused) == 2)
        central = await nats.connect(server.url, nkeys_seed_str=ours)
        heard = await central.subscribe("errorCentral.errorLog")
        await central.flush()
        await node.close()
        node = await nats.connect(server.url, nkeys_seed_str=seed)
        arrived = None
        # Again and again: a starved client is cut off and connects anew by itself, and what is sent meanwhile is lost.
        async with asyncio.timeout(PATIENCE_S):
            while arrived is None:
                await node.publish("errorCentral.errorLog", b"x", reply="errorCentral.errorLog.reply")
                with suppress(nats.errors.TimeoutError):
                    arrived = await heard.next_msg(1)
        assert arrived.reply == "errorCentral.errorLog.reply"
        await node.close()
        await central.close()
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["ship1", "ww.ship1", "ship1@steward", "ein Schiff"])
def test_a_name_comes_back_as_it_was_and_is_never_one_of_ours(name: str) -> None:
    assert sender_names.without_suffix(sender_names.with_suffix(name)) == name
    assert not is_node_name(sender_names.with_suffix(name))


def test_only_a_users_public_key_goes_into_the_configuration() -> None:
    seed, key = make_nkey()
    assert is_public_nkey(key)
    assert not any(map(is_public_nkey, (seed, key[:-1], key[:-1] + "1", "", "U" * 56)))


def printed() -> list[dict[str, Any]]:
    """The blocks that ``steward broker-config --steward`` prints: the kernel, a node, errorCentral, afterwards."""
    _, *blocks = render_permissions("central").split("\npermissions: ")
    return [json.JSONDecoder().raw_decode(block.replace("NODE", "ship1"))[0] for block in blocks]


def merged(*permissions: dict[str, Any]) -> dict[str, Any]:
    """The permissions of a user that has several blocks."""
    whole: dict[str, Any] = {}
    for block in permissions:
        for way, rights in block.items():
            for kind, subjects in rights.items():
                whole.setdefault(way, {}).setdefault(kind, []).extend(subjects)
    return whole


@asynccontextmanager
async def their_broker(directory: Path, users: dict[str, dict[str, Any]]) -> AsyncIterator[str]:
    """A real broker with JetStream that has these users: public key → permissions."""
    listed = [{"nkey": key, "permissions": permissions} for key, permissions in users.items()]
    config = directory / "users.conf"
    store = json.dumps(str(directory))
    config.write_text(f"jetstream {{ store_dir: {store} }}\nauthorization: {{ users: {json.dumps(listed)} }}")
    server = PlainServer(directory, "-c", str(config)).start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.mark.parametrize("mode", ["jetstream", "plain"])
async def test_what_is_printed_for_a_broker_of_theirs_suffices(tmp_path: Path, mode: str) -> None:
    (seed, key), (node_seed, node_key) = make_nkey(), make_nkey()
    ours, node, _, afterwards = printed()
    async with their_broker(tmp_path, {key: ours, node_key: merged(node, afterwards)}) as url:
        connection = Connection(url, name="test", seed=seed)
        source = (
            PlainSubscription(connection, ERROR_SUBJECTS)
            if mode == "plain"
            else PullConsumer(connection, ERROR_STREAM, KERNEL_DURABLE, 10)
        )

        async def up() -> None:
            if mode == "jetstream":
                await ensure_error_stream(connection, max_bytes=1024**2)
            await source.open()
            for subject in ("central.REQHello.EventNACK", "central.REQHello", "central.hello", "errorkernel.>"):
                await connection.subscribe(subject, ignored)

        async def ignored(message: CoreMessage) -> None:
            pass

        connection.on_connected(up)
        connection.start()
        await connection.wait_until_ready(PATIENCE_S)
        await connection.flush()
        peer = await StewardPeer(url, "ship1", CTRL, ack_timeout=200, seed=node_seed).start()
        sending = asyncio.create_task(peer.error("error: x"))
        (arrived,) = await asyncio.wait_for(source.get(10), PATIENCE_S)
        await arrived.ack()
        assert (await sending).acknowledged
        await connection.flush()
        assert not connection.denied
        await peer.close()
        await connection.close()


async def test_the_old_error_central_works_on_until_its_block_is_removed(tmp_path: Path) -> None:
    (node_seed, node_key), (old_seed, old_key) = make_nkey(), make_nkey()
    _, node, error_central, afterwards = printed()
    # Before anything was changed, the old errorCentral had what it needs; the printed blocks must not take it away.
    before = {"publish": {"allow": ["old.>"]}, "subscribe": {"allow": ["old.>"]}}
    for step, (permissions, receives) in enumerate(
        [(merged(before, node, error_central), True), (merged(before, node, error_central, afterwards), False)]
    ):
        directory = tmp_path / str(step)
        directory.mkdir()
        async with their_broker(directory, {node_key: node, old_key: permissions}) as url:
            refused: list[str] = []

            async def said(exc: Exception, refused: list[str] = refused) -> None:
                refused.append(str(exc))

            old = await nats.connect(url, nkeys_seed_str=old_seed, error_cb=said)
            for subject in ERROR_SUBJECTS:
                await old.subscribe(subject, cb=acknowledge)
            await old.flush()
            peer = await StewardPeer(url, "ship1", STEW, ack_timeout=200 if receives else 1, seed=node_seed).start()
            assert (await peer.error("error: x")).acknowledged == receives
            await eventually(lambda refused=refused, receives=receives: bool(refused) != receives)
            await peer.close()
            await old.close()


async def acknowledge(message: Msg) -> None:
    await message.respond(b"")
