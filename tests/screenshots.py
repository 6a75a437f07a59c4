"""Takes the pictures of ``docs/`` from the running product: ``python -m tests.screenshots docs``.

Every page of the console wide, on a phone and dark (``docs/screens/<page>-<kind>.png``), the empty live page, and the
README's picture (``docs/live.png``). The demo fleet gives them something to show.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM
from tests.running import Running
from tests.test_browser import log_in

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
KINDS = {"wide": (WIDE, "light"), "phone": (PHONE, "light"), "dark": (WIDE, "dark")}
FILLING_MS = 45_000
"""So long the demo runs first: some processes wait by then, some were answered, a minute of events is there."""
SETTLE_MS = 700


def names(page: Page, product: Running) -> dict[str, str]:
    """The pages that the rail leads to and, from each list, the first thing in it."""
    page.goto(product.http_url + "/")
    rail = page.locator(".rail nav a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    found = {re.sub(r"\W+", "-", path.strip("/")) or "live": path for path in rail if not path.startswith("/admin")}
    found["events"] = "/events/"
    for name, links in {
        "incident": ("/incidents/", ".incident h3 a"),
        "event": ("/events/", ".event a.text"),
        "problem": ("/problems/", ".rows .main a"),
        "node": ("/nodes/", ".rows .main a, .rows td a"),
    }.items():
        page.goto(product.http_url + links[0])
        if page.locator(links[1]).count():
            found[name] = str(page.locator(links[1]).first.get_attribute("href"))
    return found


def answer_one(page: Page, product: Running) -> None:
    """So that the waiting room shows an answer's way."""
    page.goto(product.http_url + "/")
    waiting = page.locator(".is-open")
    if waiting.count() > 1:
        card = waiting.last
        card.locator("[name=reason]").fill("seen before, harmless")
        card.locator("button.continue").click()
        page.wait_for_timeout(SETTLE_MS)


def take(page: Page, path: Path) -> None:
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path)


def of_the_demo(browser: Browser, target: Path) -> None:
    product = Running(Path(tempfile.mkdtemp()) / "data", "--demo").start()
    try:
        page = log_in(browser.new_page(viewport=WIDE), product)
        page.wait_for_timeout(FILLING_MS)
        answer_one(page, product)
        found = names(page, product)
        page.goto(product.http_url + "/")
        take(page, target / "live.png")
        for name, address in found.items():
            for kind, (size, scheme) in KINDS.items():
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.goto(product.http_url + address)
                take(page, target / "screens" / f"{name}-{kind}.png")
    finally:
        product.stop()


def of_nothing(browser: Browser, target: Path) -> None:
    product = Running(Path(tempfile.mkdtemp()) / "data").start()
    try:
        page = log_in(browser.new_page(viewport=WIDE), product)
        take(page, target / "screens" / "empty-wide.png")
        page.set_viewport_size(PHONE)
        take(page, target / "screens" / "empty-phone.png")
    finally:
        product.stop()


def main(target: Path) -> None:
    (target / "screens").mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        of_nothing(browser, target)
        of_the_demo(browser, target)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
