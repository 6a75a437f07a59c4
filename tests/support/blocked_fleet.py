"""A fleet of blocked processes for the triage: reported through the intake, as nodes do it."""

from typing import Any

from tests.support.events import event, post
from tests.support.product import Product

NODES = ("aurora", "borealis", "corvus", "delos", "eos", "fram")
STACK = (
    'Traceback (most recent call last):\n  File "/app/worker.py", line 113, in step\n    run()\n'
    '  File "/app/storage.py", line 88, in write\n    raise error\n'
)
POSTED_AT_ONCE = 100


def block(
    running: Product, nodes: list[dict[str, str]], *, kind: str, process: str, count: int, text: str = "", **fields: Any
) -> None:
    """Block ``count`` processes, spread over ``nodes``, on one problem: that of ``kind``."""
    for place, node in enumerate(nodes):
        mine = range(place * count // len(nodes), (place + 1) * count // len(nodes))
        events = [_blocked(kind, f"{process}-{number:03}", number, node["node"], text, fields) for number in mine]
        for start in range(0, len(events), POSTED_AT_ONCE):
            post(running, node, *events[start : start + POSTED_AT_ONCE])


def _blocked(kind: str, process: str, number: int, node: str, text: str, fields: dict[str, Any]) -> dict[str, Any]:
    message = {"id": str(8841 + number), "method": "REQCopySrc", "from_node": "central", "to_node": node, "data": "x"}
    error = {"kind": kind, "text": text or f"{kind} stopped the process", "stack": STACK}
    return event(type="action", process=process, error=error, message=message, **fields)


def decided_of(running: Product, kinds: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Name → state and size of the newest bulk decision of the problem of that kind."""
    token = running.token()
    problems = {row["kind"]: row["id"] for row in running.call("/api/v1/problems?limit=1000", token)[1]["items"]}
    bulks = {row["problem"]: row for row in running.call("/api/v1/bulk-decisions?limit=1000", token)[1]["items"]}
    found = {name: bulks.get(problems.get(kind, 0)) for name, kind in kinds.items()}
    return {name: (row["state"], row["count"]) for name, row in found.items() if row}
