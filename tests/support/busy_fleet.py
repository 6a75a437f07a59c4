"""A fleet in trouble, for pictures: 60 processes that wait, problems in every state, answers to many, refused input."""

import json
import urllib.error
import urllib.request
from typing import Any

from errorkernel.domain.ids import uuid7
from tests.support.product import Product
from tests.support.waiting import wait_for

WAITING = 60
REFUSED = (b"{", b'{"v": 1, "type": "error"}', b"[" * 40, b'{"v": 9}')
LONG = "a text that somebody wrote without ever thinking of a screen, " * 6


def furnish(product: Product) -> dict[str, str]:
    """Name → address of the pages that it made worth a look."""
    node, token = product.add_node("busy"), product.token()
    _post(product, node, [_question(number) for number in range(WAITING)])
    _post(product, node, [_error(text) for text in ("disk full", "no route to host", "certificate expired", LONG)] * 3)
    for body in REFUSED:
        _refused(product, node, body)
    wait_for(lambda: _found(product, token, "incidents?node=busy", WAITING))
    wait_for(lambda: _found(product, token, "problems?kind=OSError", 5))
    made = _problems(product, token) | _answers(product, token)
    process = product.call("/api/v1/processes?node=busy", token)[1]["items"][0]
    return made | {
        "waiting-60": "/incidents/",
        "node-busy": "/nodes/busy/",
        "process": f"/nodes/busy/{process['id']}/",
        "problems-all": "/problems/?q=state:*",
        "rule-new": "/rules/new/",
        "rule-draft": f"/rules/new/?incident={_first_question(product, token)}",
        "api": "/api/v1/docs",
        "views-open": "/live/?since=2026-01-01T00:00",
        "mistake": "/live/?q=nod:busy",
        "error-400": "/live/?range=never",
        "error-404": "/nowhere/",
        **{f"overview-{name}": f"/overview/?range={name}" for name in ("1h", "7d", "30d")},
    }


def _question(number: int) -> dict[str, Any]:
    message = {
        "id": str(number),
        "method": "REQCopySrc",
        "from_node": "central",
        "to_node": "busy",
        "data": "/data/a.tif",
    }
    text = LONG if number == 1 else f"no such file: /data/{number}.tif"
    return _error(text) | {"type": "action", "process": f"copy-{number:02}", "message": message, "deadline_s": 3600}


def _error(text: str) -> dict[str, Any]:
    error = {"kind": "OSError", "text": text}
    return {"v": 1, "id": str(uuid7()), "type": "error", "level": "error", "process": "backup", "error": error}


def _request(product: Product, node: dict[str, str], body: bytes) -> urllib.request.Request:
    headers = {"Authorization": f"Bearer {node['token']}", "Content-Type": "application/json"}
    return urllib.request.Request(product.http_url + "/api/v1/events", data=body, headers=headers)


def _post(product: Product, node: dict[str, str], events: list[dict[str, Any]]) -> None:
    with urllib.request.urlopen(_request(product, node, json.dumps(events).encode())) as answer:
        assert answer.status == 202


def _refused(product: Product, node: dict[str, str], body: bytes) -> None:
    try:
        urllib.request.urlopen(_request(product, node, body))
    except urllib.error.HTTPError:
        return
    raise AssertionError(f"{body!r} was taken")


def _found(product: Product, token: str, what: str, at_least: int) -> bool:
    return len(product.call(f"/api/v1/{what}&limit=100", token)[1]["items"]) >= at_least


def _first_question(product: Product, token: str) -> str:
    return str(product.call("/api/v1/incidents?node=busy", token)[1]["items"][0]["id"])


def _do(product: Product, token: str, path: str, body: Any) -> dict[str, Any]:
    status, told = product.call(f"/api/v1/{path}", token, body)
    assert status in (200, 201), (path, told)
    return dict(told)


def _problems(product: Product, token: str) -> dict[str, str]:
    found = {one["title"][:9]: one["id"] for one in product.call("/api/v1/problems?kind=OSError", token)[1]["items"]}
    full, route, expired = found["disk full"], found["no route "], found["certifica"]
    _do(product, token, f"problems/{full}/mute", {"reason": "the new disk comes on Monday", "more": 1000})
    _do(product, token, f"problems/{full}/comment", {"text": "Asked the crew.\nThey will look at it tonight."})
    _do(product, token, f"problems/{full}/comment", {"text": LONG})
    _do(product, token, f"problems/{full}/assign", {"to": "admin"})
    _do(product, token, f"problems/{route}/resolve", {"reason": "the link is up again"})
    _do(product, token, f"problems/{expired}/merge", {"into": route, "reason": "both are the same router"})
    waiting = next(number for title, number in found.items() if title.startswith("no such"))
    return {
        "problem-muted": f"/problems/{full}/",
        "problem-resolved": f"/problems/{route}/",
        "problem-waiting": f"/problems/{waiting}/",
    }


def _answers(product: Product, token: str) -> dict[str, str]:
    first = _first_question(product, token)
    asked = {"action": "continue", "reason": "the disk is back", "condition": "node:busy"}
    proposal = _do(product, token, "bulk-decisions", asked)["id"]
    watched = _do(product, token, "bulk-decisions", asked | {"first": first})["id"]
    _do(product, token, f"bulk-decisions/{watched}/approve-canary", {})
    given = _do(product, token, "bulk-decisions", asked | {"condition": "node:busy process:copy-0*"})["id"]
    _do(product, token, f"bulk-decisions/{given}/approve", {})
    return {
        "answer-many": "/bulk-decisions/new/?q=node:busy",
        "answer-proposal": f"/bulk-decisions/{proposal}/",
        "answer-canary": f"/bulk-decisions/{watched}/",
        "answer-running": f"/bulk-decisions/{given}/",
    }
