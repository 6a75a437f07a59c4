"""Keys: where g leads, what Esc leaves, and that single letters can be switched off."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.events import event, post
from tests.support.product import Product

pytestmark = pytest.mark.browser


def test_keys_go_to_pages_leave_fields_and_can_be_switched_off(running: Product, page: Page) -> None:
    post(running, running.add_node("ship1"), event())
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("heading", level=1, name="events")).to_be_visible()
    expect(page.locator("[data-connection=live]")).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    field = page.locator("main [name=q]").first
    expect(field).to_be_focused()
    page.keyboard.type("ge")  # in a field they are letters
    page.keyboard.press("Escape")
    expect(page.locator("main")).to_be_focused()
    assert field.input_value() == "ge"
    page.keyboard.press("?")
    shown = page.locator("#help")
    expect(shown).to_contain_text("Go to a page")
    expect(shown.locator("[data-goes]")).to_contain_text("Triage")
    expect(shown.locator("[data-goes] kbd").nth(1)).to_have_text("t")
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    menu = page.locator("[data-menu] > summary")
    menu.click()
    page.locator("[data-choice=keys] button[value=off]").click()
    page.keyboard.press("Escape")
    expect(page.locator(".menu-panel")).to_be_hidden()
    expect(menu).to_be_focused()
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("n")
    expect(shown).to_be_hidden()
    page.reload()
    expect(page.locator("[data-connection=live]")).to_be_visible()
    page.keyboard.press("?")
    page.keyboard.press("Control+k")  # still there
    expect(page.locator("#jump")).to_be_visible()
    expect(shown).to_be_hidden()
    page.keyboard.press("Escape")
    menu.click()
    page.locator("[data-choice=keys] button[value=on]").click()
