"""What only a browser shows of pages that are rendered: columns, narrow screens, colours, where the focus is."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.browser

PROSE = (
    "The disk was replaced by a larger one on the evening of the 24th; look at the archive before you remove any. " * 3
)
IN_TWO = """(columns) => {
  const found = [];
  for (const cell of document.querySelectorAll(columns)) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      for (const word of text.data.matchAll(/\\S+/g)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = [...range.getClientRects()].filter((box) => box.width > 0).map((box) => Math.round(box.top));
        if (new Set(lines).size > 1) found.push(word[0]);
      }
    }
  }
  return found;
}"""
"""The words in these cells that are broken over two lines."""


@pytest.fixture(scope="module")
def rules(running: Product) -> list[int]:
    wording = {"condition": "process:nobody", "action": "continue", "reason": PROSE, "enabled": True}
    made = [
        running.call("/api/v1/rules", running.token(), wording | {"name": name}) for name in ("one", "two", "three")
    ]
    assert [status for status, _ in made] == [201] * 3
    return [rule["id"] for _, rule in made]


def test_short_columns_stay_whole_beside_long_prose(page: Page, running: Product) -> None:
    post(running, running.add_node("ship1"), event(error={"text": "disk full"}))
    listed = wait_for(lambda: running.call("/api/v1/problems", running.token())[1]["items"])
    address = f"{running.http_url}/problems/{listed[0]['id']}/"
    for act in ("mute", "resolve"):
        page.goto(address)
        form = page.locator(f"form[action$='/{act}/']")
        form.locator("[name=reason]").fill(PROSE)
        form.locator("button").click()
    for width in (1440, 1280, 800, 360):
        page.set_viewport_size({"width": width, "height": 800})
        for path in ("/audit/", address.removeprefix(running.http_url)):
            page.goto(running.http_url + path)
            expect(page.locator("td.prose", has_text="replaced by a larger one").first).to_be_visible()
            assert page.evaluate(IN_TWO, ".rows td.short") == [], (width, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, path)


def test_a_rule_that_is_moved_by_keyboard_keeps_the_focus(page: Page, running: Product, rules: list[int]) -> None:
    page.goto(running.http_url + "/rules/")
    down = page.locator(f"#rule-{rules[0]}-down")
    down.focus()
    # Two places down, and once more where it goes no further.
    for place in (2, 3, 3):
        page.keyboard.press("Enter")
        expect(page.locator(f"tbody tr:nth-child({place})")).to_have_id(f"rule-{rules[0]}")
        expect(down).to_be_focused()


def test_a_refused_field_has_the_focus(page: Page, running: Product) -> None:
    page.goto(running.http_url + "/rules/new/")
    for name, text in (("condition", "nod:x"), ("name", "none"), ("reason", "a test")):
        page.locator(f"main [name={name}]").fill(text)
    page.get_by_role("button", name="Save disabled").click()
    expect(page.get_by_role("alert").filter(has_text="Unknown field")).to_be_visible()
    expect(page.locator("main [name=condition]")).to_be_focused()


def test_german_has_space_on_a_phone_and_in_the_rail(page: Page, running: Product, rules: list[int]) -> None:
    page.locator("[data-menu] > summary").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    gap = page.evaluate("""() => {
      const link = document.querySelector(".rail a[aria-current]"), count = link.querySelector(".count-pending");
      count.textContent = "3095";
      const word = document.createRange();
      word.selectNodeContents(link.firstChild);
      return count.getBoundingClientRect().left - word.getBoundingClientRect().right;
    }""")
    assert gap >= 4
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{running.http_url}/rules/{rules[0]}/")
    expect(page.get_by_role("button", name="Aussetzen")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_proposal_to_kill_many_says_so_in_the_colour_of_a_kill(page: Page, running: Product) -> None:
    post(running, running.add_node("ship2"), event(type="action", error={"text": "may I go on?"}))
    many = {"condition": "node:ship2", "action": "kill", "reason": "all of them"}
    token = running.token()
    wait_for(lambda: running.call("/api/v1/incidents?node=ship2", token)[1]["items"])
    status, proposed = running.call("/api/v1/bulk-decisions", token, many)
    assert status == 201
    page.goto(f"{running.http_url}/bulk-decisions/{proposed['id']}/")
    bad = page.evaluate("""() => {
      const shown = document.body.appendChild(Object.assign(document.createElement("p"), {className: "gone"}));
      return getComputedStyle(shown).color;
    }""")
    word = page.locator("main :is(h1, h2) .worse").first
    expect(word).to_have_text("Kill and restart")
    assert word.evaluate("one => getComputedStyle(one).color") == bad
