"""The channel layer over the broker: what one process sends, another gets, whoever is the first to use it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from errorkernel.live.channel_layer import NatsChannelLayer
from errorkernel.platform import conf
from tests.support.node_peer import Broker
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that the settings name, for both sides."""
    broker = Broker(tmp_path / "broker").start()
    seed = tmp_path / "kernel.nk"
    seed.write_text(broker.kernel_seed)
    named = {
        "STEWARD_DATA_DIR": str(tmp_path),
        "STEWARD_NATS_URL": broker.server.url,
        "STEWARD_NATS_SEED_FILE": str(seed),
        "STEWARD_CHANNEL_LAYER": "nats",
    }
    settings = conf.load(named)
    monkeypatch.setattr(conf, "get", lambda: settings)
    yield broker
    broker.stop()


async def arrives(layer: NatsChannelLayer, receiving: "asyncio.Task[dict[str, object]]", channel: str) -> object:
    """What was sent before the other side listens is lost: until it arrives, it is sent again."""
    async with asyncio.timeout(PATIENCE_S):
        while not receiving.done():
            await layer.send(channel, {"type": "hello"})
            await asyncio.wait({receiving}, timeout=0.05)
    return receiving.result()


@pytest.mark.parametrize("_", range(5))
async def test_those_who_use_it_first_at_the_same_time_share_one_connection(broker: Broker, _: int) -> None:
    layer = NatsChannelLayer()
    receiving = [asyncio.create_task(layer.receive(f"channel-{number}")) for number in range(3)]
    for number, one in enumerate(receiving):
        assert await arrives(layer, one, f"channel-{number}") == {"type": "hello"}
    await layer.close()
    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("broker link")]
    assert left == []


async def test_a_group_is_heard_in_another_process(broker: Broker) -> None:
    here, there = NatsChannelLayer(), NatsChannelLayer()
    channel = await there.new_channel()
    await there.group_add("live", channel)
    receiving = asyncio.create_task(there.receive(channel))
    async with asyncio.timeout(PATIENCE_S):
        while not receiving.done():
            await here.group_send("live", {"type": "news"})
            await asyncio.wait({receiving}, timeout=0.05)
    assert receiving.result() == {"type": "news"}
    await here.close()
    await there.close()


async def test_who_uses_it_after_it_was_closed_is_connected_again(broker: Broker) -> None:
    layer = NatsChannelLayer()
    await layer.send("channel", {"type": "hello"})
    await layer.close()
    assert await arrives(layer, asyncio.create_task(layer.receive("channel")), "channel") == {"type": "hello"}
    await layer.close()
