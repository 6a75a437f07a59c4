"""A base URL with a path: everything is below it, behind a proxy that strips the prefix or passes it on."""

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest
import websockets.sync.client
from playwright.sync_api import Browser, expect

from tests.support.browser import new_context
from tests.support.events import event, post
from tests.support.prefix_proxy import PrefixProxy
from tests.support.product import Product

PREFIX = "/ops/errors"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    settings = {"STEWARD_BASE_URL": f"http://localhost{PREFIX}/"}
    product = Product(tmp_path_factory.mktemp("prefix") / "data", settings=settings).start()
    yield product
    product.stop()


@pytest.fixture(params=["stripped", "passed on"])
def address(running: Product, request: pytest.FixtureRequest) -> Iterator[str]:
    """The product's address behind a proxy."""
    proxy = PrefixProxy(running.http_url, strip=PREFIX if request.param == "stripped" else "")
    yield f"http://127.0.0.1:{proxy.port}{PREFIX}"
    proxy.close()


def get(url: str, **headers: str) -> tuple[str, str]:
    """(address after redirects, text)."""
    request = urllib.request.Request(url, headers=headers | {"Connection": "close"})
    with urllib.request.urlopen(request) as response:
        return response.url, response.read().decode()


@pytest.mark.browser
def test_a_day_of_work_below_a_prefix(browser: Browser, running: Product, address: str) -> None:
    node = running.add_node(f"ship-{address.rsplit(':', 1)[1].partition('/')[0]}")
    outside: list[str] = []
    failed: list[str] = []
    page = new_context(browser).new_page()
    page.on("request", lambda request: outside.append(request.url) if PREFIX not in request.url else None)
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.goto(address)
    expect(page).to_have_url(re.compile(f"{PREFIX}/login/"))
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", running.password)
    page.press("[name=password]", "Enter")
    expect(page).to_have_url(f"{address}/")
    expect(page.locator("[data-connection=live]")).to_be_visible()
    asked = event(type="action", process="copy-files", error={"text": "may I go on?"})
    page.goto(f"{address}/incidents/")
    post(running, node, asked)
    card = page.locator(f"[id='incident-{asked['id']}']")
    card.locator("[name=reason]").fill("checked it")
    card.locator("button.continue").click()
    expect(card).to_contain_text("decided continue by admin")
    page.goto(f"{address}/")
    page.locator(f".event[data-seq] a[href='{PREFIX}/incidents/{asked['id']}/']").first.click()
    expect(page).to_have_url(f"{address}/incidents/{asked['id']}/")
    for name in ("problems", "nodes", "overview", "rules", "events"):
        page.goto(f"{address}/{name}/")
        links = page.eval_on_selector_all(
            "a[href^='/'], form[action^='/']",
            "all => all.map(one => one.getAttribute('href') ?? one.getAttribute('action'))",
        )
        assert links
        assert [link for link in links if not link.startswith(PREFIX + "/")] == []
    page.goto(f"{address}/admin/")
    expect(page.locator("#site-name")).to_be_visible()
    assert {cookie["path"] for cookie in page.context.cookies()} == {PREFIX}
    assert outside == failed == []
    page.context.close()


def test_programs_below_a_prefix(running: Product, address: str) -> None:
    token = running.token()
    assert get(address + "/health/live")[1] == "ok"
    assert "errorkernel_" in get(address + "/metrics")[1]
    bearer = {"Authorization": f"Bearer {token}"}
    assert "items" in json.loads(get(address + "/api/v1/nodes", **bearer)[1])
    document = json.loads(get(address + "/api/v1/openapi.json", **bearer)[1])
    assert document["servers"] == [{"url": f"http://localhost{PREFIX}"}]
    missing = urllib.request.Request(address + "/nowhere/", headers={"Accept": "text/html"})
    with pytest.raises(urllib.error.HTTPError) as not_found:
        urllib.request.urlopen(missing)
    assert f'href="{PREFIX}/problems/"' in not_found.value.read().decode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(address + "/api/v1/nodes?nod=x", headers=bearer))
    assert json.load(refused.value)["type"] == f"{PREFIX}/api/v1/docs#error-unknown_parameter"
    cookie = running.session()
    with websockets.sync.client.connect(
        address.replace("http", "ws") + "/ws/live", additional_headers={"Cookie": cookie}
    ) as socket:
        assert "events" in json.loads(socket.recv())


def test_a_prefix_that_is_an_address_of_ours_is_refused_at_the_start(running: Product, tmp_path: object) -> None:
    product = Product(running.directory, settings={"STEWARD_BASE_URL": "http://localhost/api/"})
    done = product.command("web", "--port", "0")
    assert done.returncode == 1
    assert "Choose another prefix" in done.stderr
