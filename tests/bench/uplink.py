"""How long an incident waits behind a node's backlog on a slow link, and what an event costs on it.

``python -m tests.bench.uplink [EVENTS] [BYTES_PER_S] [ROUND_TRIP_S]``. A node reports while its link is away: EVENTS
events of 20 processes, ten events of one more, and an incident of that one. Then it connects through a proxy that
passes BYTES_PER_S in each direction (default: 512 kbit/s). The bytes are those from the node to the broker.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.node import BlockingKernel, Kernel
from errorkernel.node.delivery.packing import OVERHEAD_BYTES
from errorkernel.protocol import batches, json_codec
from tests.bench.report import made
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.slow_link import SlowLink

PROCESSES = 20
OWN_EVENTS = 10
POLL_S = 0.2


def fill(credentials: Path, journal: Path, events: int) -> None:
    """Report ``events`` events and those of the process that asks, with a broker that is not there."""
    exc = made()
    with BlockingKernel.from_file(
        credentials, journal=journal, max_reports=10**7, max_bytes=2**32, close_wait_s=0
    ) as kernel:
        for number in range(events):
            exc.filename = f"/data/charts/{number % 977}.tif"
            kernel.error(
                exc,
                process=f"copy-{number % PROCESSES}",
                message={"id": str(number), "method": "REQCopySrc", "from_node": "central"},
                tags={"release": "1.4.2", "attempt": number % 5},
            )
        for number in range(OWN_EVENTS):
            kernel.error(f"the rudder answers late: {number} ms", process="helm")


async def measure(product: Product, directory: Path, events: int, bytes_per_s: float, round_trip_s: float) -> None:
    given = product.add_node("far-ship")
    token = product.token()
    away = directory / "away.json"
    away.write_text(json.dumps({**given, "nats_url": "nats://127.0.0.1:9"}))
    await asyncio.to_thread(fill, away, directory / "journal", events)
    broker = urlsplit(given["nats_url"])
    assert broker.hostname
    assert broker.port
    async with SlowLink(broker.hostname, broker.port, bytes_per_s=bytes_per_s, round_trip_s=round_trip_s) as link:
        linked = directory / "linked.json"
        linked.write_text(json.dumps({**given, "nats_url": f"nats://127.0.0.1:{link.port}"}))
        began = time.monotonic()
        async with Kernel.from_file(
            linked, journal=directory / "journal", max_reports=10**7, max_bytes=2**32
        ) as kernel:
            asking = asyncio.create_task(kernel.ask("may I go on?", process="helm"))
            totals = await kernel.call(kernel.backlog.totals)
            print(f"{totals['rows']} messages of {totals['bytes'] / totals['rows']:.0f} bytes;", end=" ", flush=True)
            print(f"{bytes_per_s:.0f} bytes/s, round trip {round_trip_s} s", flush=True)

            def is_pending() -> bool:
                return bool(product.call("/api/v1/incidents?state=open", token)[1]["items"])

            pending_s = await elapsed(is_pending, began)
            print(f"the incident is pending after {pending_s:.1f} s; {link.sent_bytes:,} bytes were sent", flush=True)

            async def is_sent() -> bool:
                return (await kernel.call(kernel.backlog.totals))["rows"] == 0

            while not await is_sent():
                await asyncio.sleep(POLL_S)
            took_s = time.monotonic() - began
            print(f"all is sent after {took_s:.1f} s: {link.sent_bytes / events:.0f} bytes an event", flush=True)
            asking.cancel()


async def elapsed(condition: Callable[[], bool], began: float) -> float:
    """Seconds from ``began`` until the condition holds."""
    while not await asyncio.to_thread(condition):
        await asyncio.sleep(POLL_S)
    return time.monotonic() - began


def print_everyday_sizes() -> None:
    """What events of common programs take, each with another text, id and time: one by one, and in batches of 250."""
    lines = (ROOT / "tests/unit/data/everyday_errors.txt").read_text().splitlines()
    texts = [line.split(" | ", 2)[2] for line in lines if line.count(" | ") >= 2 and not line.startswith("#")]
    encoded = [
        json_codec.encode_event(
            Event(
                id=uuid7(),
                type=EventType.ERROR,
                level=Level.ERROR,
                process=f"p{number % PROCESSES}",
                kind="Error",
                text=random.choice(texts),
                incarnation=1,
                occurred_at=datetime.now(UTC),
            )
        )
        for number in range(5000)
    ]
    packed = [batches.pack(encoded[start : start + 250]) for start in range(0, len(encoded), 250)]
    singly = sum(map(len, encoded)) / len(encoded) + OVERHEAD_BYTES
    together = sum(len(data) + OVERHEAD_BYTES for data in packed) / len(encoded)
    print(f"{len(texts)} everyday texts: {singly:.0f} bytes an event one by one, {together:.0f} in batches", flush=True)


def main() -> None:
    print_everyday_sizes()
    given = [float(argument) for argument in sys.argv[1:]]
    events, bytes_per_s, round_trip_s = (*given, *(100_000, 64_000, 0.0)[len(given) :])
    with tempfile.TemporaryDirectory() as directory:
        product = Product(Path(directory) / "data").start()
        try:
            asyncio.run(measure(product, Path(directory), int(events), bytes_per_s, round_trip_s))
        finally:
            product.stop()


if __name__ == "__main__":
    main()
