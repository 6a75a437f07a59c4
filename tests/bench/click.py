"""How long from the click to the process that goes on: an answer is posted, and a node's ``ask`` returns.

``python -m tests.bench.click [CLICKS] [OPEN] [RATE]``. Meanwhile OPEN other questions wait and RATE events come in a
second. Beside it stands its floor, in the same run: a bare request and reply over NATS, with one committed row in
between.
Everything shares this machine; clicks, nodes, events and the floor's other side are processes of their own.
"""

import asyncio
import contextlib
import http.client
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlencode, urlsplit

import nats

from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.node import Kernel
from errorkernel.protocol import subjects
from tests.bench.throughput import body
from tests.support.node_peer import NODE, Broker
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import wait_for

PAUSE_S = 0.02
LOOKED_AT_S = 0.3
"""So long at most between the question's appearing and the click: people click at any moment of the intake's rhythm."""
WARM_UP = 20


class Clicker:
    """One connection that stays open, as a browser's does. Without Nagle: it would wait for the acknowledgement."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = headers

    def post(self, path: str, data: str, kind: str) -> None:
        self._connection.request("POST", path, data, {**self._headers, "Content-Type": kind})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text[:300])


def by_token(product: Product, token: str) -> Callable[[str], None]:
    clicker = Clicker(product.http_url, {"Authorization": f"Bearer {token}"})
    said = json.dumps({"action": "continue", "reason": ""})
    return lambda incident: clicker.post(f"/api/v1/incidents/{incident}/decision", said, "application/json")


def by_session(product: Product) -> Callable[[str], None]:
    """As the page's script sends the form."""
    cookie = product.session()
    csrf = next(one.partition("=")[2] for one in cookie.split("; ") if one.startswith("csrftoken="))
    headers = {"Cookie": cookie, "X-CSRFToken": csrf, "X-Steward-Card": "1", "Origin": product.http_url}
    clicker = Clicker(product.http_url, headers)
    kind = "application/x-www-form-urlencoded"
    return lambda incident: clicker.post(
        f"/incidents/{incident}/decision/", urlencode({"action": "continue", "request_id": str(uuid.uuid4())}), kind
    )


async def crowd(url: str, seed: str, questions: int) -> None:
    publisher = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix="_INBOX_crowd")
    for number in range(questions):
        event = json.loads(body(number)) | {"type": "action", "process": f"waits-{number}"}
        await publisher.publish("ek.evt.crowd", json.dumps(event).encode())
    await publisher.drain()


async def flow(url: str, seed: str, rate: int) -> None:
    """So many events a second, until it is ended."""
    publisher = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix="_INBOX_crowd")
    began, number = time.monotonic(), 0
    while True:
        for number in range(number, int((time.monotonic() - began) * rate)):  # noqa: B020 - goes on where it was
            await publisher.publish("ek.evt.crowd", body(number))
        number = max(number, int((time.monotonic() - began) * rate))
        await asyncio.sleep(PAUSE_S)


async def floor(url: str, seed: str, path: str) -> None:
    """The other side: a row for each request, committed as the product commits, then the reply."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE decision (id TEXT, at REAL);")
    connection = Connection(url, name="floor", seed=seed)

    async def decide(message: CoreMessage) -> None:
        db.execute("INSERT INTO decision VALUES (?, ?)", (message.data.decode(), time.time()))
        await message.respond(b"continue")

    async def connected() -> None:
        await connection.subscribe(subjects.ALL_SYNCS, decide)

    connection.on_connected(connected)
    connection.start()
    await asyncio.Event().wait()


async def asker(credentials: str, journal: str) -> None:
    """A node that asks again and again, and says when it went on."""
    async with Kernel.from_file(credentials, journal=journal) as kernel:
        while True:
            await kernel.ask("may I go on?", process="asker")
            print(time.monotonic(), flush=True)


def clicks(product: Product, token: str, click: Callable[[str], None], went_on: IO[str], count: int) -> list[float]:
    took = []
    for number in range(WARM_UP + count):
        incident = wait_for(lambda: _open(product, token))
        time.sleep(random.uniform(0, LOOKED_AT_S))
        began = time.monotonic()
        click(incident)
        took += [float(went_on.readline()) - began] if number >= WARM_UP else [float(went_on.readline())][:0]
    return took


def _open(product: Product, token: str) -> str | None:
    _, found = product.call("/api/v1/incidents?state=open&node=asker", token)
    return found["items"][0]["id"] if found["items"] else None


async def bare(broker: Broker, count: int) -> list[float]:
    connection = Connection(
        broker.server.url, name=NODE, seed=broker.node_seed, inbox_prefix=subjects.inbox_prefix(NODE)
    )
    connection.start()
    await connection.wait_until_ready(10)
    took = []
    for number in range(WARM_UP + count):
        began = time.perf_counter()
        await connection.request(subjects.sync(NODE), str(uuid.uuid4()).encode())
        took += [time.perf_counter() - began] if number >= WARM_UP else []
        await asyncio.sleep(PAUSE_S)
    await connection.close()
    return took


@contextlib.contextmanager
def aside(*arguments: str) -> Iterator[IO[str]]:
    """A part of this in a process of its own, and what it says."""
    command = [sys.executable, "-m", "tests.bench.click", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        process.wait()


def told(name: str, took: list[float]) -> None:
    ordered = sorted(took)
    p50, p99, worst = (f"{ordered[at] * 1000:6.1f} ms" for at in (len(ordered) // 2, len(ordered) * 99 // 100, -1))
    print(f"{name:40} p50 {p50}   p99 {p99}   worst {worst}", flush=True)


async def measure(product: Product, directory: Path, count: int, questions: int, rate: int) -> None:
    token, many = product.token(), product.add_node("crowd")
    credentials = directory / "asker.json"
    credentials.write_text(json.dumps(product.add_node("asker")))
    await crowd(many["nats_url"], many["nkey_seed"], questions)
    await asyncio.to_thread(wait_for, lambda: _waiting(product) >= questions, 120)
    broker = Broker(directory / "broker").start()
    far = ("floor", broker.server.url, broker.kernel_seed, str(directory / "floor.sqlite3"))
    try:
        with (
            aside("flow", many["nats_url"], many["nkey_seed"], str(rate)),
            aside(*far),
            aside("asker", str(credentials), str(directory / "journal")) as went_on,
        ):
            await asyncio.sleep(5)
            print(f"{count} clicks each, {questions} others wait, {rate} events/s; load {os.getloadavg()[0]:.1f}")
            told("floor: request, committed row, reply", await bare(broker, count))
            for name, click in (("token", by_token(product, token)), ("session", by_session(product))):
                took = await asyncio.to_thread(clicks, product, token, click, went_on, count)
                told(f"click with a {name}", took)
            told("floor again", await bare(broker, count))
    finally:
        broker.stop()


def _waiting(product: Product) -> int:
    with contextlib.closing(sqlite3.connect(product.directory / "steward.sqlite3")) as db:
        return int(db.execute("SELECT count(*) FROM errorkernel_incident WHERE state = 'open'").fetchone()[0])


PARTS: dict[str, Callable[..., Awaitable[None]]] = {
    "flow": lambda url, seed, rate: flow(url, seed, int(rate)),
    "floor": floor,
    "asker": asker,
}


def main() -> None:
    if sys.argv[1:] and sys.argv[1] in PARTS:
        asyncio.run(PARTS[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type]
        return
    count, questions, rate = (*map(int, sys.argv[1:]), *(300, 1000, 500)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as directory:
        product = Product(Path(directory) / "data").start()
        try:
            asyncio.run(measure(product, Path(directory), count, questions, rate))
        finally:
            product.stop()


if __name__ == "__main__":
    main()
