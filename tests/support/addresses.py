"""Every address that can be read, on the history that ``filled.sql`` makes: for measurements and for counting queries.

By the names that they have in urls.py; a name that is neither here nor in ``NOT_READ`` fails a test.
"""

from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver, reverse

import steward_site.urls  # noqa: F401 - first: it registers the addresses of other packages
from errorkernel.models import ErrorEvent, Incident, Process
from errorkernel.web.api.urls import address_name
from errorkernel.web.operations.registry import registry

DAYS = 30
NOT_READ = {
    # They change something, by POST.
    *(operation.page_name for operation in registry.operations if operation.form),
    *(address_name(one.api_route) for one in registry.operations if one.method == "POST" and one.verb),
    "logout", "set_language", "api-incidents-decision", "api-incidents-outcome",
    # They wait for something, or ask a broker.
    "api-commands", "health-ready",
    # All there is, sent as it is read.
    "audit-export", "event-export",
}  # fmt: skip
STEWARD_NODE = "node-009@steward"
STATES = ("open", "muted", "resolved", "reopened", "*")


def fill(now: float, size: dict[str, int]) -> None:
    """Fill an empty, migrated SQLite database; its history ends ``now``, a Unix time. ``size``: how many events, nodes,
    processes, problems and open questions."""
    words = {**size, "now": now, "first": now - DAYS * 86400, "step": DAYS * 86400 / size["events"]}
    script = Path(__file__).with_name("filled.sql").read_text()
    with connection.cursor() as cursor:
        for statement in Template(script).substitute(words, time="%Y-%m-%d %H:%M:%f").split(";\n"):
            cursor.execute(statement)


def readable() -> dict[str, list[str]]:
    """Name → addresses, with the filters that people use. The first of each is the plain one."""
    return {**_pages(), **_handled(), **_lists(), **admin_lists()}


def _pages() -> dict[str, list[str]]:
    waiting = Incident.objects.filter(state="open").order_by("seq").first()
    done = Incident.objects.filter(decision__isnull=False, message__isnull=False).order_by("-seq").first()
    last = ErrorEvent.objects.order_by("-seq").first()
    process = Process.objects.select_related("node").get(pk=7)
    assert waiting
    assert done
    assert last
    node = process.node.name
    return {
        "triage": _asked("triage", {"open": "1.10"}, {"q": "node:node-00*"}),
        "triage-groups": _asked("triage-groups"),
        "approvals": _asked("approvals"),
        "live": _asked("live", *({"q": q} for q in QUERIES), {"range": "1h"}),
        "events": _asked("events", *EVENTS, *({"q": q} for q in QUERIES), {"range": "1h"}, {"before": last.seq // 2}),
        "complete": _asked("complete", *({"q": q} for q in ("lev", "node:n", "x release:", "process:w", "tag."))),
        "event": [reverse("event", args=[seq]) for seq in (last.seq - 7, waiting.seq, done.seq)],
        "incidents": _asked("incidents", {"page": 2}),
        "incident": [reverse("incident", args=[one.pk]) for one in (waiting, done)],
        "new-bulk-decision": _asked("new-bulk-decision", {"q": "process:*"}, {"q": f"node:{node}"}),
        "bulk-decision": [reverse("bulk-decision", args=[1])],
        "map": _asked("map", {"page": 2}, {"node": node}, {"node": node, "process": process.pk}),
        "act": [reverse("act", args=[STEWARD_NODE])],
        "steward-action": [reverse("steward-action", args=[STEWARD_NODE, 1])],
        "nodes": _asked("nodes", {"page": 2}),
        "node": [reverse("node", args=[node])],
        "process": [reverse("process", args=[node, process.pk])],
        "overview": _asked("overview", *({"range": one} for one in ("1h", "24h", "7d", "30d"))),
        "audit": _asked("audit", {"target": f"incident:{done.pk}"}, {"actor": "alice"}, {"before": 500}),
        "jump": _asked("jump", *({"q": q} for q in ("node-0", "worker", "chart", "nothing-like-this"))),
    }


def _handled() -> dict[str, list[str]]:
    states = [{"q": f"state:{one}"} for one in STATES]
    sorts = [{"sort": one} for one in ("count", "nodes", "trend", "recent")]
    found = [
        {"q": q}
        for q in (
            "assigned:me level>=error",
            "stage",
            "kind:Kind7",
            "text:nothing-like-this",
            "release:1.4.2",
            "pending>0",
        )
    ]
    return {
        "problems": _asked("problems", *states, *sorts, *found, {"q": "state:*", "sort": "nodes"}, {"page": 2}),
        "infos": _asked("infos", {"sort": "count"}, {"q": "chart"}),
        # The seventh is merged of ten.
        "problem": [reverse("problem", args=[one]) for one in (1, 7)],
        "rules": [reverse("rules")],
        "rule": [reverse("rule", args=[1])],
        "new-rule": [reverse("new-rule")],
        "dead-letters": _asked("dead-letters", {"node": "node-007", "state": "kept"}, {"before": 500}),
        "quarantine": _asked("quarantine", {"reason": "no process"}, {"node": "node-007"}, {"before": 500}),
        "settings": [reverse("settings")],
        "first-node": [reverse("first-node")],
        "login": [reverse("login")],
    }


def _lists() -> dict[str, list[str]]:
    node = {"node": "node-007"}
    newest = {"order": "desc"}
    plain = {name: _asked(name, newest) for name in ("api-bulk-decisions", "api-problems", "api-rules", "api-map")}
    return {
        **plain,
        "api-dead-letters": _asked("api-dead-letters", newest, {"state": "kept"}),
        "api-events": _asked("api-events", newest, *({**newest, "q": q} for q in QUERIES)),
        "api-incidents": _asked("api-incidents", newest, {"state": "open"}, node),
        "api-map": _asked("api-map", newest, node, {"process": "worker-0"}, {"problem": "7"}),
        "api-nodes": _asked("api-nodes", newest, node, {"liveness": "gone"}),
        "api-processes": _asked("api-processes", newest, node, {"liveness": "alive"}),
        "api-nodes-actions": [reverse("api-nodes-actions", args=[9])],
        "api-processes-incarnations": [reverse("api-processes-incarnations", args=[7])],
        "api-bulk-decisions-incidents": [reverse("api-bulk-decisions-incidents", args=[1])],
        "api-openapi.json": [reverse("api-openapi.json")],
        "api-docs": [reverse("api-docs")],
        "api-deadlines": [reverse("api-deadlines")],
        "health-live": [reverse("health-live")],
        "metrics": [reverse("metrics")],
    }


def admin_lists() -> dict[str, list[str]]:
    """Of everything that Django's admin knows."""
    names = [f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry]
    return {name: [reverse(name)] for name in names}


def _asked(name: str, *parameters: dict[str, Any]) -> list[str]:
    return [reverse(name), *(f"{reverse(name)}?{urlencode(one)}" for one in parameters)]


def named() -> set[str]:
    """The names of all addresses but the admin's."""
    return set(_names(get_resolver().url_patterns))


def _names(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for one in patterns:
        if isinstance(one, URLPattern):
            if one.name:
                yield one.name
        elif one.app_name != "admin":
            yield from _names(one.url_patterns)


EVENTS = [
    {"level": "critical"}, {"level": "debug"}, {"level": "error"}, {"type": "action"}, {"node": "node-007"},
    {"node": "nobody"}, {"process": "worker-1"}, {"node": "node-007", "process": "worker-0"},
    {"node": "node-007", "level": "critical"}, {"problem": 1}, {"problem": 7}, {"problem": 7, "level": "debug"},
    {"level": "critical", "type": "info"}, {"q": "chart", "node": "node-007"}, {"from": 10, "to": 500},
]  # fmt: skip
QUERIES = (
    "chart", "nothing-like-this", "node:node-007", "node:node-00*", "level>=critical", "text:nothing-like-this",
    "process:worker-1 since:1h", "kind:Kind7", "type:action -kind:Kind7",
)  # fmt: skip
