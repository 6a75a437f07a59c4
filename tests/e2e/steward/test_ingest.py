"""Nodes of Steward and ctrl at the whole running product: everything arrives, once, is acknowledged and shown."""

import asyncio
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import nats
import pytest

from errorkernel.broker.credentials import make_nkey
from tests.support.product import Product
from tests.support.steward.peer import CTRL, SEED, STEW, VERSIONS, PlainServer, StewardPeer, Version
from tests.support.waiting import wait_for

TEXT = "error: methodREQHttpGet: method timed out: [http://192.0.2.1/]"
AT = datetime(2026, 11, 4, 10, 0, 0)
DOWN_S = float(os.environ.get("LEGACY_TEST_DOWN_S", "3"))
"""How long the kernel is away while nodes report; 600 for the full time. No setting of the product has such a name."""


class StewardProduct(Product):
    """A product beside a broker of Steward's nodes."""

    def __init__(self, directory: Path, mode: str, url: str, **settings: str) -> None:
        super().__init__(
            directory / "data", settings={"STEWARD_LEGACY": mode, "STEWARD_LEGACY_NATS_URL": url, **settings}
        )

    def rows(self, statement: str, *values: object) -> list[Any]:
        with sqlite3.connect(f"file:{self.directory / 'steward.sqlite3'}?mode=ro", uri=True, timeout=20) as found:
            return found.execute(statement, values).fetchall()

    def count(self, node: str) -> int:
        statement = "SELECT count(*) FROM errorkernel_errorevent e JOIN errorkernel_node n ON n.id = e.node_id"
        return int(self.rows(statement + " WHERE n.name = ?", f"{node}@steward")[0][0])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("nats")
    server = PlainServer(place, "-js", "-sd", str(place / "js")).start()
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, broker: str) -> Iterator[StewardProduct]:
    place = tmp_path_factory.mktemp("kept")
    log = str(place / "errorLog" / "errorCentral" / "error.log")
    product = StewardProduct(place, "jetstream", broker, STEWARD_LEGACY_ERROR_LOG=log)
    product.start()
    yield product
    product.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StewardProduct]:
    place = tmp_path_factory.mktemp("plain")
    server = PlainServer(place).start()
    product = StewardProduct(place, "plain", server.url)
    product.start()
    yield product
    product.stop()
    server.stop()


@asynccontextmanager
async def node(url: str, name: str, version: Version, **more: Any) -> AsyncIterator[StewardPeer]:
    peer = await StewardPeer(url, name, version, **{"ack_timeout": 200, **more}).start()
    try:
        yield peer
    finally:
        await peer.close()


async def stored(product: StewardProduct, name: str, count: int) -> None:
    await asyncio.to_thread(wait_for, lambda: product.count(name) >= count)
    assert product.count(name) == count


async def test_every_version_arrives_is_acknowledged_grouped_and_shown(kept: StewardProduct, broker: str) -> None:
    for number, version in enumerate(VERSIONS):
        async with node(broker, f"ww.ship{number}", version) as peer:
            assert await peer.error(TEXT) == await peer.error("error: something of our own 17")
            assert (await peer.error(TEXT, AT)).acknowledged
            await stored(kept, peer.node, 3)
    assert len(kept.rows("SELECT DISTINCT problem_id FROM errorkernel_errorevent WHERE text = ?", TEXT)) == 1
    families = dict(kept.rows("SELECT name, family FROM errorkernel_node"))
    assert families["ww.ship0@steward"] == "steward"
    assert families[f"ww.ship{len(VERSIONS) - 1}@steward"] == "ctrl"
    token = kept.token()
    _, found = kept.call("/api/v1/events?limit=1", token)
    first = found["items"][0]
    assert first["node"].endswith("@steward")
    assert (first["family"], first["process_guess"]) == ("steward", "guessed_from_text")
    _, found = kept.call(f"/api/v1/nodes?node={first['node']}", token)
    assert (found["items"][0]["family"], found["items"][0]["formats"]) == ("steward", ["A26, gob"])


async def test_the_same_bytes_again_are_one_event_and_two_failures_in_one_second_are_two(
    kept: StewardProduct, broker: str
) -> None:
    async with node(broker, "deaf", STEW, ack_timeout=1, deaf=True) as peer:
        assert (await peer.error(TEXT)).attempts == 3
        await peer.error(TEXT, AT)
        await stored(kept, "deaf", 2)
    async with node(broker, "early", SEED) as peer:
        await asyncio.gather(*(peer.error(TEXT, AT) for _ in range(3)))
        await stored(kept, "early", 3)


@pytest.mark.timeout(180 + 2 * DOWN_S)
async def test_while_the_kernel_is_down_nothing_is_lost_and_nothing_doubled(kept: StewardProduct, broker: str) -> None:
    sent = {"down.seed": 0, "down.stew": 0, "down.ctrl": 0}
    async with (
        node(broker, "down.seed", SEED) as seed,
        node(broker, "down.stew", STEW) as stew,
        node(broker, "down.ctrl", CTRL) as ctrl,
    ):
        kept.kill()
        until = time.monotonic() + DOWN_S
        while time.monotonic() < until or sent["down.seed"] < 20:
            for peer in (seed, stew, ctrl):
                # The same second again and again: an early node's failures are the same bytes then.
                assert (await peer.error(TEXT, AT)).acknowledged
                sent[peer.node] += 1
            await asyncio.sleep(DOWN_S / 1000)
        kept.start()
        for name, count in sent.items():
            await stored(kept, name, count)
        # Killed once more with everything stored: what the broker delivers again is known.
        kept.kill()
        await asyncio.to_thread(kept.start)
        assert (await seed.error(TEXT, AT)).acknowledged
        await stored(kept, "down.seed", sent["down.seed"] + 1)
        assert [kept.count(name) for name in ("down.stew", "down.ctrl")] == [sent["down.stew"], sent["down.ctrl"]]


async def test_what_cannot_be_read_is_quarantined_and_the_rest_goes_on(kept: StewardProduct, broker: str) -> None:
    async with node(broker, "odd", CTRL) as peer:
        await peer.send_bytes(b"\x98\x1d" + b"\xf6" * 29)
        await peer.send_bytes(b"")
        await peer.send_bytes(b"\x28\xb5\x2f\xfdnonsense")
        await peer.send_bytes(os.urandom(300_000))
        assert (await peer.error(TEXT)).acknowledged
        await stored(kept, "odd", 1)
    reasons = {reason for (reason,) in kept.rows("SELECT reason FROM errorkernel_rejectedevent")}
    assert {"unknown_layout", "empty", "not_zstd"} <= reasons


async def test_a_node_is_alive_by_its_heartbeat_and_has_the_family_and_format_of_its_messages(
    kept: StewardProduct, broker: str
) -> None:
    async with node(broker, "hello.there", STEW, ack_timeout=1) as peer:
        said = await peer.hello()
        # Another central node may be there; we say nothing in its place.
        assert not said.acknowledged
        statement = "SELECT family, formats, heartbeat_at FROM errorkernel_node WHERE name = 'hello.there@steward'"
        await asyncio.to_thread(wait_for, lambda: kept.rows(statement))
        ((family, formats, heard),) = kept.rows(statement)
        assert (family, formats) == ("steward", '["A23, gob"]')
        assert heard


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed between"])
async def test_the_second_text_of_one_failure_says_which_it_belongs_to(
    kept: StewardProduct, broker: str, killed: bool
) -> None:
    name = f"pair.{killed}"
    async with node(broker, name, STEW) as peer:
        await peer.error(
            "error: methodREQHttpGet: client.Do failed: Get x: no route, bailing out: [http://192.0.2.9/]", AT
        )
        if killed:
            await stored(kept, name, 1)
            kept.kill()
            await asyncio.to_thread(kept.start)
        await peer.error("error: methodREQHttpGet: method timed out: [http://192.0.2.9/]", AT + timedelta(seconds=10))
        await stored(kept, name, 2)
    found = kept.rows(
        "SELECT e.id, e.tags FROM errorkernel_errorevent e JOIN errorkernel_node n ON n.id = e.node_id"
        " WHERE n.name = ? ORDER BY seq",
        f"{name}@steward",
    )
    assert found[0][0] in found[1][1].replace("-", "")
    assert "part_of" not in found[0][1]


async def test_the_name_of_one_of_our_nodes_is_not_taken_over(kept: StewardProduct, broker: str) -> None:
    kept.add_node("flagship")
    async with node(broker, "flagship", STEW) as peer:
        await peer.error(TEXT)
        await stored(kept, "flagship", 1)
    assert kept.rows("SELECT events, family FROM errorkernel_node WHERE name = 'flagship'") == [(0, "")]


async def test_without_jetstream_we_acknowledge_what_is_stored(plain: StewardProduct) -> None:
    url = plain.settings["STEWARD_LEGACY_NATS_URL"]
    for version in (SEED, STEW, CTRL):
        name = f"plain.{version.layout}"
        async with node(url, name, version) as peer:
            assert (await peer.error(TEXT)).acknowledged
            assert plain.count(name) == 1


async def test_without_jetstream_only_who_wants_it_is_answered_and_only_where_all_wait(plain: StewardProduct) -> None:
    url = plain.settings["STEWARD_LEGACY_NATS_URL"]
    async with node(url, "quiet", CTRL, ack_timeout=0) as peer:
        watch = await nats.connect(url)
        replies = await watch.subscribe("errorCentral.>")
        elsewhere = await watch.subscribe("quiet.opProcessStop")
        await watch.flush()
        message = peer.error_message(TEXT)
        payload, headers = CTRL.pack(message)
        await peer.client.publish(CTRL.subject, payload, CTRL.subject + ".reply", headers)
        await peer.client.publish("errorCentral.REQErrorLog.EventACK", b"nonsense", "quiet.opProcessStop")
        await stored(plain, "quiet", 1)
        async with node(url, "loud", STEW) as other:
            assert (await other.error(TEXT)).acknowledged
        subjects = [(await replies.next_msg(10)).subject for _ in range(4)]
        assert subjects.count(CTRL.subject + ".reply") == 0
        assert subjects.count(STEW.subject + ".reply") == 1
        with pytest.raises(nats.errors.TimeoutError):
            await elsewhere.next_msg(0.1)
        await watch.close()


async def test_pages_say_of_which_family_a_node_is_and_what_is_a_guess(kept: StewardProduct, broker: str) -> None:
    async with node(broker, "page.ship", CTRL) as peer:
        await peer.error(TEXT.replace("REQ", ""), AT)
        await stored(kept, "page.ship", 1)
    page, event = await asyncio.to_thread(pages, kept, "page.ship@steward")
    assert "ctrl: the node has no credentials here" in page
    assert "B27, cbor, zstd" in page
    assert "guessed from the text" in event
    assert "with unknown time zone" in event
    assert "Wed Nov  4 10:00:00 2026, node: page.ship, error: methodHttpGet" in event


def pages(product: StewardProduct, name: str) -> tuple[str, str]:
    browser = build_opener(HTTPCookieProcessor())
    login = browser.open(product.http_url + "/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', login)
    assert token
    form = {"username": "admin", "password": product.password, "csrfmiddlewaretoken": token[1]}
    browser.open(product.http_url + "/login/", urlencode(form).encode())
    statement = "SELECT seq FROM errorkernel_errorevent e JOIN errorkernel_node n ON n.id = e.node_id WHERE n.name = ?"
    ((seq,),) = product.rows(statement, name)
    read = [browser.open(f"{product.http_url}/{one}/").read().decode() for one in (f"nodes/{name}", f"events/{seq}")]
    return read[0], read[1]


async def test_old_scripts_find_their_log_with_each_line_once_over_kills_and_rotation(
    kept: StewardProduct, broker: str
) -> None:
    log = Path(kept.settings["STEWARD_LEGACY_ERROR_LOG"])

    def ours() -> list[str]:
        files = [one for one in (log, log.with_suffix(".log.1")) if one.exists()]
        return sorted(line for one in files for line in one.read_text().splitlines() if "node: log.ship" in line)

    async with node(broker, "log.ship", STEW) as peer:
        for number in range(6):
            await peer.error(f"error: number {number}", AT)
            if number == 2:
                await asyncio.to_thread(wait_for, lambda: len(ours()) == 3)
                log.rename(log.with_suffix(".log.1"))
            if number == 4:
                kept.kill()
                await asyncio.to_thread(kept.start)
        await asyncio.to_thread(wait_for, lambda: len(ours()) >= 6)
    expected = [f"Wed Nov  4 10:00:00 2026, node: log.ship, error: number {number}" for number in range(6)]
    assert ours() == expected
    assert len(log.read_text().splitlines()) >= 3


@pytest.mark.parametrize("mode", ["jetstream", "plain"])
async def test_nodes_on_our_own_broker_report_and_send_heartbeats(tmp_path: Path, mode: str) -> None:
    seed, key = make_nkey()
    keys = tmp_path / "keys"
    keys.write_text(f"# name, public key\nww.moved {key}\n")
    product = StewardProduct(tmp_path, mode, "", STEWARD_LEGACY_KEYS_FILE=str(keys))
    await asyncio.to_thread(product.start)
    try:
        async with node(product.nats_url, "ww.moved", STEW, seed=seed) as peer:
            assert (await peer.error(TEXT, AT)).acknowledged
            await stored(product, "ww.moved", 1)
            peer.ack_timeout = 1
            await peer.hello()
            heard = "SELECT 1 FROM errorkernel_node WHERE name = 'ww.moved@steward' AND heartbeat_at IS NOT NULL"
            await asyncio.to_thread(wait_for, lambda: product.rows(heard))
    finally:
        product.stop()
