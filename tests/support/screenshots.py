"""Takes the pictures of ``docs/`` from the running product: ``python -m tests.support.screenshots docs``.

Every page of the console wide, on a phone and dark (``docs/screens/<page>-<kind>.png``), the empty live page, and the
README's picture (``docs/live.png``). The demo fleet gives them something to show.

``python -m tests.support.screenshots DIR all`` (or ``trouble``: those alone), for whoever changes pages: also those of
a fleet in trouble (``tests/support/busy_fleet.py``), in German, in print, of mistakes and of who may not.
"""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import busy_fleet as busy
from tests.support.browser import log_in
from tests.support.product import CHROMIUM, Product

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
KINDS = {"wide": (WIDE, "light"), "phone": (PHONE, "light"), "dark": (WIDE, "dark")}
AT_HOME = {"HOME": "/home/steward"}
"""The pictures name no path of the machine that they were taken on."""
PAGE_NAMES = {"map": "error-map", "quarantine": "rejected-events"}
"""Where a page is called otherwise than its address."""
FILLING_MS = 45_000
"""How long the demo runs first: some incidents are pending by then, some decided, and a minute of events is stored."""
SETTLE_MS = 700
MAKE_NOBODY = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_user("nobody", password="nobody's own password")
"""


def names(page: Page, product: Product) -> dict[str, str]:
    """The pages that the rail leads to and, from each list, the first thing in it."""
    page.goto(product.http_url + "/")
    rail = page.locator(".rail nav a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    paths = {re.sub(r"\W+", "-", path.strip("/")) or "triage": path for path in rail if not path.startswith("/admin")}
    found = {PAGE_NAMES.get(name, name): path for name, path in paths.items()}
    found["events"] = "/events/"
    for name, links in {
        "incident": ("/incidents/", ".incident h3 a"),
        "event": ("/events/", ".events .main a"),
        "problem": ("/problems/", ".rows .main a"),
        "node": ("/nodes/", ".rows .main a, .rows td a"),
    }.items():
        page.goto(product.http_url + links[0])
        if page.locator(links[1]).count():
            found[name] = str(page.locator(links[1]).first.get_attribute("href"))
    return found


def decide_one(page: Page, product: Product) -> None:
    """So that the live page shows the timeline of a decision."""
    page.goto(product.http_url + "/")
    waiting = page.locator(".is-open")
    if waiting.count() > 1:
        card = waiting.last
        card.locator("[name=reason]").fill("seen before, harmless")
        card.locator("button.continue").click()
        page.wait_for_timeout(SETTLE_MS)


def take(page: Page, path: Path, *, whole: bool = False) -> None:
    """``whole``: from top to bottom. Says where a page scrolls sideways."""
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path, full_page=whole)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        print(f"{path.name} scrolls sideways")


def of_the_demo(browser: Browser, target: Path) -> None:
    product = Product(Path(tempfile.mkdtemp()) / "data", "--demo", settings=AT_HOME).start()
    try:
        page = log_in(browser.new_page(viewport=WIDE), product)
        page.wait_for_timeout(FILLING_MS)
        decide_one(page, product)
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


def of_trouble(browser: Browser, target: Path) -> None:
    product = Product(Path(tempfile.mkdtemp()) / "data", settings={**AT_HOME, "STEWARD_CANARY_WATCH_S": "600"}).start()
    try:
        page = log_in(browser.new_page(viewport=WIDE), product)
        for name, address in busy.furnish(product).items():
            for kind, (size, scheme) in KINDS.items():
                page.set_viewport_size(size)
                page.emulate_media(color_scheme=scheme)
                page.goto(product.http_url + address)
                if page.locator(".saved-searches").count() and name == "views-open":
                    page.locator(".saved-searches > summary").click()
                take(page, target / "screens" / f"{name}-{kind}.png", whole=True)
        page.set_viewport_size(WIDE)
        page.emulate_media(color_scheme="light", media="print")
        page.goto(product.http_url + "/overview/")
        take(page, target / "screens" / "overview-print.png", whole=True)
        page.emulate_media(media="screen")
        _german(browser, product, target)
        _nobody(browser, product, target)
    finally:
        product.stop()


def _german(browser: Browser, product: Product, target: Path) -> None:
    page = log_in(browser.new_page(viewport=WIDE, locale="de-DE"), product)
    for name, address in (names(page, product) | {"mistake": "/live/?q=nod:busy", "rule": "/rules/new/"}).items():
        page.goto(product.http_url + address)
        take(page, target / "screens" / f"{name}-german.png", whole=True)
    page.close()


def _nobody(browser: Browser, product: Product, target: Path) -> None:
    """The login, and what somebody in no group sees."""
    made = product.command("shell", "-c", MAKE_NOBODY)
    assert made.returncode == 0, made.stderr
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto(product.http_url + "/login/")
    take(page, target / "screens" / "login-wide.png")
    page.fill("[name=username]", "nobody")
    page.fill("[name=password]", "nobody's own password")
    page.press("[name=password]", "Enter")
    take(page, target / "screens" / "error-403-wide.png")
    context.close()


def of_nothing(browser: Browser, target: Path) -> None:
    product = Product(Path(tempfile.mkdtemp()) / "data").start()
    try:
        page = log_in(browser.new_page(viewport=WIDE), product)
        take(page, target / "screens" / "empty-wide.png")
        page.set_viewport_size(PHONE)
        take(page, target / "screens" / "empty-phone.png")
    finally:
        product.stop()


def main(target: Path, *which: str) -> None:
    (target / "screens").mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        if "trouble" not in which:
            of_nothing(browser, target)
            of_the_demo(browser, target)
        if which:
            of_trouble(browser, target)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
