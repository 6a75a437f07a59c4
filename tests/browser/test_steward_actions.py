"""Acting on a Steward node in a real browser: from the event, by the process that we guess, to the node's own word."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from errorkernel.domain.sender_names import with_suffix
from tests.e2e.steward.test_operator import OperatorProduct
from tests.support.steward.peer import STEW, PlainServer, StewardPeer
from tests.support.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProduct]:
    directory: Path = tmp_path_factory.mktemp("browser-act")
    server = PlainServer(directory).start()
    started = OperatorProduct(directory, server, 10)
    yield started.ready()
    started.stop()
    server.stop()


@pytest.fixture
def peer(running: OperatorProduct) -> Iterator[StewardPeer]:
    """A node in a thread of its own: the browser's driver keeps this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = StewardPeer(running.legacy_url, "ship1", STEW, ack_timeout=100)
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(PATIENCE_S)
    asyncio.run_coroutine_threadsafe(made.error("error: methodREQTailFile: no such file"), loop).result(PATIENCE_S)
    yield made
    asyncio.run_coroutine_threadsafe(made.close(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


def test_from_an_event_the_guessed_process_is_chosen_and_killed(
    page: Page, running: OperatorProduct, peer: StewardPeer
) -> None:
    peer.processes.add("tailFile")
    address = f"/api/v1/events?node={with_suffix('ship1')}"
    [event] = wait_for(lambda: running.call(address, running.operator)[1]["items"])
    page.goto(f"{running.http_url}/events/{event['seq']}/")
    page.get_by_role("link", name="Stop or replace the process").click()
    page.get_by_role("button", name="List processes").click()
    page.get_by_role("link", name="Processes of the node").click(timeout=PATIENCE_S * 1000)

    expect(page.get_by_text("According to the text of the error it is probably REQTailFile")).to_be_visible()
    expect(page.get_by_role("radio", name="REQTailFile")).to_be_checked()
    expect(page.locator("input[name=process]:checked")).to_have_count(1)
    page.locator("form.action-form").get_by_placeholder("Reason").fill("it hangs")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Kill and restart").click()
    expect(page.get_by_text("✓ done")).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(page.locator(".action-lines li")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert peer.operations == ["list", "list", "stop", "start", "list"]

    page.goto(f"{running.http_url}/events/{event['seq']}/")
    expect(page.get_by_text("The process was stopped and started, and the node lists it.")).to_be_visible()
