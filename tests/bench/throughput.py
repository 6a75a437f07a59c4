"""How many events a second go the whole way: published, stored, grouped, and seen by 20 browsers' sockets.

``python -m tests.bench.throughput [EVENTS] [SOCKETS]``. Publisher, broker, kernel, web and sockets share this machine.
"""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

import nats
import websockets

from tests.support.product import Product

TEXT = "copy of chart {} to the archive failed after 3 tries: no such file or directory /data/charts/{}.tif"


def body(number: int) -> bytes:
    event = {
        "v": 1, "id": str(uuid.uuid4()), "type": "error", "process": f"copy-{number % 7}", "incarnation": 1,
        "error": {"kind": f"Kind{number % 50}", "text": TEXT.format(number, number), "stack": "  at f()\n" * 60},
        "message": {"id": str(number // 10), "method": "REQCopySrc"}, "tags": {"release": "1.4.2"},
        "occurred_at": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    return json.dumps(event).encode()


async def watch(url: str, cookie: str, count: int) -> tuple[int, int, float]:
    """(rows shown, rows counted as skipped, when everything was covered)."""
    shown = skipped = 0
    async with websockets.connect(url, additional_headers={"Cookie": cookie}, max_size=None) as socket:
        async for text in socket:
            frame = json.loads(text)
            shown += len(frame["events"])
            skipped += frame["skipped"]
            if frame["to"] >= count:
                break
    return shown, skipped, time.perf_counter()


async def measure(product: Product, count: int, sockets: int) -> None:
    node = product.add_node("bench")
    cookie = product.session()
    url = product.http_url.replace("http", "ws") + "/ws/live"
    watching = [asyncio.create_task(watch(url, cookie, count)) for _ in range(sockets)]
    await asyncio.sleep(2)
    bodies = [body(number) for number in range(count)]
    print(f"{count} events of {len(bodies[0])} bytes, {sockets} sockets")
    publisher = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_bench")
    began = time.perf_counter()
    for start in range(0, count, 500):
        for one in bodies[start : start + 500]:
            await publisher.publish("ek.evt.bench", one)
        await publisher.flush()
        await asyncio.sleep(0)
    published = time.perf_counter() - began
    results = await asyncio.gather(*watching)
    took = max(at for _, _, at in results) - began
    assert all(shown + skipped == count for shown, skipped, _ in results), "a socket missed something"
    print(f"published in {published:.1f} s; stored and seen by all in {took:.1f} s: {count / took:,.0f} events/s")
    await publisher.close()


def main() -> None:
    count, sockets = (*map(int, sys.argv[1:]), *(30_000, 20)[len(sys.argv) - 1 :])
    product = Product(Path(tempfile.mkdtemp()) / "data").start()
    try:
        asyncio.run(measure(product, count, sockets))
    finally:
        product.stop()


if __name__ == "__main__":
    main()
