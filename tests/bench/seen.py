"""How long from an event's publication to its row in a browser, at steady rates.

``python -m tests.bench.seen [RATE …]``, by default idle (2 a second), 100 and 1,000. One socket measures, 19 others
only read. Publisher and sockets are a process of their own each; all share this machine. The product's own use of the
processor stands beside each rate.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nats
import websockets

from tests.bench.throughput import body
from tests.support.paths import ROOT
from tests.support.product import Product

SOCKETS = 20
SECONDS = 8
MARK = "sent at "


async def publish(url: str, seed: str, rate: int) -> None:
    publisher = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix="_INBOX_seen")
    began = time.perf_counter()
    for number in range(rate * SECONDS):
        await asyncio.sleep(began + number / rate - time.perf_counter())
        event = json.loads(body(number))
        event["error"]["text"] = f"{MARK}{time.time():.6f} copy of chart {number % 7} failed"
        await publisher.publish("ek.evt.seen", json.dumps(event).encode())
    await publisher.drain()


async def read(url: str, cookie: str, delays: list[float] | None) -> None:
    async with websockets.connect(
        url, additional_headers={"Cookie": cookie}, max_size=None, compression=None
    ) as socket:
        async for text in socket:
            if delays is None:
                continue
            now = time.time()
            for event in json.loads(text)["events"]:
                if event["text"].startswith(MARK):
                    delays.append(now - float(event["text"].removeprefix(MARK).split()[0]))


async def measure(product: Product, node: dict[str, str], cookie: str, rate: int) -> None:
    delays: list[float] = []
    url = product.http_url.replace("http", "ws") + "/ws/live"
    sockets = [asyncio.create_task(read(url, cookie, None if number else delays)) for number in range(SOCKETS)]
    await asyncio.sleep(2)
    used, began = _processor_s(product.pid), time.monotonic()
    command = [sys.executable, "-m", "tests.bench.seen", "publish", node["nats_url"], node["nkey_seed"], str(rate)]
    publishing = subprocess.Popen(command, cwd=ROOT)
    await asyncio.to_thread(publishing.wait)
    share = (_processor_s(product.pid) - used) / (time.monotonic() - began)
    await asyncio.sleep(2)
    for socket in sockets:
        socket.cancel()
    await asyncio.gather(*sockets, return_exceptions=True)
    delays.sort()
    p50, p99, worst = (f"{delays[at] * 1e3:6.1f} ms" for at in (len(delays) // 2, len(delays) * 99 // 100, -1))
    print(
        f"{rate:5}/s  shown {len(delays)} of {rate * SECONDS}  p50 {p50}  p99 {p99}  worst {worst}"
        f"  processor {share:.0%}  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def _processor_s(pid: int) -> float:
    """What the product's process has used: its children, the broker among them, are not in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    if sys.argv[1:2] == ["publish"]:
        asyncio.run(publish(sys.argv[2], sys.argv[3], int(sys.argv[4])))
        return
    with tempfile.TemporaryDirectory() as directory:
        product = Product(Path(directory) / "data").start()
        try:
            node, cookie = product.add_node("seen"), product.session()
            for rate in map(int, sys.argv[1:] or ("2", "100", "1000")):
                asyncio.run(measure(product, node, cookie, rate))
        finally:
            product.stop()


if __name__ == "__main__":
    main()
