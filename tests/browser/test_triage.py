"""The triage page in Chromium: 500 processes blocked by three problems are decided by keyboard, mouse and phone.

Presses are counted and printed. No press is lost and no focus moves while the page changes.
"""

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.blocked_fleet import NODES, block, decided_of
from tests.support.browser import log_in, new_context
from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.browser

COUNTS = {"disk": 300, "pool": 150, "schema": 50}
KEYS_MAX, TAPS_MAX, CLICKS_MAX = 25, 6, 6
PRESSES = 100


class Person:
    """Counts what a person does on a page; what they type as a reason is not counted."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.keys = self.clicks = self.taps = self.pages = 0
        self.began = time.monotonic()
        page.on("framenavigated", lambda frame: self._navigated())

    def _navigated(self) -> None:
        self.pages += 1

    def press(self, *keys: str) -> None:
        for key in keys:
            self.keys += 1
            self.page.keyboard.press(key)

    def click(self, place: Locator) -> None:
        self.clicks += 1
        place.click()

    def tap(self, place: Locator) -> None:
        self.taps += 1
        place.tap()

    def report(self) -> None:
        print(
            f"\n{self.name}: {self.keys} keys, {self.clicks} clicks, {self.taps} taps, {self.pages + 1} page,"
            f" {time.monotonic() - self.began:.1f} s"
        )


@pytest.fixture(scope="module")
def nodes(running: Product) -> list[dict[str, str]]:
    return [running.add_node(name) for name in NODES]


@pytest.fixture
def fleet(running: Product, nodes: list[dict[str, str]], request: pytest.FixtureRequest) -> dict[str, str]:
    """500 blocked processes of three problems that are this test's alone: cause → the kind of its error."""
    kinds = {cause: f"{cause.title()}{request.node.name.title().replace('_', '')}" for cause in COUNTS}
    for cause, count in COUNTS.items():
        block(running, nodes, kind=kinds[cause], process=f"{cause}-{request.node.name}", count=count)
    return kinds


@pytest.fixture
def triage(page: Page, running: Product, fleet: dict[str, str]) -> Page:
    page.goto(running.http_url + "/")
    expect(page.locator("[data-connection=live]")).to_be_visible()
    wait_until_shown(page, fleet)
    return page


def wait_until_shown(page: Page, kinds: dict[str, str]) -> None:
    """Until the intake has stored all of them, their order may change."""
    for cause, kind in kinds.items():
        expect(group(page, kind).locator(".many")).to_contain_text(f"{COUNTS[cause]} ")


def group(page: Page, kind: str) -> Locator:
    return page.locator("[data-group]", has_text=kind)


def committed(running: Product, kinds: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Cause → state of the bulk decision that it has by now, and of how many processes it decides."""
    wait_for(lambda: len(decided_of(running, kinds)) == len(kinds))
    return decided_of(running, kinds)


def test_by_keyboard_500_processes_are_decided_in_few_keys(
    running: Product, triage: Page, fleet: dict[str, str]
) -> None:
    person = Person(triage, "keyboard")
    order = [group_kind(place, fleet) for place in triage.locator("[data-group]").all()]
    for kind in order:
        person.press("j")
        if kind == "pool":
            person.press("x")
            triage.keyboard.type("the pool is exhausted since the failover")
            person.press("Enter")
        elif kind:
            person.press("c")
    made = committed(running, fleet)
    person.report()
    assert made == {"disk": ("canary", 300), "pool": ("proposed", 150), "schema": ("canary", 50)}
    assert person.keys <= KEYS_MAX
    assert person.pages == 0
    expect(group(triage, fleet["disk"]).locator(".decide")).to_contain_text("the other 299 follow")
    expect(group(triage, fleet["pool"]).locator(".decide")).to_contain_text("Approval pending")


def group_kind(place: Locator, kinds: dict[str, str]) -> str:
    """The cause of the group, or empty for one of another test."""
    shown = place.locator("h2").inner_text()
    return next((cause for cause, kind in kinds.items() if kind in shown), "")


def test_by_mouse_500_processes_are_decided_in_few_clicks(
    running: Product, triage: Page, fleet: dict[str, str]
) -> None:
    person = Person(triage, "mouse")
    disk, pool, schema = (group(triage, fleet[cause]) for cause in COUNTS)
    person.click(disk.locator("button.continue"))
    box = disk.locator("button.continue").bounding_box()
    expect(disk.locator("button.continue")).to_contain_text("Undo")
    assert disk.locator("button.continue").bounding_box() == box
    person.click(pool.locator("button.kill"))
    expect(pool.locator("[name=reason]")).to_be_focused()
    triage.keyboard.type("the pool is exhausted")
    person.click(pool.locator("button.kill"))
    person.click(schema.get_by_label("All 50"))
    person.click(schema.locator("button.continue"))
    made = committed(running, fleet)
    person.report()
    assert made["disk"] == ("canary", 300)
    assert made["pool"] == ("proposed", 150)
    assert made["schema"][1] == 50
    assert person.clicks <= CLICKS_MAX
    assert person.pages == 0


def test_on_a_phone_500_processes_are_decided_in_few_taps(
    running: Product, browser: Browser, fleet: dict[str, str]
) -> None:
    context = new_context(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = log_in(context.new_page(), running)
    wait_until_shown(page, fleet)
    person = Person(page, "phone")
    taps = {}
    for cause, kind in fleet.items():
        before, place = person.taps, group(page, kind)
        if cause == "pool":
            person.tap(place.locator("button.kill"))
            page.keyboard.type("the pool is exhausted")
            person.tap(place.locator("button.kill"))
        else:
            person.tap(place.locator("button.continue"))
        taps[cause] = person.taps - before
        box = place.locator("button.continue").bounding_box()
        assert box
        assert box["height"] >= 44
    assert committed(running, fleet)["disk"] == ("canary", 300)
    person.report()
    assert max(taps.values()) <= TAPS_MAX
    assert person.pages == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_a_decision_can_be_undone_and_is_sent_when_the_page_is_left(
    running: Product, nodes: list[dict[str, str]], page: Page
) -> None:
    for kind in ("Undone", "Left", "Chosen"):
        block(running, nodes, kind=kind, process=kind.lower(), count=4)
    page.goto(running.http_url + "/")
    requests: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url) if sent.method == "POST" else None)
    for place in (group(page, "Undone"), group(page, "Left"), group(page, "Chosen")):
        expect(place).to_be_visible()
    group(page, "Undone").focus()
    page.keyboard.press("c")
    expect(group(page, "Undone").locator("[data-said]")).to_contain_text("Continue is sent in")
    page.keyboard.press("u")
    expect(group(page, "Undone").locator("button.continue")).to_contain_text("Continue")
    assert requests == []
    # One process of an expanded group, and a second Enter, which sends at once.
    group(page, "Chosen").focus()
    page.keyboard.press("Enter")
    expect(group(page, "Chosen").locator("[data-member]")).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.type("this one alone")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    wait_for(lambda: decided_of(running, {"one": "Chosen"}) == {"one": ("applying", 1)} or done_of(running, "Chosen"))
    group(page, "Left").locator("button.continue").click()
    page.goto(running.http_url + "/problems/")
    wait_for(lambda: decided_of(running, {"left": "Left"}) == {"left": ("canary", 4)})
    assert decided_of(running, {"undone": "Undone"}) == {}


def done_of(running: Product, kind: str) -> bool:
    return any(state == "done" for state, _ in decided_of(running, {"one": kind}).values())


def test_whoever_is_faster_is_named_and_a_take_is_seen_by_others(
    running: Product, nodes: list[dict[str, str]], page: Page
) -> None:
    block(running, nodes, kind="Raced", process="raced", count=4)
    other = page.context.new_page()
    for one in (page, other):
        one.goto(running.http_url + "/")
        expect(group(one, "Raced")).to_be_visible()
    group(other, "Raced").focus()
    other.keyboard.press("t")
    expect(group(page, "Raced")).to_contain_text("taken by admin")
    expect(group(other, "Raced").locator("[data-take]")).to_contain_text("Give back")
    group(page, "Raced").locator("button.kill").hover()
    group(other, "Raced").focus()
    other.keyboard.press("c")
    other.keyboard.press("Enter")
    # The pointer rests on a button of the other page: it stays where it is, and does nothing more.
    expect(group(page, "Raced").locator("button.kill")).to_have_attribute("aria-disabled", "true")
    expect(group(page, "Raced").locator("[data-said]")).to_contain_text("Continue by admin")
    page.mouse.move(1, 1)
    expect(group(page, "Raced").locator("progress")).to_be_visible()
    other.close()


def test_no_press_is_lost_and_the_focus_stays_while_the_page_changes(
    running: Product, nodes: list[dict[str, str]], page: Page
) -> None:
    block(running, nodes, kind="Pressed", process="pressed", count=12)
    page.goto(running.http_url + "/")
    button = group(page, "Pressed").locator("button.continue")
    expect(button).to_be_visible()
    requests: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url) if sent.method == "POST" else None)
    page.evaluate(COUNT_PRESSES)
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for number in range(PRESSES):
        if number % 10 == 0:
            storm(running, nodes, number)
        page.mouse.click(*middle)
    assert page.evaluate("window.presses") == PRESSES
    assert button.bounding_box() == box
    assert requests == []  # an even number: each decision was undone
    group(page, "Pressed").locator("[name=reason]").focus()
    page.keyboard.type("while others come")
    storm(running, nodes, PRESSES)
    expect(page.locator("[data-group]", has_text=f"Storm{'x' * PRESSES}")).to_be_visible()
    expect(group(page, "Pressed").locator("[name=reason]")).to_be_focused()
    expect(group(page, "Pressed").locator("[name=reason]")).to_have_value("while others come")
    expect(page.locator("[data-resort]")).to_be_visible()
    assert page.locator("[data-group]").count() <= 60
    assert page.locator("[data-stream] > *").count() <= 500


COUNT_PRESSES = """() => {
  window.presses = 0;
  const count = (event) => { if (event.target.closest("[name=action]")) window.presses += 1; };
  document.addEventListener("click", count, true);
}"""


def storm(running: Product, nodes: list[dict[str, str]], number: int) -> None:
    """A new problem with blocked processes, more of a known one, and many events."""
    rows: list[dict[str, Any]] = [event(error={"text": f"hay {number} {place}"}) for place in range(100)]
    post(running, nodes[0], *rows)
    block(running, nodes, kind=f"Storm{'x' * number}", process=f"storm{number}", count=6)
    block(running, nodes, kind="Pressed", process=f"pressed-{number}", count=2)
