"""A storm of hostile texts in a real browser: on every page and in the admin they are text, and nothing runs."""

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import log_in, new_context
from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>",
    "\u202eright to left \u2066isolated\u2069 \u200bzero \ufeff",
    "\x1b[31mred\x1b[0m \x1b]8;;javascript:alert(4)\x07link",
    "W" * 65_536,
    "nul\x00here",
    "שגיאה חמורה في الملف 👩‍🚀⚠️",
    'javascript:alert(5) \' " onmouseover=alert(6) x="',
    "{{ 7|add:7 }} {% now 'Y' %} ${alert(8)}",
)


def storm(running: Product) -> str:
    """Stores every hostile text in every field that a node has a say in; returns the id of a waiting question."""
    node = running.add_node("ship1")
    events = [
        event(
            type="action" if number % 2 else "error",
            process=text[:150].replace("\x00", "") or "p",
            error={"kind": text[:150], "text": text, "stack": text},
            message={"id": text[:50], "method": text[:50], "from_node": text[:50], "data": text},
            tags={text[:50]: text[:150]},
        )
        for number, text in enumerate(HOSTILE)
    ]
    post(running, node, *events)
    running.call("/api/v1/events", node["token"], {"v": 1, "process": "<script>alert(9)</script>"})
    token = running.token()

    def stored() -> bool:
        _status, body = running.call("/api/v1/events?limit=100", token)
        return len(body["items"]) == len(HOSTILE)

    wait_for(stored)
    _status, waiting = running.call("/api/v1/incidents?state=open", token)
    return str(waiting["items"][0]["id"])


def addresses(page: Page, running: Product, incident: str) -> list[str]:
    """Every page: the ones that we know, one process of each list, and the lists and a row of each in the admin."""
    known = ["/", "/events/", "/events/1/", "/events/4/", "/incidents/", f"/incidents/{incident}/", "/problems/"]
    known += ["/problems/1/", "/nodes/", "/nodes/ship1/", "/nodes/ship1/1/", "/overview/", "/quarantine/", "/settings/"]
    known += ["/rules/", f"/rules/new/?incident={incident}", "/dead-letters/", "/audit/", "/map/", "/map/?node=ship1"]
    known += ["/map/?node=ship1&process=1", "/bulk-decisions/new/?q=node:ship1", "/jump/?q=script"]
    page.goto(running.http_url + "/admin/")
    lists = page.eval_on_selector_all("a[href^='/admin/errorkernel/']", "all => all.map(one => one.pathname)")
    lists = sorted({one for one in lists if not one.endswith("/add/")})
    opened = set()
    for address in lists:
        page.goto(running.http_url + address)
        rows = page.eval_on_selector_all("#result_list th a", "all => all.slice(0, 3).map(one => one.pathname)")
        opened |= set(rows)
    return known + lists + sorted(opened)


def test_hostile_texts_are_text_on_every_page_and_run_nothing(browser: Browser, running: Product) -> None:
    incident = storm(running)
    context = new_context(browser, viewport={"width": 360, "height": 740})
    page = log_in(context.new_page(), running)
    ran: list[str] = []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda said: ran.append(said.text))  # what the policy forbids, what is not there
    page.on("pageerror", lambda exc: ran.append(str(exc)))
    for address in addresses(page, running, incident):
        page.goto(running.http_url + address)
        assert ran == [], address
        assert page.locator("main script:not([src^='/static/']), main img[src='x'], main svg[onload]").count() == 0, (
            address
        )
        shown = page.locator("body").inner_text()
        assert "\u202e" not in shown, address
        assert "\x1b" not in shown, address
        if not address.startswith("/admin/"):
            wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{address} is {wide} px too wide"
    page.set_viewport_size({"width": 1440, "height": 900})
    for name in ("incident", "errorevent", "problem", "process", "errorstate", "node"):
        page.goto(f"{running.http_url}/admin/errorkernel/{name}/")
        hidden = page.locator(".results").evaluate("results => results.scrollWidth - results.clientWidth")
        assert hidden <= 0, f"{hidden} px of the list of {name} are out of sight"
    context.close()
