"""How long every page and every list of the API takes over a million events, and how much of that are its queries.

``python -m tests.bench_pages [--keep DIR] [--runs 20] [--only PART]``. Fills a SQLite database of its own (``--keep``:
in this directory, used again the next time) and asks through Django's test client: middleware, view, queries and
template, without socket and server. *CPU* is the processor time of the same, which a busy machine does not change;
*bare* is what the page's queries take alone, read to their end.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

SLOW_MS = 100
SIZE = {"events": 1_000_000, "nodes": 500, "processes": 2_000, "problems": 5_000, "open": 2_000}
DAYS = 30


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keep", type=Path)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--only", default="")
    given = options.parse_args()
    directory = given.keep or Path(tempfile.mkdtemp())
    os.environ.update(STEWARD_DATA_DIR=str(directory), DJANGO_SETTINGS_MODULE="steward_site.settings")
    os.environ["STEWARD_ALLOWED_HOSTS"] = "testserver"
    import django

    django.setup()
    prepare(directory / "filled")
    measure(given.runs, given.only)


def prepare(mark: Path) -> None:
    """Migrate and fill, unless it was done before."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    if not mark.exists():
        began = time.perf_counter()
        fill(time.time())
        User.objects.create_superuser("bench", password=None)
        mark.touch()
        print(f"filled in {time.perf_counter() - began:.0f} s")


def fill(now: float) -> None:
    """Fill an empty, migrated database; its history ends ``now``, a Unix time."""
    from django.db import connection

    words = {**SIZE, "now": now, "first": now - DAYS * 86400, "step": DAYS * 86400 / SIZE["events"]}
    script = Path(__file__).with_name("filled.sql").read_text()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")
        for statement in Template(script).substitute(words, time="%Y-%m-%d %H:%M:%f").split(";\n"):
            cursor.execute(statement)


def addresses() -> list[str]:
    """Every page and list, with the filters that people use."""
    from errorkernel.models import ErrorEvent, Incident, Process

    waiting = Incident.objects.filter(state="open").first()
    done = Incident.objects.exclude(state="open").order_by("-seq").first()
    process = Process.objects.select_related("node").get(pk=77)
    last = ErrorEvent.objects.order_by("-seq").values_list("seq", flat=True).first()
    assert waiting
    assert done
    assert last
    node = f"/nodes/{process.node.name}/"
    pages = ["/", "/events/", f"/events/?before={last // 2}", f"/events/{last - 7}/"]
    pages += [f"/events/?{one}" for one in EVENT_FILTERS]
    pages += [
        "/incidents/",
        f"/incidents/{waiting.pk}/",
        f"/incidents/{done.pk}/",
        "/problems/",
        "/problems/?sort=count",
    ]
    pages += ["/problems/77/", "/nodes/", node, f"{node}{process.pk}/", "/rules/", "/dead-letters/", "/audit/"]
    pages += [f"/audit/?target=incident:{done.pk}", *(f"/overview/?range={one}" for one in ("1h", "24h", "7d", "30d"))]
    lists = ["incidents?state=open", "incidents?order=desc", "problems", "processes", "nodes", "rules", "dead-letters"]
    lists += ["events", "events?order=desc", *(f"events?order=desc&q={one}" for one in QUERIES)]
    lists += [f"processes/{process.pk}/incarnations", "nodes?liveness=gone", "processes?node=node-077"]
    return pages + [f"/api/v1/{one}" for one in lists] + ADMIN


EVENT_FILTERS = (
    "level=critical", "level=debug", "level=error", "type=action", "node=node-077", "node=nobody", "process=worker-2",
    "node=node-077&process=worker-1", "node=node-077&level=critical", "problem=77", "level=critical&type=info",
)  # fmt: skip
QUERIES = ("node:node-077", "level%3E=critical", "text:nothing-like-this", "process:worker-2 since:1h", "kind:Kind7")
ADMIN = [
    f"/admin/errorkernel/{one}/"
    for one in ("errorevent", "incident", "decision", "problem", "errorstate", "process", "incarnation", "auditentry",
                "quarantinedmessage", "deadletter", "node")
]  # fmt: skip


def measure(runs: int, only: str) -> None:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get(username="bench"))
    print(
        f"{'median':>8} {'p99':>8} {'CPU':>8} {'bare':>8} {'queries':>8}  ms; {runs} runs each through the test client"
    )
    slow = 0
    for address in addresses():
        if only in address:
            told, is_slow = one(client, address, runs)
            slow += is_slow
            print(f"{told}{'  SLOW' if is_slow else ''}", flush=True)
    print(f"{slow} above {SLOW_MS} ms at the median")


def one(client: Any, address: str, runs: int) -> tuple[str, bool]:
    """A line about this address, and whether it is too slow."""
    from django.db import connection

    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        status = client.get(address).status_code
    began = time.process_time()
    taken = sorted(timed(lambda: client.get(address)) for _ in range(runs))
    cpu = (time.process_time() - began) * 1000 / runs
    reads = [(sql, params) for sql, params in asked if sql.startswith("SELECT")]
    bare = statistics.median(timed(lambda: replay(reads)) for _ in range(5))
    middle, worst = statistics.median(taken), taken[min(runs - 1, round(runs * 0.99))]
    return f"{middle:8.1f} {worst:8.1f} {cpu:8.1f} {bare:8.1f} {len(asked):8d}  {status} {address}", middle > SLOW_MS


def replay(reads: list[tuple[str, Any]]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for sql, params in reads:
            cursor.execute(sql, params)
            cursor.fetchall()


def timed(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
