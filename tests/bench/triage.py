"""What the triage costs with many pending incidents, and how much more than with few.

``python -m tests.bench.triage [INCIDENTS]``: 500, then so many (10,000) pending incidents over 40 problems and 50 nodes
in one database. Prints the processor time of the read model, of what live frames read, and of the page, the least and
the median of 15 runs, with the number of queries; then the ratio of both sizes.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ["STEWARD_DATA_DIR"] = tempfile.mkdtemp(prefix="steward-bench-")
os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"
os.environ["STEWARD_ALLOWED_HOSTS"] = "testserver"

import django

django.setup()

from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.ops.runner.services import calm_garbage_collection
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.status import triage

PROBLEMS, NODES, FEW, BATCH, RUNS = 40, 50, 500, 500, 15
STACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/step{n}.py", line {n}, in step\n    go()\n' for n in range(20)
)


def blocked(number: int) -> tuple[str, Event]:
    problem = number % PROBLEMS
    event = Event(
        id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process=f"ingest-{number}", kind=f"Kind{problem}",
        incarnation=1, text="no space left on device", stack=STACK, fingerprint=(f"problem-{problem}",),
        tags={"release": f"1.4.{number % 3}"},
    )  # fmt: skip
    return f"ship{number // PROBLEMS % NODES}", event


def fill(first: int, last: int, names: NameCache) -> None:
    with transaction.atomic():
        for start in range(first, last, BATCH):
            numbers = range(start, min(start + BATCH, last))
            record(Batch(events=[blocked(number) for number in numbers]), names, now=datetime.now(UTC))


def measured(work: Callable[[], Any]) -> tuple[float, float, int]:
    """(least, median in ms of processor time, queries)."""
    with CaptureQueriesContext(connection) as queries:
        work()
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1000)
    return min(times), statistics.median(times), len(queries)


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    call_command("migrate", verbosity=0)
    calm_garbage_collection()
    client, names = Client(), NameCache()
    client.force_login(User.objects.create_superuser("bench"))
    works: dict[str, Callable[[], Any]] = {
        "read": lambda: triage.read(datetime.now(UTC)),
        "live": lambda: triage.read_numbers(datetime.now(UTC), parts=False),
        "page": lambda: client.get("/"),
    }
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in works}
    filled = 0
    for size in (FEW, many):
        fill(filled, size, names)
        filled = size
        for name, work in works.items():
            least, median, queries = measured(work)
            found[name].append((least, median, queries))
            print(f"{size:>6,} {name:>5}: {least:6.1f} {median:6.1f} ms, {queries} queries", flush=True)
    for name, (few, lots) in found.items():
        print(f"{name:>5}: {lots[0] / few[0]:.1f} times the processor time, {lots[2] - few[2]:+d} queries")


if __name__ == "__main__":
    main()
