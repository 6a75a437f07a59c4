"""How long another node's incident takes to be pending while one node publishes as fast as it can, and how many events
a second are stored meanwhile.

``python -m tests.bench.flood [SECONDS] [FLOODS]``, by default 60 and 1. First the calm figure, for 10 s. The flood is
published without acknowledgement, by a process of its own, so that what the broker refuses is lost. All of it shares
this machine.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import nats

from tests.bench.throughput import body
from tests.support.paths import ROOT
from tests.support.product import Product

CALM_S = 10
INCIDENT_INTERVAL_S = 0.25
LOOK_S = 0.01
LATE_S = 120


async def flood(url: str, seed: str, node: str) -> None:
    """Publish until it is ended."""
    publisher = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix=f"_INBOX_{node}".encode())
    bodies = [body(number) for number in range(20_000)]
    while True:
        for start in range(0, len(bodies), 500):
            for number in range(start, start + 500):
                # Another id each time, and nothing else: building events would be what is measured.
                await publisher.publish(
                    f"ek.evt.{node}", bodies[number].replace(bodies[number][16:24], os.urandom(4).hex().encode(), 1)
                )
            await publisher.flush()


async def ask(node: dict[str, str], seconds: float) -> dict[str, float]:
    """Publish incidents, one after the other; when each was sent."""
    name = node["node"]
    publisher = await nats.connect(
        node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix=f"_INBOX_{name}".encode()
    )
    sent, began = {}, time.monotonic()
    while time.monotonic() - began < seconds:
        number = len(sent)
        event = json.loads(body(number)) | {"type": "action", "process": f"calm-{number % 5}", "id": str(uuid.uuid4())}
        sent[event["id"]] = time.monotonic()
        await publisher.request(f"ek.evt.{name}", json.dumps(event).encode(), timeout=30)
        await asyncio.sleep(INCIDENT_INTERVAL_S)
    await publisher.close()
    return sent


async def watch(product: Product, found: dict[str, float]) -> None:
    """When each incident was there."""
    with contextlib.closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
        last = 0
        while True:
            rows = database.execute("SELECT id, seq FROM errorkernel_incident WHERE seq > ?", [last]).fetchall()
            for incident, seq in rows:
                found[str(uuid.UUID(incident))] = time.monotonic()
                last = max(last, seq)
            await asyncio.sleep(LOOK_S)


def stored(product: Product) -> int:
    with contextlib.closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
        return int(database.execute("SELECT coalesce(max(seq), 0) FROM errorkernel_errorevent").fetchone()[0])


async def measure(name: str, product: Product, node: dict[str, str], seconds: float) -> None:
    found: dict[str, float] = {}
    watching = asyncio.create_task(watch(product, found))
    before, began = stored(product), time.monotonic()
    sent = await ask(node, seconds)
    rate = (stored(product) - before) / (time.monotonic() - began)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LATE_S):
            while not sent.keys() <= found.keys():
                await asyncio.sleep(LOOK_S)
    watching.cancel()
    took = sorted(found.get(incident, float("inf")) - at for incident, at in sent.items())
    p50, p99, worst = (f"{took[at] * 1000:7.0f} ms" for at in (len(took) // 2, len(took) * 99 // 100, -1))
    print(f"{name:8} {len(took)} incidents  p50 {p50}  p99 {p99}  worst {worst}   {rate:6,.0f} events/s stored"
          f"   load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip


@contextlib.contextmanager
def flooding(product: Product, floods: int) -> Iterator[None]:
    running = []
    for number in range(floods):
        node = product.add_node(f"flood{number}")
        command = [
            sys.executable,
            "-m",
            "tests.bench.flood",
            "flood",
            node["nats_url"],
            node["nkey_seed"],
            node["node"],
        ]
        running.append(subprocess.Popen(command, cwd=ROOT))
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    if sys.argv[1:2] == ["flood"]:
        asyncio.run(flood(*sys.argv[2:]))
        return
    seconds, floods = (*map(int, sys.argv[1:]), *(60, 1)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as directory:
        product = Product(Path(directory) / "data").start()
        try:
            node = product.add_node("calm")
            asyncio.run(measure("calm", product, node, CALM_S))
            with flooding(product, floods):
                asyncio.run(measure("flood", product, node, seconds))
        finally:
            product.kill()


if __name__ == "__main__":
    main()
