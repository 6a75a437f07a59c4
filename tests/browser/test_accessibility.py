"""Every page of the console in Chromium, looked over by axe-core: no violation, light and dark, wide and on a phone.

The pages are those of ``web/urls.py`` (``tests/support/every_page.py``): one that is added is looked at by itself.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.browser import log_in
from tests.support.every_page import fill, is_page, pages
from tests.support.product import Product

pytestmark = pytest.mark.browser

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
AXE_SCRIPT = Axe().axe_script
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def page(context: BrowserContext, running: Product) -> Page:
    return log_in(context.new_page(), running)


@pytest.fixture(scope="module")
def addresses(running: Product) -> list[str]:
    """Of a product that has something of each kind."""
    fill(running)
    return [running.http_url + path for path in pages(running)]


def test_no_page_has_anything_that_axe_finds(addresses: list[str], page: Page) -> None:
    found: list[str] = []
    looked_at = 0
    for address in addresses:
        if not is_page(page, address):
            continue
        looked_at += 1
        for scheme, size in (("light", WIDE), ("dark", PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            found += violations(page, f"{scheme} {address}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{scheme} {address}: scrolls sideways")
    assert looked_at >= 15
    assert found == [], "\n".join(found)


def test_the_login_and_the_dialogs_have_nothing_that_axe_finds(running: Product, browser: Browser, page: Page) -> None:
    running.add_node("ship-to-jump-to")
    out = browser.new_page()
    out.goto(running.http_url + "/login/")
    found = violations(out, "login")
    out.close()
    page.set_viewport_size(WIDE)
    page.goto(running.http_url + "/")
    page.locator(".tools > [data-help]").click()
    found += violations(page, "help")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.locator("#jump [name=q]").fill("ship")
    page.locator("#jump a").first.wait_for()
    found += violations(page, "jump")
    assert found == [], "\n".join(found)


def violations(page: Page, where: str) -> list[str]:
    """What axe finds on the page as it now is; its script is put into each page once."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": RULES, "resultTypes": ["violations"]}
    found = page.evaluate("async (options) => (await axe.run(document, options)).violations", options)
    return [
        f"{where}: {violation['id']}: {node['target']} {node['html'][:200]}"
        for violation in found
        for node in violation["nodes"][:3]
    ]


FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
# By their place among all, read anew each time: parts of a page are replaced by the same ones while it is walked over.
WAYS_IN = """([part, selector]) => {
  window.ways = () => [...document.querySelector(part).querySelectorAll(selector)].filter((one) => one.checkVisibility({
    visibilityProperty: true, contentVisibilityAuto: true }) && !one.disabled && one.tabIndex >= 0);
  window.named = (one) => `${one.tagName} ${one.getAttribute("href") ?? one.name ?? ""} ${one.textContent.trim()}`;
  return window.ways().map(window.named);
}"""
# Noted in the page at each change of focus and read by the dozen: a page has some fifty controls.
NOTE_FOCUS = """() => {
  window.noted = [];
  document.addEventListener("focusin", ({ target: one }) => {
    // A row's ring is drawn around what its link covers.
    const ring = [getComputedStyle(one), getComputedStyle(one, "::after")].some((style) => style.outlineStyle !== "none"
      && parseFloat(style.outlineWidth) >= 2);
    const seen = one.matches("input, select, textarea") || ring;
    const way = window.ways().indexOf(one);
    window.noted.push({ way: way < 0 ? null : way, seen, name: window.named(one) });
  });
}"""
TABS_AT_ONCE = 12


def focused_by_tabs(page: Page, presses: int) -> Iterator[dict[str, Any]]:
    """What is focused as Tab is pressed, at most so often."""
    for _ in range(0, presses, TABS_AT_ONCE):
        for _ in range(TABS_AT_ONCE):
            page.keyboard.press("Tab")
        yield from page.evaluate("window.noted.splice(0)")


def unreached(page: Page, part: str) -> list[str]:
    """What is wrong with the way by Tab through ``part`` of the page: ``body``, or ``main``, to which a link skips."""
    found: list[str] = []
    if page.evaluate("document.querySelector('main') && !document.activeElement.closest('main')"):
        found.append("the focus is not in the content")
    page.evaluate("document.querySelector('#main')?.focus()")  # the walk ends where it begins, past the end of the page
    ways = page.evaluate(WAYS_IN, [part, FOCUSABLE])
    page.evaluate(NOTE_FOCUS)
    reached: list[int] = []
    names: set[str] = set()
    for on in focused_by_tabs(page, len(ways) + 60):  # a field for a time takes several
        names.add(on["name"])
        if on["way"] is None or reached[-1:] == [on["way"]]:
            continue
        if on["way"] in reached:
            break
        reached.append(on["way"])
        if not on["seen"]:
            found.append(f"nothing shows that the focus is on {on['name']}")
        if len(reached) == len(ways):
            break
    radios = page.locator("input[type=radio]").count()  # of a group, one is reached by Tab, the others by arrows
    # A part that came or went meanwhile has moved the others: they are known by their names.
    missed = [what for number, what in enumerate(ways) if number not in reached and what not in names]
    if len(missed) > max(0, radios - 1):
        found += [f"{what} is not reached" for what in missed]
    return found


def test_every_control_is_reached_by_keyboard_and_shows_that_it_is(addresses: list[str], page: Page) -> None:
    """The frame around the content is the same on all pages: it is walked through on the first."""
    page.set_viewport_size(WIDE)
    found: list[str] = []
    part = "body"
    for address in addresses:
        if is_page(page, address):
            found += [f"{address}: {wrong}" for wrong in unreached(page, part)]
            part = "main"
    assert found == [], "\n".join(found)
