"""What a slow link makes of pages: one request for a page of which all files are cached, and nothing that jumps."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support.browser import log_in
from tests.support.every_page import fill, is_page, pages
from tests.support.product import Product

pytestmark = pytest.mark.browser

SHIFT_MAX = 0.05
OBSERVE = """() => {
  window.shifted = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const moved = entry.sources.map((source) => source.node?.outerHTML?.slice(0, 80) ?? "");
      if (!entry.hadRecentInput) window.shifted.push([entry.value, moved]);
    }
  }).observe({ type: "layout-shift", buffered: true });
}"""
SETTLED = """() => new Promise((done) => {
  const look = () => {
    const isLive = document.querySelector("[data-connection=live]") !== null;
    isLive ? requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))) : setTimeout(look, 20);
  };
  look();
})"""


@pytest.fixture(scope="module")
def page(context: BrowserContext, running: Product) -> Page:
    page = log_in(context.new_page(), running)
    page.add_init_script(f"({OBSERVE})()")
    return page


@pytest.fixture(scope="module")
def addresses(running: Product, page: Page) -> list[str]:
    fill(running)
    return [path for path in pages(running) if is_page(page, running.http_url + path)]


@pytest.fixture
def sizes(page: Page) -> Iterator[dict[str, int]]:
    """Address → bytes that came over the link, for this test."""
    session = page.context.new_cdp_session(page)
    asked: dict[str, str] = {}
    came: dict[str, int] = {}
    session.on("Network.responseReceived", lambda told: asked.update({told["requestId"]: told["response"]["url"]}))

    def finished(told: dict[str, str]) -> None:
        if int(told["encodedDataLength"]):
            came[asked.get(told["requestId"], "?")] = int(told["encodedDataLength"])

    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    yield came
    session.detach()


def test_a_page_is_one_request_and_nothing_on_it_jumps(
    page: Page, running: Product, addresses: list[str], sizes: dict[str, int]
) -> None:
    assert len(addresses) >= 15
    jumped: list[str] = []
    for size in ({"width": 1440, "height": 900}, {"width": 390, "height": 844}):
        page.set_viewport_size(size)
        for path in addresses:
            sizes.clear()
            page.goto(running.http_url + path)
            page.evaluate(SETTLED)
            assert len(sizes) == 1, (path, sizes)
            shifts = page.evaluate("window.shifted")
            if sum(value for value, _moved in shifts) > SHIFT_MAX:
                jumped.append(f"{size['width']} {path}: {shifts}")
    assert jumped == [], "\n".join(jumped)
