"""What people do with the console, in Chromium against a whole running product: each from its beginning to its end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.browser import log_in, new_context
from tests.support.events import event, post
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.browser

MAKE_VIEWER = (
    "from django.contrib.auth.models import Group, User;"
    "u = User.objects.create_user('vera', password='looks only');"
    "u.groups.add(Group.objects.get(name='viewer'))"
)


@pytest.fixture(scope="module")
def first(context: BrowserContext, running: Product) -> dict[str, str]:
    """The first journey: an empty installation, a node by the button, the first event. Gives the node's token."""
    page = log_in(context.new_page(), running)
    expect(page.get_by_text("No events yet")).to_be_visible()
    page.get_by_role("button", name="Create node and token").click()
    expect(page.locator("[data-token]")).to_contain_text("nkey_seed")
    credentials = json.loads(page.locator("[data-token]").inner_text())
    shown = page.locator("pre", has_text="curl").inner_text()
    assert running.http_url in shown
    expect(page).to_have_url(running.http_url + "/")
    expect(page.get_by_text("Waiting for the first event")).to_be_visible()
    wait_for(lambda: '"accepted"' in bash(shown))
    expect(page.locator(".event").first).to_contain_text("the first one")
    expect(page.get_by_text("Waiting for the first event")).to_be_hidden()
    assert json.loads(page.locator("[data-token]").inner_text()) == credentials
    page.get_by_role("button", name="I have saved the credentials").click()
    expect(page.locator("[data-token]")).to_have_count(0)
    page.goto(running.http_url + "/first-node/")
    assert credentials["token"] not in page.content()
    node = {"node": "ship1", "token": credentials["token"]}
    page.close()
    return node


def bash(line: str) -> str:
    """What the line says, run as it stands."""
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=PATIENCE_S).stdout


def accepted(running: Product, node: dict[str, str], report: dict) -> bool:
    try:
        post(running, node, report)
    except OSError:
        return False
    return True


def ask(running: Product, node: dict[str, str], text: str, **fields: object) -> str:
    """The selector of the card of a new question."""
    asked = event(type="action", process="copy-files", error={"text": text}, **fields)
    post(running, node, asked)
    return f"[id='incident-{asked['id']}']"


def test_a_storm_is_followed_through_a_search(running: Product, page: Page, first: dict[str, str]) -> None:
    page.goto(running.http_url + "/live/")
    page.locator("main [name=q]").fill('level>=error text:"needle"')
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=level%3E%3Derror"))
    expect(page.locator("[data-connection=live]")).to_be_visible()
    for wave in range(5):
        hay = [event(level="info", type="info", error={"text": f"hay {wave} {number}"}) for number in range(300)]
        post(running, first, *hay, event(error={"text": f"needle {wave}"}))
    for wave in range(5):
        expect(page.locator(".event", has_text=f"needle {wave}")).to_have_count(1)
    expect(page.locator(".event", has_text="hay")).to_have_count(0)
    # Nothing but rows: texts between them would be bounded by nothing.
    assert page.locator("[data-stream]").evaluate("list => list.childNodes.length - list.children.length") == 0
    page.locator("main [name=q]").fill("nod:x")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Unknown field")).to_be_visible()


def test_a_pause_holds_the_rows_and_says_how_many_are_new(running: Product, page: Page, first: dict[str, str]) -> None:
    page.keyboard.press("p")
    post(running, first, *[event(error={"text": f"while paused {number}"}) for number in range(3)])
    expect(page.locator("[data-fresh]")).to_have_text("3 new")
    expect(page.locator(".event", has_text="while paused")).to_have_count(0)
    page.locator("[data-fresh]").click()
    expect(page.locator(".event", has_text="while paused")).to_have_count(3)


def test_who_waits_on_the_same_is_counted_as_they_come_and_filtered(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    asked = [ask(running, first, "the same for many?") for _ in range(2)]
    expect(page.locator("[data-group]", has_text="the same for many")).to_contain_text("2 pending")
    page.goto(running.http_url + '/incidents/?q=text:"the same for many"')
    expect(page.locator(".incident")).to_have_count(2)
    asked += [ask(running, first, text) for text in ("the same for many?", "another?")]
    expect(page.locator(asked[2])).to_be_visible()
    expect(page.locator(".incident")).to_have_count(3)
    page.get_by_role("link", name="Decide many").click()
    expect(page.locator("main [role=status]").first).to_contain_text("3 pending incidents")
    page.goto(f"{running.http_url}/incidents/{asked[0][14:-2]}/")
    expect(page.get_by_role("link", name="Decide them in triage")).to_be_visible()
    token = running.token()
    for card in asked[1:]:
        running.call(f"/api/v1/incidents/{card[14:-2]}/decision", token, {"action": "continue"})
    expect(page.get_by_role("link", name="Decide them in triage")).to_have_count(0)
    page.locator("button.continue").click()
    expect(page.locator("main")).to_contain_text("decided continue by admin")


def test_an_incident_is_decided_by_the_keyboard_alone(running: Product, page: Page, first: dict[str, str]) -> None:
    card = ask(running, first, "keyboard?")
    expect(page).to_have_title(re.compile(r"^\(1\) Triage"))
    page.goto(running.http_url + "/incidents/")
    expect(page.locator(card)).to_be_visible()
    expect(page).to_have_title(re.compile(r"^\(1\) Incidents"))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("^data:image/svg"))
    page.keyboard.press("j")
    expect(page.locator(card)).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.type("its disk is being replaced")
    page.keyboard.press("Enter")
    expect(page.locator(card)).to_contain_text("decided kill by admin")
    page.keyboard.press("Escape")  # while the field has the focus, nothing is inserted before it
    expect(page.locator(card)).to_contain_text("its disk is being replaced")
    page.keyboard.press("Control+k")
    page.locator("#jump [name=q]").fill("ship")
    expect(page.locator("#jump a").first).to_contain_text("ship1")
    page.locator("#jump [name=q]").fill("copy-f")
    page.keyboard.press("Enter")  # what stands below the field is still of the text before
    expect(page.get_by_role("heading", name="copy-files", exact=True)).to_be_visible()


def test_help_is_about_the_page_and_names_the_key_to_search_where_there_is_one(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    page.goto(running.http_url + "/audit/")
    expect(page.locator("[data-connection=live]")).to_be_visible()  # its script has run
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("Every decision, rule, credential and outcome")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    expect(page.locator("#help").get_by_text("search this list")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("main [name=actor]")).to_be_focused()
    page.goto(running.http_url + "/map/")
    page.locator(".tools > [data-help]").click()
    expect(page.locator("#help").get_by_text("search this list")).to_be_hidden()


def test_a_small_window_leaves_the_state_of_things_its_space(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    page.set_viewport_size({"width": 720, "height": 800})
    for name in ("Jump", "help", "Log out"):
        expect(page.locator(".tools").get_by_text(name, exact=True)).to_have_count(1)  # said, whether seen or not
    room = page.locator(".system-status").evaluate("strip => [strip.scrollWidth, strip.clientWidth]")
    assert room[0] <= room[1]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_incident_is_decided_on_a_phone(running: Product, browser: Browser, first: dict[str, str]) -> None:
    context = new_context(browser, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = log_in(context.new_page(), running)
    card = ask(running, first, "phone?")
    page.get_by_role("link", name="All incidents").tap()
    button = page.locator(f"{card} button.continue")
    box = button.bounding_box()
    assert box
    assert box["height"] >= 40
    assert box["width"] >= 100
    button.tap()
    expect(page.locator(card)).to_contain_text("decided continue by admin")
    context.close()


def test_the_loser_of_a_race_reads_who_won(running: Product, page: Page, first: dict[str, str]) -> None:
    card = ask(running, first, "who is first?")
    expect(page.locator("[data-group]", has_text="who is first?")).to_be_visible()
    page.route_web_socket("**/ws/live*", lambda socket: None)  # nothing arrives, so the page does not learn of it
    page.goto(f"{running.http_url}/incidents/{card[14:-2]}/")
    told = {"action": "kill", "reason": "bob was here"}
    assert running.call(f"/api/v1/incidents/{card[14:-2]}/decision", running.token(), told)[0] == 200
    page.locator("button.continue").click()
    expect(page.locator("main")).to_contain_text("decided kill")
    expect(page.locator("main")).to_contain_text("bob was here")


def test_a_lost_connection_is_said_and_made_good(running: Product, page: Page, first: dict[str, str]) -> None:
    running.kill()
    expect(page.locator("[data-banner=connection]")).to_be_visible()
    expect(page.locator("[data-connection-word]")).to_have_text("not connected")
    running.start()
    wait_for(lambda: accepted(running, first, event(error={"text": "after the break"})))
    expect(page.locator(".event", has_text="after the break")).to_have_count(1)
    expect(page.locator("[data-banner=connection]")).to_be_hidden()


def test_a_decision_is_remembered_as_a_rule_that_then_decides(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    card = ask(running, first, "always the same")
    page.goto(running.http_url + "/incidents/")
    page.locator(f"{card} h3 a").click()
    page.locator("button.continue").click()
    expect(page.locator("main")).to_contain_text("decided continue by admin")
    page.get_by_role("link", name="Create rule from this…").click()
    page.get_by_role("button", name="Save and enable").click()
    expect(page.get_by_label("Reason (required; stored with every decision)")).to_be_focused()
    page.get_by_role("button", name="Run dry run").click()
    expect(page.get_by_text("Would have matched")).to_be_visible()
    page.get_by_label("Reason (required; stored with every decision)").fill("it is always so")
    page.get_by_role("button", name="Save and enable").click()
    expect(page.get_by_text("Rule 1", exact=False).first).to_be_visible()
    again = ask(running, first, "always the same")
    decided = f"/api/v1/incidents/{again[14:-2]}"
    wait_for(lambda: running.call(decided, running.token())[1].get("decision"))
    page.goto(f"{running.http_url}/incidents/{again[14:-2]}/")
    expect(page.locator("main")).to_contain_text("decided continue by rule 1")


def test_a_decision_that_was_not_sent_is_told_apart_from_the_one_that_counts(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    page.goto(running.http_url + "/incidents/")
    lost, arrived = ask(running, first, "never sent?"), ask(running, first, "sent, not heard?")
    token = running.token()
    for card, action in ((lost, "kill"), (arrived, "continue")):
        expect(page.locator(card)).to_be_visible()
        page.locator(f"{card} [name=reason]").fill("hers")
        page.route("**/decision/", lambda route: route.abort())
        if card == arrived:  # it is taken, and the connection is lost before that is told
            page.route("**/decision/", lambda route: (route.fetch(), route.abort()))
            page.context.set_offline(True)
        page.locator(f"{card} button.{action}").click()
        expect(page.locator(f"{card} .notice")).to_contain_text("Decide again")
    page.unroute("**/decision/")
    told = {"action": "continue", "reason": "otto was here"}
    assert running.call(f"/api/v1/incidents/{lost[14:-2]}/decision", token, told)[0] == 200
    page.context.set_offline(False)
    expect(page.locator(lost)).to_contain_text("otto was here")
    expect(page.locator(f"{lost} .notice")).to_contain_text("Your decision kill arrived too late")
    expect(page.locator(f"{lost} .notice")).to_have_count(1)
    expect(page.locator(arrived)).to_contain_text("decided continue by admin")
    expect(page.locator(f"{arrived} .notice")).to_have_count(0)


def test_whoever_logs_in_again_in_another_tab_decides_where_they_are(
    running: Product, page: Page, first: dict[str, str]
) -> None:
    page.goto(running.http_url + "/incidents/")
    card = ask(running, first, "signed out?")
    page.locator(f"{card} [name=reason]").fill("typed before")
    other = page.context.new_page()
    other.goto(running.http_url + "/overview/")
    other.locator("[data-menu] > summary").click()
    other.get_by_role("button", name="Log out").click()
    expect(other.locator("[name=password]")).to_be_visible()
    page.locator(f"{card} button.kill").click()
    expect(page.locator(f"{card} .notice")).to_contain_text("Log in in another tab")
    expect(page.locator("[data-connection=out]")).to_be_visible()
    log_in(other, running)
    page.locator(f"{card} button.kill").click()
    expect(page.locator(card)).to_contain_text("decided kill by admin")
    expect(page.locator(card)).to_contain_text("typed before")
    expect(page.locator("[data-connection=live]")).to_be_visible()


def test_what_became_of_a_message_is_told_without_a_reload(running: Product, page: Page, first: dict[str, str]) -> None:
    page.goto(running.http_url + "/incidents/")
    card = ask(running, first, "a message fails", message={"id": "1", "method": "REQ", "data": "x"})
    incident = card[14:-2]
    expect(page.locator(card)).to_be_visible()  # it is stored: before that its own page is not there
    page.goto(f"{running.http_url}/incidents/{incident}/")
    page.locator("button.continue").click()
    outcome = {"v": 1, "incident": incident, "decision_id": None, "state": "withdrawn", "at": "2026-11-24T10:00:00Z"}
    assert running.call(f"/api/v1/incidents/{incident}/outcome", first["token"], outcome)[0] == 202
    expect(page.get_by_role("button", name="Drop message")).to_be_visible()
    assert running.call(f"/api/v1/incidents/{incident}/drop", running.token(), {"reason": "not needed"})[0] == 200
    expect(page.locator(".handling")).to_contain_text("dropped by admin")
    expect(page.locator(".handling")).to_contain_text("not needed")


def test_a_viewer_sees_and_is_refused(running: Product, browser: Browser, first: dict[str, str]) -> None:
    assert running.command("shell", "-c", MAKE_VIEWER).returncode == 0
    card = ask(running, first, "vera?")
    context = new_context(browser)
    page = context.new_page()
    page.goto(running.http_url + "/login/")
    page.fill("[name=username]", "vera")
    page.fill("[name=password]", "looks only")
    page.press("[name=password]", "Enter")
    expect(page.locator("[data-group]", has_text="vera?")).to_contain_text("not decide them")
    expect(page.locator("[data-group] button")).to_have_count(0)
    page.goto(running.http_url + "/incidents/")
    expect(page.locator(card)).to_be_visible()
    expect(page.locator(f"{card} button.continue")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("c")
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    address = f"{running.http_url}/incidents/{card[14:-2]}/decision/"
    refused = page.request.post(address, form={"action": "continue", "csrfmiddlewaretoken": token})
    assert refused.status == 403
    expect(page.locator(card)).to_have_attribute("data-state", "open")
    context.close()


FAILING = """
import asyncio, pathlib, sys
from errorkernel.node import Backoff, Kernel

async def work(ctx):
    if not pathlib.Path(sys.argv[2], "mended").exists():
        raise ValueError("still broken")
    await asyncio.Event().wait()

async def main():
    async with Kernel.from_file(sys.argv[1], journal=sys.argv[2] + "/journal") as kernel:
        async with kernel.supervisor("copiers", intensity=1) as copiers:
            copiers.task("copy-files", work, backoff=Backoff(first_s=0.01, last_s=0.01))
            await copiers.wait()

asyncio.run(main())
"""


@pytest.fixture
def failing(running: Product, tmp_path: Path) -> Iterator[Path]:
    """A node with a process that fails until there is the file ``mended`` here."""
    credentials = tmp_path / "node.json"
    credentials.write_text(json.dumps(running.add_node("ship9")))
    argv = [sys.executable, "-c", FAILING, str(credentials), str(tmp_path)]
    node = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)})
    yield tmp_path
    node.terminate()
    node.wait()


def test_a_quarantine_is_seen_and_cleared(running: Product, page: Page, failing: Path) -> None:
    def standing() -> bool:
        page.goto(running.http_url + "/nodes/ship9/")
        return page.locator(".quarantined").count() > 0

    wait_for(standing)
    (failing / "mended").touch()
    page.locator(".quarantined a", has_text="copy-files").click()
    expect(page.locator("dl.pairs").first).to_contain_text("quarantined")
    page.locator(".quarantined [name=reason]").fill("the disk was replaced")
    page.get_by_role("button", name="Start again").click()
    expect(page.locator(".feedback")).to_contain_text("You decided continue")

    def runs() -> bool:
        page.reload()
        return "running" in page.locator("dl.pairs").first.inner_text()

    wait_for(runs)
    expect(page.locator(".quarantined")).to_have_count(0)
    expect(page.locator("table.rows").first).to_contain_text("crashed")
    expect(page.locator("table.rows").first).to_contain_text("decided continue by admin")


@pytest.fixture(scope="module")
def abroad(browser: Browser, running: Product) -> Page:
    """The page of a reader in Newfoundland, whose browser is set to its zone."""
    context = new_context(browser, timezone_id="America/St_Johns", locale="en-GB")
    return log_in(context.new_page(), running)


def test_a_date_in_the_readers_own_zone_says_how_far_that_is_from_utc(abroad: Page, running: Product) -> None:
    page = abroad
    page.goto(running.http_url + "/audit/")
    first = page.locator("time.stamp").first
    expect(first).to_have_text(re.compile(r"^\S+ \S+ UTC$"))
    page.locator("[data-zone]").click()
    expect(first).to_have_text(re.compile(r"^\S+ \S+ -0[23]:30$"))
    page.locator("[data-zone]").click()
    expect(first).to_have_text(re.compile(r"^\S+ \S+ UTC$"))


def test_what_a_page_brings_up_to_date_keeps_to_the_readers_own_zone(
    abroad: Page, running: Product, first: dict[str, str]
) -> None:
    page = log_in(abroad, running)
    asked = [ask(running, first, "watched?") for _ in range(2)]
    expect(page.locator("[data-group]", has_text="watched?")).to_contain_text("2 ")
    token, first_one = running.token(), asked[0][14:-2]
    proposal = {"condition": 'text:"watched?"', "action": "continue", "reason": "try one", "first": first_one}
    _, proposed = running.call("/api/v1/bulk-decisions", token, proposal)
    assert running.call(f"/api/v1/bulk-decisions/{proposed['id']}/approve-canary", token, {})[0] == 200
    page.goto(f"{running.http_url}/bulk-decisions/{proposed['id']}/")
    page.locator("[data-zone]").click()
    page.locator("#bulk-progress").evaluate("part => part.dataset.before = 'yes'")
    fresh = page.locator("#bulk-progress:not([data-before])")
    expect(fresh).to_have_count(1)
    told = fresh.locator("time.clock").first
    assert told.inner_text() != (told.get_attribute("datetime") or "")[11:23]
    assert running.call(f"/api/v1/bulk-decisions/{proposed['id']}/reject", token, {})[0] == 200
    running.call(f"/api/v1/incidents/{asked[1][14:-2]}/decision", token, {"action": "continue"})


def test_the_console_speaks_german_where_it_is_asked_to(running: Product, page: Page, first: dict[str, str]) -> None:
    page.locator("[data-menu] > summary").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.goto(running.http_url + "/incidents/")
    expect(page.locator("[data-connection=live]")).to_be_visible()
    card = ask(running, first, "deutsch?")  # pushed, not rendered with the page
    expect(page.locator(f"{card} .state")).to_contain_text("ausstehend")
    expect(page.locator(f"{card} button.continue")).to_contain_text("Fortsetzen")
