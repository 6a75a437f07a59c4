"""Acting on Steward and ctrl nodes, the whole way: API, database, kernel, a real broker, and nodes of every version."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest

from errorkernel.domain.sender_names import with_suffix
from errorkernel.platform import conf
from errorkernel.senders.steward.protocol import event_mapping, signing_key
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.operator_messages import Operator
from tests.support.product import Product
from tests.support.steward.peer import CTRL, SEED, STEW, VERSIONS, PlainServer, StewardPeer, Version
from tests.support.waiting import PATIENCE_S, eventually, wait_for

ENDED = ("done", "failed", "unclear")
SHOWN = ["listed", "stopped", "started", "listed"]


class OperatorProduct(Product):
    """Beside a broker of Steward's nodes, on which everybody may do everything."""

    def __init__(self, directory: Path, server: PlainServer, timeout_s: int) -> None:
        settings = {
            "STEWARD_LEGACY": "plain",
            "STEWARD_LEGACY_NATS_URL": server.url,
            "STEWARD_LEGACY_REPLY_TIMEOUT_S": str(timeout_s),
        }
        super().__init__(directory / "data", settings=settings)
        self.legacy_url = server.url
        self.operator = ""
        self.key = b""
        self.numbers: dict[str, int] = {}

    def ready(self) -> "OperatorProduct":
        self.start()
        self.operator = self.token()
        return self

    def act(self, node: str, action: str, process: str = "", **more: Any) -> tuple[int, Any]:
        body = {"action": action, "process": process, "reason": "it hangs", **more}
        return self.call(f"/api/v1/nodes/{self.numbers[node]}/actions", self.operator, body)

    def begun(self, node: str, action: str, process: str = "") -> int:
        status, made = self.act(node, action, process)
        assert status == 202, made
        return int(made["id"])

    def told(self, node: str, number: int) -> dict[str, Any]:
        address = f"/api/v1/nodes/{self.numbers[node]}/actions?after={number - 1}&limit=1"
        return dict(self.call(address, self.operator)[1]["items"][0])

    def lines(self, node: str, number: int) -> list[str]:
        return [one["result"] for one in self.told(node, number)["requests"]]

    async def ended(self, node: str, number: int) -> dict[str, Any]:
        found = await until(lambda: (one := self.told(node, number))["state"] in ENDED and one)
        assert all(one["result"] and one["ended_at"] for one in found["requests"])
        return dict(found)


async def until(what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    return await asyncio.to_thread(wait_for, what, timeout_s)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    plain = PlainServer(tmp_path_factory.mktemp("nats")).start()
    yield plain
    plain.stop()


@pytest.fixture(scope="module")
def product(server: PlainServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProduct]:
    running = OperatorProduct(tmp_path_factory.mktemp("act"), server, 2)
    running.key = Operator("", signing_key.make(replace(conf.get(), data_dir=running.directory))).public_key
    yield running.ready()
    running.stop()


async def know(product: OperatorProduct, peer: StewardPeer) -> None:
    """The node reports, so it is known its command format."""
    await peer.error("error: methodREQHttpGet: method timed out: [http://192.0.2.1/]")
    address = f"/api/v1/nodes?node={with_suffix(peer.node)}"
    found = await until(lambda: product.call(address, product.operator)[1]["items"])
    product.numbers[peer.node] = found[0]["id"]


@asynccontextmanager
async def node(product: OperatorProduct, name: str, version: Version, **more: Any) -> AsyncIterator[StewardPeer]:
    peer = await StewardPeer(product.legacy_url, name, version, ack_timeout=100, **more).start()
    await know(product, peer)
    try:
        yield peer
    finally:
        await peer.close()


async def test_a_process_of_every_version_is_killed_step_by_step(product: OperatorProduct) -> None:
    """All at once: no node waits for another."""

    async def killed(version: Version) -> None:
        name, method = f"ww.{VERSIONS.index(version)}", version.method("httpGet")
        async with node(product, name, version, key=product.key) as peer:
            begun = await asyncio.to_thread(product.begun, name, "kill", method)
            done = await product.ended(name, begun)
            assert (done["state"], [one["result"] for one in done["requests"]]) == ("done", SHOWN), (version.name, done)
            assert done["requests"][1]["detail"].startswith("info: OpProcessStop: process stopped")
            assert not peer.crashed
            assert peer.operations == ["list", "stop", "start", "list"]
            assert "httpGet" in peer.processes

    await asyncio.gather(*map(killed, VERSIONS))


async def test_list_stop_and_start_are_had_one_by_one(product: OperatorProduct) -> None:
    async with node(product, "single", STEW) as peer:
        for action, process, kept in (
            ("list", "", True), ("stop", "REQHttpGet", False), ("stop", "REQHttpGet", False),
            ("start", "REQHttpGet", True),
        ):  # fmt: skip
            begun = await asyncio.to_thread(product.begun, "single", action, process)
            done = await product.ended("single", begun)
            assert done["state"] == "done", done
            assert ("httpGet" in peer.processes) == kept
        assert {one["name"] for one in done["listed_processes"]} > {"single.REQHttpGet.EventACK"}
        begun = await asyncio.to_thread(product.begun, "single", "start", "REQHttpGet")
        assert (await product.ended("single", begun))["summary"].startswith("The process runs already")
        assert peer.operations.count("start") == 1


async def test_a_node_that_checks_refuses_another_key_and_says_so(product: OperatorProduct) -> None:
    async with node(product, "checks", CTRL, key=bytes(32)) as peer:
        begun = await asyncio.to_thread(product.begun, "checks", "kill", "httpGet")
        done = await product.ended("checks", begun)
        assert done["state"] == "failed"
        assert done["summary"].startswith(
            "The node does not answer. Nothing was changed. The node reported meanwhile (event "
        )
        assert {one["result"] for one in done["requests"]} == {"silent"}
        assert "httpGet" in peer.processes


async def test_a_node_that_is_away_is_told_at_once_and_not_waited_for(product: OperatorProduct) -> None:
    async with node(product, "away", STEW) as peer:
        pass
    begun = await asyncio.to_thread(product.begun, "away", "kill", "REQHttpGet")
    done = await product.ended("away", begun)
    assert done["summary"] == "The node is not connected to the broker. Nothing was changed."
    assert {one["result"] for one in done["requests"]} == {"absent"}
    assert peer.operations == []


async def test_to_a_node_that_was_not_understood_nothing_is_sent(product: OperatorProduct) -> None:
    async with node(product, "foreign", CTRL) as peer:
        with closing(sqlite3.connect(product.directory / "steward.sqlite3", timeout=20)) as database:
            database.execute("UPDATE errorkernel_node SET dialect = NULL WHERE name = ?", (with_suffix("foreign"),))
            database.commit()
        status, told = await asyncio.to_thread(product.act, "foreign", "list")
        assert (status, "its command format" in told["error"]) == (409, True)
        assert not peer.crashed


MISBEHAVED = {
    "a stop whose reply is lost": (["", "no reply"], ["listed", "silent", "listed", "started", "listed"]),
    "a stop that never arrives": (
        ["", "deaf"], ["listed", "silent", "listed", "stopped", "started", "listed"]),
    "every reply twice": (["twice"] * 9, SHOWN),
    "a list that is none": (["garbled"], ["garbled", *SHOWN]),
    "a reply to a stop that says nothing": (["", "garbled"], ["listed", "garbled", "listed", "started", "listed"]),
    "a start whose reply is late": (["", "", "late"], ["listed", "stopped", "silent", "listed"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISBEHAVED)
async def test_through_everything_the_process_is_replaced_once(product: OperatorProduct, name: str) -> None:
    fates, expected = MISBEHAVED[name]
    node_name = "bad-" + name.replace(" ", "-")
    async with node(product, node_name, STEW, fates=list(fates)) as peer:
        begun = await asyncio.to_thread(product.begun, node_name, "kill", "REQHttpGet")
        done = await product.ended(node_name, begun)
        assert (done["state"], [one["result"] for one in done["requests"]]) == ("done", expected), done
        assert "httpGet" in peer.processes
        assert peer.operations.count("start") == 1
        assert not peer.doubled


async def test_a_node_that_begins_anew_in_between_is_looked_at_again(product: OperatorProduct) -> None:
    async with node(product, "anew", SEED, fates=["", "gone"]) as peer:
        begun = await asyncio.to_thread(product.begun, "anew", "kill", "REQHttpGet")
        await eventually(lambda: peer.crashed)
        await until(lambda: "absent" in product.lines("anew", begun))
        async with node_again(product, "anew", SEED) as again:
            done = await product.ended("anew", begun)
            assert done["state"] == "done", done
            assert "httpGet" in again.processes


async def test_of_two_programs_under_one_name_none_is_touched(product: OperatorProduct) -> None:
    async with node(product, "twin", STEW) as one, node_again(product, "twin", STEW, "toFile") as other:
        begun = await asyncio.to_thread(product.begun, "twin", "kill", "REQHttpGet")
        done = await product.ended("twin", begun)
        assert (done["state"], [line["result"] for line in done["requests"]]) == ("failed", ["several"])
        assert "More than one program" in done["summary"]
        assert (one.operations, other.operations) == (["list"], ["list"])


async def test_aliases_that_go_on_are_named(product: OperatorProduct) -> None:
    async with node(product, "named", CTRL, aliases=("berth7", "berth8")) as peer:
        begun = await asyncio.to_thread(product.begun, "named", "kill", "httpGet")
        done = await product.ended("named", begun)
        assert done["state"] == "failed"
        assert done["summary"].startswith("The process was stopped and started")
        assert "berth7, berth8" in done["summary"]
        assert "httpGet" in peer.processes


@asynccontextmanager
async def node_again(product: OperatorProduct, name: str, version: Version, *more: str) -> AsyncIterator[StewardPeer]:
    """Another program of this name; ``more``: processes beside the usual ones."""
    processes = {"httpGet", "cliCommand", "fileAppend", *more}
    peer = await StewardPeer(product.legacy_url, name, version, ack_timeout=100, processes=processes).start()
    try:
        yield peer
    finally:
        await peer.close()


async def test_a_reply_of_another_node_or_of_a_stranger_counts_for_nothing(product: OperatorProduct) -> None:
    client = await nats.connect(product.legacy_url)
    seen: list[StewardMessage] = []

    async def overheard(message: Any) -> None:
        request = event_mapping.read(message.subject, message.headers or {}, message.data).message
        seen.append(request)
        lie = StewardMessage(
            to_node=request.from_node, from_node="liar", is_reply=True, method=request.reply_method,
            method_args=request.reply_method_args,
            data=b"Tue Nov 24 02:02:33 2026, process: subscriber, id: 1, name: lied-to.REQHttpGet.EventACK\n",
        )  # fmt: skip
        for told in (lie, msgspec.structs.replace(lie, from_node="lied-to", method_args=("guessed:1",))):
            payload, headers = STEW.pack(told)
            await client.publish("errorkernel.REQToFileAppend.EventACK", payload, headers=headers)

    await client.subscribe("lied-to.REQOpProcessList.EventACK", cb=overheard)
    await client.flush()
    try:
        async with node(product, "lied-to", STEW, processes={"cliCommand"}):
            begun = await asyncio.to_thread(product.begun, "lied-to", "kill", "REQHttpGet")
            done = await product.ended("lied-to", begun)
            assert done["summary"] == "The node does not list the process. Nothing was changed."
            assert seen
    finally:
        await client.close()


async def test_a_kernel_that_dies_in_the_middle_is_gone_on_for_and_nothing_is_sent_twice(
    product: OperatorProduct,
) -> None:
    async with node(product, "mid", STEW, fates=["", "no reply"]) as peer:
        begun = await asyncio.to_thread(product.begun, "mid", "kill", "REQHttpGet")
        # The node has stopped it and the kernel dies before it knows.
        await eventually(lambda: "stop" in peer.operations)
        await asyncio.to_thread(product.kill)
        await asyncio.to_thread(product.start)
        done = await product.ended("mid", begun)
        results = [one["result"] for one in done["requests"]]
        assert (done["state"], results) == ("done", ["listed", "silent", "listed", "started", "listed"]), done
        assert "httpGet" in peer.processes
        assert [one for one in peer.operations if one != "list"] == ["stop", "start"]


async def test_a_rule_that_names_the_node_kills_the_process_that_an_error_is_of(product: OperatorProduct) -> None:
    """And one error more that names no process for certain, or comes from another node, is nobody's."""
    wording = {
        "name": "it hangs", "condition": 'process:REQTailFile text:"no such file"', "action": "kill", "enabled": True,
        "reason": "it hangs at a file", "controlled_nodes": [with_suffix("ruled")],
    }  # fmt: skip
    text = "error: methodREQTailFile: no such file"
    processes = {"tailFile", "httpGet"}
    async with (
        node(product, "ruled", STEW, processes=set(processes)) as peer,
        node(product, "unruled", STEW, processes=set(processes)) as other,
    ):
        status, rule = await asyncio.to_thread(product.call, "/api/v1/rules", product.operator, wording)
        assert (status, rule["controlled_nodes"]) == (201, [with_suffix("ruled")]), rule
        await other.error(text)
        await peer.error("error: methodREQHttpGet: no such file")
        await peer.error(text)
        address = f"/api/v1/nodes/{product.numbers['ruled']}/actions"
        [begun] = await until(lambda: product.call(address, product.operator)[1]["items"])
        done = await product.ended("ruled", begun["id"])
        assert (done["state"], [one["result"] for one in done["requests"]]) == ("done", SHOWN), done
        assert (done["actor"], done["rule"], done["rule_revision"]) == (f"rule:{rule['id']}", rule["id"], 1)
        assert (done["process"], done["reason"]) == ("REQTailFile", "it hangs at a file")
        assert peer.operations == ["list", "stop", "start", "list"]
        assert other.operations == []
        shown = product.call(f"/api/v1/nodes/{product.numbers['unruled']}/actions", product.operator)[1]
        assert shown["items"] == []
