"""The kernel is killed, its broker dies, its database is away: nothing is lost, and it goes on by itself."""

import asyncio
import json
import os
import signal
import sqlite3
import time
import uuid
from pathlib import Path

import nats
import pytest

from errorkernel.broker import embedded
from tests.support.events import event
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for


def test_reports_survive_three_kills_of_the_kernel_and_are_stored_once(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    token = product.token()
    node = product.add_node("storm")
    count = 4_000
    sent = [str(uuid.uuid4()) for _ in range(count)]
    left = dict(enumerate(sent))

    async def publish() -> None:
        nc = None
        while left:
            try:
                if nc is None or nc.is_closed:
                    nc = await nats.connect(
                        node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_storm",
                        allow_reconnect=False, connect_timeout=2,
                    )  # fmt: skip
                js = nc.jetstream()

                async def one(number: int, id_: str, js=js) -> None:
                    body = event(id=id_, process=f"p{number % 5}", error={"text": f"failure {number}"})
                    await js.publish("ek.evt.storm", json.dumps(body).encode(), headers={"Nats-Msg-Id": id_}, timeout=3)
                    left.pop(number, None)

                part = list(left.items())[:100]
                await asyncio.gather(*(one(number, id_) for number, id_ in part), return_exceptions=True)
                await asyncio.sleep(0.02)
            except Exception:
                await asyncio.sleep(0.1)
        await nc.close()

    publisher = asyncio.new_event_loop()
    import threading

    thread = threading.Thread(target=publisher.run_until_complete, args=(publish(),))
    thread.start()
    for kill in (1, 2, 3):  # while a quarter has been sent, a half, three quarters
        wait_for(lambda kill=kill: len(left) <= count * (4 - kill) / 4)
        product.kill()
        product.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()

    def newest() -> int:
        status, page = product.call("/api/v1/events?limit=1&order=desc", token)
        return page["items"][0]["seq"] if status == 200 and page["items"] else 0

    seen: list[dict] = []
    try:
        wait_for(lambda: newest() >= count)
        after = 0
        while page := product.call(f"/api/v1/events?after={after}&limit=1000", token)[1]["items"]:
            seen += page
            after = max(one["seq"] for one in page)
        assert sorted(one["id"] for one in seen) == sorted(sent)
        assert sorted(one["seq"] for one in seen) == list(range(1, count + 1))
    finally:
        product.stop()


def test_sigkill_leaves_no_broker_behind_and_the_next_start_recovers(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    broker = int((product.directory / "nats" / "nats.pid").read_text())
    product.kill()
    wait_for(lambda: not Path(f"/proc/{broker}/exe").exists())
    product.start()
    began = time.monotonic()
    assert product.stop() == 0
    assert time.monotonic() - began < 5


def test_a_broker_that_dies_is_started_again_where_it_was_and_nothing_is_lost(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    try:
        node, token = product.add_node("ship1"), product.token()
        pid_file = product.directory / "nats" / "nats.pid"

        def broker() -> str:
            return pid_file.read_text() if pid_file.exists() else ""

        def killed() -> str:
            pid = broker()
            os.kill(int(pid), signal.SIGKILL)
            return pid

        def there(text: str) -> bool:
            found = product.call("/api/v1/events?limit=100", token)[1]["items"]
            return text in [one["text"] for one in found]

        first = killed()
        report = event(error={"text": "reported while it was away"})
        wait_for(lambda: product.call("/api/v1/events", node["token"], report)[0] in (200, 202))
        wait_for(lambda: there("reported while it was away"))
        assert broker() != first
        assert "It is started again" in product.log()
        # It ends at each start: the exit status reports that to the supervisor.
        for _ in range(embedded.RESTARTS):
            before = killed()
            wait_for(lambda before=before: not product.running or broker() not in ("", before))
        wait_for(lambda: not product.running)
        assert "A part of the program failed" in product.log()
    finally:
        product.kill()


@pytest.mark.slow
def test_a_database_that_is_away_costs_time_and_nothing_else(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    try:
        token, node = product.token(), product.add_node("patient")
        database = sqlite3.connect(product.directory / "steward.sqlite3", isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        sent = [event(error={"text": f"while away {number}"}) for number in range(50)]

        async def publish() -> None:
            nc = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_patient")
            for one in sent:
                await nc.jetstream().publish("ek.evt.patient", json.dumps(one).encode())
            await nc.close()

        asyncio.run(publish())
        # Longer than a connection waits for the lock, so that the kernel meets the error and not only a delay.
        wait_for(lambda: "messages wait for it" in product.log())
        database.execute("ROLLBACK")

        def stored() -> bool:
            status, page = product.call("/api/v1/events?limit=1000", token)
            return status == 200 and {one["id"] for one in page["items"]} == {one["id"] for one in sent}

        wait_for(stored)
        assert product.stop() == 0
    finally:
        product.kill()
