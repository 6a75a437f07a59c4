"""The lists of problems and events in a real browser: selection, completion, histogram, columns."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.events import event, post
from tests.support.product import Product

pytestmark = pytest.mark.browser


def reported(page: Page, running: Product) -> None:
    """Three events of two problems are stored."""
    node = running.add_node("ship1")
    post(running, node, *[event(error={"text": text}) for text in ("disk full", "no space left", "disk full")])
    page.goto(running.http_url + "/events/")
    while page.locator(".events tbody tr").count() < 3:
        page.wait_for_timeout(200)
        page.reload()


def test_the_lists_by_pointer_and_keyboard(page: Page, running: Product) -> None:
    reported(page, running)
    field = page.get_by_role("combobox", name="Search")
    field.press_sequentially("lev")
    option = page.get_by_role("option").first
    expect(option).to_contain_text("level>=error")
    expect(field).to_have_attribute("aria-expanded", "true")
    field.press("ArrowDown")
    expect(field).to_have_attribute("aria-activedescendant", "completion-0")
    field.press("Enter")
    expect(field).to_have_value("level>=error ")
    field.press("Enter")
    expect(page).to_have_url(re.compile("q=level"))

    page.locator("[data-list-options] summary").click()
    page.get_by_label("Node", exact=True).uncheck()
    expect(page.locator(".events td.c-node").first).to_be_hidden()
    page.get_by_role("button", name="Comfortable").click()
    page.reload()
    expect(page.locator(".events td.c-node").first).to_be_hidden()
    expect(page.get_by_role("button", name="Compact")).to_be_visible()

    box = page.locator("[data-histogram] svg").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 40)
    page.mouse.up()
    expect(page).to_have_url(re.compile("since=.*until=.*"))
    expect(page.locator(".events tbody tr")).to_have_count(3)
    page.locator(".events .main a").first.click()
    expect(page.get_by_role("link", name="Older")).to_be_visible()

    page.goto(running.http_url + "/problems/")
    resolve = page.get_by_role("button", name="Resolve", exact=True)
    expect(resolve).to_be_disabled()
    place = resolve.bounding_box()
    page.get_by_label("Select all on this page").check()
    expect(page.locator("[data-selected]")).to_have_text("2 selected")
    assert resolve.bounding_box() == place, "selecting moves nothing"
    resolve.click()
    expect(page.get_by_role("status").filter(has_text="2 problems are resolved.")).to_be_visible()

    page.set_viewport_size({"width": 320, "height": 640})
    for address in ("/problems/?q=state%3A*", "/events/", "/events/infos/"):
        page.goto(running.http_url + address)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), address
