"""What a storm costs a browser: ``python -m tests.bench.browser [--minutes 1] [--rate 2000]``.

Sends events over NATS at the rate while Chromium shows the live page, and prints what the browser's own instruments
say: main-thread tasks that took over 100 ms of processor time (from its trace; time on the clock also counts what other
programs took, and is printed beside it), elements in the document, and the heap after a collection, sampled every ten
seconds. Fails where such tasks come more than once in ten seconds, the document grows beyond its bound, or the heap of
the last third is more than a fifth above that of the second.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nats
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.bench.throughput import body
from tests.support.browser import log_in
from tests.support.product import CHROMIUM, Product

TASK_MS = 100
SAMPLE_S = 10
ELEMENTS_MAX = 8_000
NODES_MAX = 2 * ELEMENTS_MAX
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    stored: int
    tasks_ms: list[float]
    """Processor time of each main-thread task."""
    on_the_clock: int
    elements: int
    nodes: int
    """Of the document, texts included."""
    heap_mib: float

    @property
    def long(self) -> int:
        return sum(one > TASK_MS for one in self.tasks_ms)


def send(product: Product, node: dict[str, str], rate: int, stop: threading.Event) -> None:
    """Until ``stop``: ``rate`` events a second, as one node would publish them."""

    async def publish() -> None:
        publisher = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_bench")
        began, sent = time.monotonic(), 0
        while not stop.is_set():
            due = int((time.monotonic() - began) * rate)
            for number in range(sent, due):
                await publisher.publish("ek.evt.bench", body(number))
            sent = due
            await publisher.flush()
            await asyncio.sleep(PAUSE_S)
        await publisher.close()

    asyncio.run(publish())


def tasks_of(trace: bytes) -> list[tuple[float, float]]:
    """(ms on the clock, ms of processor time) of every task of the page's main thread."""
    events = json.loads(trace)["traceEvents"]
    main = {(one["pid"], one["tid"]) for one in events
            if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"}  # fmt: skip
    return [
        (one["dur"] / 1000, one.get("tdur", one["dur"]) / 1000)
        for one in events
        if one["name"].endswith("RunTask") and one.get("dur") and (one["pid"], one["tid"]) in main
    ]


def sample(page: Page, session: CDPSession, trace: bytes) -> Sample:
    tasks = tasks_of(trace)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    elements = page.evaluate("document.getElementsByTagName('*').length")
    nodes = int(
        page.evaluate("document.evaluate('count(//node())', document, null, XPathResult.NUMBER_TYPE).numberValue")
    )
    stored = page.evaluate("Number(document.querySelector('[data-count=events]').textContent.replace(/\\D/g, ''))")
    processor = [one for _, one in tasks]
    return Sample(stored, processor, sum(clock > TASK_MS for clock, _ in tasks), elements, nodes, heap / 2**20)


def measure(browser: Browser, page: Page, minutes: float) -> list[Sample]:
    session = page.context.new_cdp_session(page)
    samples = []
    for _ in range(max(1, int(minutes * 60 / SAMPLE_S))):
        browser.start_tracing(page=page, categories=["toplevel"])
        page.wait_for_timeout(SAMPLE_S * 1000)
        samples.append(sample(page, session, browser.stop_tracing()))
        one, longest = samples[-1], max(samples[-1].tasks_ms, default=0)
        print(
            f"{one.stored:>9,} stored  {one.long} of {len(one.tasks_ms):,} tasks over {TASK_MS} ms "
            f"(longest {longest:.0f}, by the clock {one.on_the_clock})  {one.elements:,} elements  "
            f"{one.nodes:,} nodes  heap {one.heap_mib:.1f} MiB",
            flush=True,
        )
    return samples


def verdict(samples: list[Sample]) -> list[str]:
    """What is wrong; nothing where all bounds were kept. The first sample holds the start and is left out."""
    wrong = [f"{one.long} long tasks in {SAMPLE_S} s" for one in samples[1:] if one.long > 1]
    if not all(one.tasks_ms for one in samples):
        wrong.append("the browser's trace held no tasks")
    if max(one.elements for one in samples) > ELEMENTS_MAX or max(one.nodes for one in samples) > NODES_MAX:
        wrong.append("the document grew beyond its bound")
    third = len(samples) // 3
    if third:
        middle = sum(one.heap_mib for one in samples[third : 2 * third]) / third
        final = sum(one.heap_mib for one in samples[-third:]) / third
        if final > 1.2 * middle + 1:
            wrong.append(f"the heap grows: {middle:.1f} → {final:.1f} MiB")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--rate", type=int, default=2000)
    given = parser.parse_args()
    product = Product(Path(tempfile.mkdtemp()) / "data").start()
    stop = threading.Event()
    sender = threading.Thread(target=send, args=(product, product.add_node("bench"), given.rate, stop), daemon=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = log_in(browser.new_page(viewport={"width": 1280, "height": 800}), product)
            sender.start()
            samples = measure(browser, page, given.minutes)
            browser.close()
    finally:
        stop.set()
        sender.join(10)
        product.stop()
    wrong = verdict(samples)
    print("\n".join(wrong) or "All bounds were kept.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
