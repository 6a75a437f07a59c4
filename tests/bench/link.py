"""How long a page takes over a ship's link: ``python -m tests.bench.link [--proxy] [--cold] [--only PART] [--runs 3]``.

Chromium emulates a link of 600 ms and 512 kbit/s (``Network.emulateNetworkConditions``); ``--proxy``: a TCP proxy is
that link instead, and delays websockets too. A link to each page is clicked on the start page; the time ends when the
new page has received its first live frame. Requests and bytes are what came over the link meanwhile: cached files cost
nothing. ``--cold``: nothing is cached. Prints the median of the runs.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, CDPSession, Page

from tests.support.browser import chromium, log_in, new_context
from tests.support.product import Product
from tests.support.slow_link import SlowLink

ROUND_TRIP_MS = 600
BYTES_PER_S = 512_000 / 8
EMULATED = {
    "offline": False,
    "latency": ROUND_TRIP_MS,
    "downloadThroughput": BYTES_PER_S,
    "uploadThroughput": BYTES_PER_S,
}
WATCH = """() => {
  const look = () => {
    if (document.querySelector("[data-connection=live]")) window.liveAt ??= Date.now();
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
}"""
CLICK = """(address) => {
  const link = document.body.appendChild(Object.assign(document.createElement("a"), { href: address }));
  const at = Date.now();
  link.click();
  return at;
}"""


@dataclass
class Traffic:
    """What a page asked for since ``begin``."""

    requests: int = 0
    size: int = 0
    websocket: int = 0

    def attach(self, session: CDPSession) -> None:
        session.on("Network.loadingFinished", self._finished)
        session.on("Network.webSocketFrameReceived", self._frame)
        session.send("Network.enable")

    def begin(self) -> None:
        self.requests = self.size = self.websocket = 0

    def _finished(self, told: dict[str, Any]) -> None:
        if told["encodedDataLength"]:  # zero where the cache answered
            self.requests += 1
            self.size += told["encodedDataLength"]

    def _frame(self, told: dict[str, Any]) -> None:
        self.websocket += len(told["response"]["payloadData"])


@contextmanager
def delaying_proxy(product: Product) -> Iterator[str]:
    """The product's address behind a TCP proxy that is the link."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    host, _, port = product.http_url.removeprefix("http://").partition(":")
    link = SlowLink(host, int(port), bytes_per_s=BYTES_PER_S, round_trip_s=ROUND_TRIP_MS / 1000)
    asyncio.run_coroutine_threadsafe(link.__aenter__(), loop).result()
    yield f"http://127.0.0.1:{link.port}"
    asyncio.run_coroutine_threadsafe(link.__aexit__(), loop).result()


class Visitor:
    """A person behind the link."""

    def __init__(self, context: BrowserContext, product: Product, *, emulated: bool, cold: bool) -> None:
        self.page: Page = log_in(context.new_page(), product)
        self._start = self.page.url
        self._cold = cold
        self._emulated = emulated
        self._session = context.new_cdp_session(self.page)
        self.traffic = Traffic()
        self.traffic.attach(self._session)
        self.page.add_init_script(f"({WATCH})()")

    def visit(self, address: str) -> int:
        """Milliseconds from the click to the first live frame."""
        self._session.send("Network.setCacheDisabled", {"cacheDisabled": self._cold})
        self.page.goto(self._start)
        self.page.wait_for_function("() => window.liveAt")
        if self._emulated:
            self._session.send("Network.emulateNetworkConditions", EMULATED)
        self.traffic.begin()
        clicked_at = int(self.page.evaluate(CLICK, address))
        self.page.wait_for_function(
            "(path) => location.href.endsWith(path) && window.liveAt && document.readyState === 'complete'", arg=address
        )
        live_at = int(self.page.evaluate("window.liveAt"))
        if self._emulated:
            fast = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            self._session.send("Network.emulateNetworkConditions", fast)
        return live_at - clicked_at


def measure(visitor: Visitor, addresses: list[str], runs: int) -> None:
    print(f"{'ms':>6} {'requests':>9} {'KiB':>7} {'ws KiB':>7}  page")
    worst = 0.0
    for address in addresses:
        taken = [visitor.visit(address) for _ in range(runs)]
        seen, middle = visitor.traffic, statistics.median(taken)
        worst = max(worst, middle)
        print(
            f"{middle:6.0f} {seen.requests:9d} {seen.size / 1024:7.1f} {seen.websocket / 1024:7.1f}  {address}",
            flush=True,
        )
    print(f"slowest: {worst:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    os.environ.update(STEWARD_DATA_DIR=tempfile.mkdtemp(), DJANGO_SETTINGS_MODULE="steward_site.settings")
    import django

    django.setup()
    from tests.support.every_page import fill, is_page, pages

    product = Product(Path(tempfile.mkdtemp()) / "data").start()
    try:
        with chromium() as browser:
            fill(product)
            context = new_context(browser, viewport={"width": 1280, "height": 800})
            page = log_in(context.new_page(), product)
            addresses = [path for path in pages(product) if given.only in path]
            addresses = [path for path in addresses if is_page(page, product.http_url + path)]
            page.close()
            if given.proxy:
                with delaying_proxy(product) as address:
                    product.http_url = address
                    measure(Visitor(context, product, emulated=False, cold=given.cold), addresses, given.runs)
            else:
                measure(Visitor(context, product, emulated=True, cold=given.cold), addresses, given.runs)
    finally:
        product.stop()


if __name__ == "__main__":
    main()
