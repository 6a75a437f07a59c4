"""No press is lost while a page changes: the control under the pointer stays the same element in the same place."""

from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.browser

PRESSES = 100
COUNT_PRESSES = """() => {
  window.pressed = 0;
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    window.pressed += 1;
  }, { capture: true });
}"""


def block(product: Product, node: dict[str, str], count: int, text: str) -> list[str]:
    events = [event(type="action", process=f"p-{uuid4().hex[:8]}", error={"text": text}) for _ in range(count)]
    post(product, node, *events)
    return [one["id"] for one in events]


def test_a_hundred_presses_arrive_while_approvals_and_incidents_change(running: Product, page: Page) -> None:
    token = running.token()
    node = {"node": "ship1", "token": running.add_node("ship1")["token"]}
    waiting = block(running, node, 30, "disk full")
    wait_for(lambda: len(running.call("/api/v1/incidents?state=open", token)[1]["items"]) >= 30)
    kill = {"action": "kill", "condition": 'text:"disk full"', "reason": "it hangs"}
    assert running.call("/api/v1/bulk-decisions", token, kill)[0] == 201
    for address in ("/approvals/", f"/incidents/{waiting[0]}/"):
        page.goto(running.http_url + address)
        expect(page.locator("[data-connection=live]")).to_be_visible()
        page.evaluate(COUNT_PRESSES)
        if address == "/approvals/":
            page.locator(".reject > summary").first.click()
            page.locator(".reject [name=reason]").first.fill("because")
            button = page.locator(".reject button").first
        else:
            page.evaluate(
                "() => document.querySelector('[data-incident-decide]').removeAttribute('data-incident-decide')"
            )
            button = page.locator("main button.continue").first
        before = button.element_handle()
        box = button.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for number in range(PRESSES // 2):
            page.mouse.down()
            if number % 10 == 0:  # between button down and up something changes: a proposal, an incident, a decision
                block(running, node, 1, "disk full")
                running.call("/api/v1/bulk-decisions", token, kill | {"reason": f"again {number}"})
                running.call(f"/api/v1/incidents/{waiting[1 + number // 10]}/decision", token, {"action": "continue"})
            page.mouse.up()
        assert page.evaluate("window.pressed") == PRESSES // 2
        assert button.evaluate("(now, before) => now === before", before)
        assert button.bounding_box() == box
