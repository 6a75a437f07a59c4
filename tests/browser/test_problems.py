"""Problems in a real browser: muted, assigned, merged and taken out again, without and with script."""

import re
import urllib.parse

import pytest
from playwright.sync_api import Page, expect

from tests.support.events import event, post
from tests.support.product import Product

pytestmark = pytest.mark.browser


def row(page: Page, title: str) -> str:
    """The number of the problem with this title, which the list comes to show."""
    link = page.locator("td.main a", has_text=title)
    while not link.count():
        page.wait_for_timeout(200)
        page.reload()
    return urllib.parse.urlsplit(link.first.get_attribute("href") or "").path.split("/")[2]


def test_the_journey_of_a_problem(page: Page, running: Product) -> None:
    node = running.add_node("ship1")
    post(running, node, *[event(error={"text": text}) for text in ("disk full", "disk full", "no space left")])
    page.goto(running.http_url + "/problems/")
    whole, part = row(page, "disk full"), row(page, "no space left")

    page.goto(f"{running.http_url}/problems/{part}/")
    page.get_by_text("Merge into another problem").click()
    expect(page.locator(".crumbs")).to_contain_text(f"problem {part}")
    page.get_by_label("number or address of its page").fill(f"{running.http_url}/problems/{whole}/")
    page.get_by_role("button", name="Merge").click()
    expect(page).to_have_url(f"{running.http_url}/problems/{whole}/")
    expect(page.get_by_role("button", name=f"Split off problem {part}")).to_be_visible()

    page.get_by_label("Assign to").select_option("admin")
    page.get_by_role("button", name="Assign", exact=True).click()
    expect(page.locator(".pairs dd", has_text="admin")).to_be_visible()
    page.get_by_label("Mute until").select_option("10")
    page.get_by_role("button", name="Mute", exact=True).click()
    expect(page.get_by_text("until 13 occurrences")).to_be_visible()

    page.goto(running.http_url + "/problems/")
    expect(page.get_by_text("No open problems.")).to_be_visible()
    page.goto(running.http_url + "/problems/?q=assigned:me")
    expect(page.get_by_text("No problem matches.")).to_be_visible()
    page.get_by_role("link", name="muted").click()
    expect(page.locator("td[data-label=Occurrences]")).to_have_text("3")
    expect(page.get_by_role("img", name=re.compile("^3 events in the last 24 hours"))).to_be_visible()

    page.set_viewport_size({"width": 360, "height": 740})
    for address in ("/problems/?q=state:*", f"/problems/{whole}/"):
        page.goto(running.http_url + address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name=f"Split off problem {part}").click()
    expect(page).to_have_url(f"{running.http_url}/problems/{part}/")


def test_a_double_click_comments_once_and_shows_at_once_that_it_was_pressed(page: Page, running: Product) -> None:
    post(running, running.add_node("ship2"), event(error={"text": "printer on fire"}))
    page.goto(running.http_url + "/problems/")
    number = row(page, "printer on fire")
    page.goto(f"{running.http_url}/problems/{number}/")
    page.locator("form.comment textarea").fill("looked at it")
    page.route("**/comment/", lambda route: route.abort("aborted"))
    button = page.get_by_role("button", name="Comment")
    button.click()
    expect(button).to_have_attribute("aria-busy", "true")
    expect(button).to_be_focused()
    page.unroute("**/comment/")
    page.reload()
    page.locator("form.comment textarea").fill("looked at it")
    button.dblclick()
    expect(page.get_by_text("looked at it", exact=True).first).to_be_visible()
    _status, problem = running.call(f"/api/v1/problems/{number}", running.token())
    assert [comment["text"] for comment in problem["comments"]] == ["looked at it"]
