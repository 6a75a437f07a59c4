"""Every page of the console, with something of each kind on it: for tests and measurements that visit them all.

The pages are those of ``web/urls.py``: one that is added is visited by itself. One whose address takes something new
fails until ``pages`` is told what to put there.
"""

import re
from typing import Any

from django.urls import URLPattern
from playwright.sync_api import Page

import steward_site.urls  # noqa: F401 - first: it registers the addresses of other packages
from errorkernel.web.urls import urlpatterns
from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for


def fill(running: Product) -> None:
    """Something of each kind, so that no page is empty: reports, questions, an answer, a rule."""
    node, token = running.add_node("ship1"), running.token()
    failed = {"id": "8841", "method": "REQCopySrc", "from_node": "central", "to_node": "ship1", "data": "x"}
    levels = ["debug", "info", "warning", "error", "critical"]
    reports = [event(level=level, type="info", error={"text": f"a report of level {level}"}) for level in levels]
    reports += [event(error={"text": "no such file", "kind": "FileNotFoundError", "stack": "a stack"}, message=failed)]
    asked = [event(type="action", error={"text": f"may I go on? {n}"}, message=failed, deadline_s=3600) for n in (1, 2)]
    post(running, node, *reports, *asked)
    wait_for(lambda: len(running.call("/api/v1/incidents", token)[1]["items"]) == 2)
    status, _ = running.call(f"/api/v1/incidents/{asked[0]['id']}/decision", token, {"action": "continue"})
    assert status == 200
    many = {"condition": "process:*", "action": "continue", "reason": "all of them"}
    status, told = running.call("/api/v1/bulk-decisions", token, many)
    assert status == 201, told
    rule = {"condition": "process:nobody", "action": "continue", "reason": "none", "name": "none"}
    status, told = running.call("/api/v1/rules", token, rule)
    assert status in (200, 201), told


def pages(running: Product) -> list[str]:
    """The addresses of ``web/urls.py``, with what is there filled in."""
    token = running.token()

    def first(kind: str) -> dict[str, Any]:
        return dict(running.call(f"/api/v1/{kind}", token)[1]["items"][0])

    places = {
        "seq": first("events")["seq"],
        "incident_id": first("incidents")["id"],
        "problem_id": first("problems")["id"],
        "rule_id": first("rules")["id"],
        "name": "ship1",
        "process_id": first("processes")["id"],
        "bulk_id": first("bulk-decisions")["id"],
        "act": "suspend",
        "page": "events",
        "view_id": 1,
        "letter_id": 1,
        "action_id": 1,
    }
    keys = {
        "incidents": places["incident_id"],
        "problems": places["problem_id"],
        "rules": places["rule_id"],
        "bulk-decisions": places["bulk_id"],
    }
    named = [str(one.pattern) for one in urlpatterns if isinstance(one, URLPattern)]

    def filled(path: str) -> str:
        here = places | {"key": keys.get(path.split("/")[0], 1)}  # the key of a form's address is of its first part
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(here[found[1]]), path)

    return [filled(path) for path in named]


def is_page(page: Page, address: str) -> bool:
    """Goes there; False for addresses that only take something, lead elsewhere, or give out a file."""
    answer = page.request.get(address, max_redirects=0)
    if answer.status != 200 or "<html" not in answer.text()[:200]:
        return False
    page.goto(address)
    return True
