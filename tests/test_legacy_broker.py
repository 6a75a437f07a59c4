"""The account that nodes of Steward and ctrl share on the embedded broker: what they reach, and what they cannot."""

from pathlib import Path

import nats
import pytest

from errorkernel.broker.config import LegacyAccount, NodeUser
from errorkernel.broker.credentials import is_public_nkey, make_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.core import steward_names
from errorkernel.wire.subjects import is_node_name
from tests.node_peer import eventually


def serve(directory: Path, legacy: LegacyAccount, kernel_key: str) -> EmbeddedServer:
    server = EmbeddedServer(
        directory,
        kernel_key=kernel_key,
        host="127.0.0.1",
        port=0,
        binary=find_binary(""),
        max_store_bytes=1024**3,
        legacy=legacy,
    )
    server.start([])
    return server


async def test_an_error_reaches_the_stream_and_the_broker_acknowledges_it_to_the_node_alone(tmp_path: Path) -> None:
    (kernel, kernel_key), (_, our_key), (seed, key) = make_nkey(), make_nkey(), make_nkey()
    server = serve(tmp_path, LegacyAccount(our_key, (NodeUser("ship1", key),), stream=True), kernel_key)
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
    server = serve(tmp_path, LegacyAccount(our_key, (NodeUser("ship1", key),), stream=False), kernel_key)
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
        await node.publish("errorCentral.errorLog", b"x", reply="errorCentral.errorLog.reply")
        assert (await heard.next_msg(10)).reply == "errorCentral.errorLog.reply"
        await node.close()
        await central.close()
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["ship1", "ww.ship1", "ship1@steward", "ein Schiff"])
def test_a_name_comes_back_as_it_was_and_is_never_one_of_ours(name: str) -> None:
    assert steward_names.theirs(steward_names.ours(name)) == name
    assert not is_node_name(steward_names.ours(name))


def test_only_a_users_public_key_goes_into_the_configuration() -> None:
    seed, key = make_nkey()
    assert is_public_nkey(key)
    assert not any(map(is_public_nkey, (seed, key[:-1], key[:-1] + "1", "", "U" * 56)))
