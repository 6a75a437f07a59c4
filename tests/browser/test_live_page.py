"""Journeys in a real browser against a whole running product."""

import time

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import log_in, new_context
from tests.support.events import event, post
from tests.support.product import Product

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def node(running: Product) -> dict[str, str]:
    return running.add_node("ship1")


def shown(page: Page, prefix: str) -> list[str]:
    texts = page.locator(".event[data-seq]").all_inner_texts()
    return [word for text in texts for word in text.split() if word.startswith(prefix)]


def test_an_event_appears_without_a_reload(page: Page, running: Product, node: dict[str, str]) -> None:
    post(running, node, event(error={"text": "warm-up"}))
    expect(page.get_by_text("warm-up").first).to_be_visible()
    page.evaluate("window.isSamePage = true")
    post(running, node, event(error={"text": "quick-one"}))
    expect(page.get_by_text("quick-one").first).to_be_visible()
    assert page.evaluate("window.isSamePage")


def test_hostile_text_is_text(page: Page, running: Product, node: dict[str, str]) -> None:
    alerts: list[object] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog), dialog.dismiss()))
    text = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202eright to left"
    post(running, node, event(process="<b>bold</b>", error={"kind": "<i>", "text": text}))
    expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
    assert not alerts


def test_after_a_restart_the_page_has_no_gap_and_no_duplicate(running: Product, page: Page, node: dict) -> None:
    post(running, node, *[event(error={"text": f"wave-{number:03d}"}) for number in range(40)])
    expect(page.get_by_text("wave-039").first).to_be_visible()
    running.kill()
    running.start()
    time.sleep(0.2)
    post(running, node, *[event(error={"text": f"wave-{number:03d}"}) for number in range(40, 90)])
    expect(page.get_by_text("wave-089").first).to_be_visible()
    assert sorted(shown(page, "wave-")) == [f"wave-{number:03d}" for number in range(90)]


def test_two_operators_decide_and_the_second_reads_who_won(
    browser: Browser, page: Page, running: Product, node: dict
) -> None:
    asked = event(type="action", process="copy-files", error={"text": "may I go on?"})
    other = log_in(page.context.new_page(), running)
    for one in (page, other):
        one.goto(running.http_url + "/incidents/")
        expect(one.locator("[data-connection=live]")).to_be_visible()
    post(running, node, asked)
    card = f"[id='incident-{asked['id']}']"
    expect(page.locator(card)).to_be_visible()
    expect(other.locator(card)).to_be_visible()
    # The second has the page of the incident open without script, so that nothing warns them.
    slow = new_context(browser, java_script_enabled=False).new_page()
    slow.goto(running.http_url + "/login/")
    slow.fill("[name=username]", "admin")
    slow.fill("[name=password]", running.password)
    slow.press("[name=password]", "Enter")
    slow.goto(f"{running.http_url}/incidents/{asked['id']}/")
    expect(slow.locator("noscript p")).to_be_visible()
    expect(slow.locator("button.continue kbd")).to_be_hidden()
    page.locator(f"{card} [name=reason]").fill("checked it")
    page.locator(f"{card} button.continue").click()
    expect(page.locator(card)).to_contain_text("decided continue by admin")
    expect(other.locator(card)).to_contain_text("decided continue by admin")
    slow.locator("main [name=reason]").first.fill("disk is being replaced")
    slow.locator("main button.kill").first.click()
    expect(slow.locator("main")).to_contain_text("checked it")
    other.close()
    slow.context.close()


def test_however_many_begin_to_wait_the_page_stays_connected_and_does_not_grow_with_them(
    running: Product, page: Page, node: dict
) -> None:
    connections: list[object] = []
    page.on("websocket", lambda socket: connections.append(socket))
    room = page.context.new_page()
    room.goto(running.http_url + "/incidents/")
    expect(room.locator("[data-connection=live]")).to_be_visible()
    # As large as a card can be: more than a websocket's message would hold.
    asked = [event(type="action", process=f"copy-{number}", error={"text": '<"' * 200}) for number in range(150)]
    post(running, node, *asked)
    expect(page.locator("[data-count=pending]")).to_have_text("150")
    expect(page.locator("[data-group] .many").first).to_contain_text("150")
    expect(room.locator("[data-cards] > *")).to_have_count(100)
    expect(room.locator("[data-more-count]")).to_have_text("50")
    done = {"action": "continue", "reason": "\u202e" * 1000}
    token, watched = running.token(), asked[-1]["id"]
    page.goto(f"{running.http_url}/incidents/{watched}/")
    expect(page.locator("[data-connection=live]")).to_be_visible()
    made = {"condition": "process:copy-*", **done}
    _, proposed = running.call("/api/v1/bulk-decisions", token, made)
    assert running.call(f"/api/v1/bulk-decisions/{proposed['id']}/approve", token, {})[0] == 200
    expect(page.locator(f"[data-part=head][data-of='{watched}']")).to_contain_text("decided continue by admin")
    expect(room.locator("[data-cards] .is-open")).to_have_count(0)
    expect(room.locator("[data-more]")).to_be_hidden()
    assert room.locator("[data-cards] > *").count() <= 200
    room.close()
    assert len(connections) == 1  # one for the page since: none was cut
    assert "Traceback" not in running.log()
