"""How long a dry run takes over a large history, whole and until its first result.

``python -m tests.bench.dry_run [EVENTS] [QUESTIONS]``: so many stored events, so many of them questions.
"""

import os
import sys
import tempfile
import time

os.environ["STEWARD_DATA_DIR"] = tempfile.mkdtemp(prefix="steward-bench-")
os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"

import django

django.setup()

from datetime import UTC, datetime, timedelta

from django.core.management import call_command
from django.db import transaction

from errorkernel.domain.ids import uuid7
from errorkernel.domain.rule_policy import parse_condition
from errorkernel.domain.values import Event, EventType, Level, Message
from errorkernel.models import Incident
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.web.console.dry_run import FULL_BUDGET_S, dry_run

NOW = datetime.now(UTC)
DAYS = 7
BATCH = 1000
CONDITIONS = (
    "node:ship1 process:copy-3 kind:Kind7",
    'text:"archive failed after 3 tries" level>=error',
    "method:REQCopySrc consecutive>=3",
    "no-such-word-anywhere",
    "process:*",
)


def report(number: int, every: int) -> tuple[str, Event]:
    event = Event(
        id=uuid7(), type=EventType.ACTION if number % every == 0 else EventType.ERROR, level=Level.ERROR,
        process=f"copy-{number % 7}", kind=f"Kind{number % 50}", incarnation=1,
        text=f"copy of chart {number} to the archive failed after 3 tries: no such file /data/charts/{number}.tif",
        message=Message(id=str(number // 10), method="REQCopySrc", from_node="central", to_node="ship1"),
    )  # fmt: skip
    return f"ship{number % 20}", event


def fill(events: int, every: int) -> None:
    directory = NameCache()
    for start in range(0, events, BATCH):
        batch = Batch(events=[report(number, every) for number in range(start, min(start + BATCH, events))])
        record(batch, directory, now=NOW - timedelta(days=DAYS) * (1 - start / events))


def main() -> None:
    events, questions = (*map(int, sys.argv[1:]), *(1_000_000, 100_000)[len(sys.argv) - 1 :])
    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    with transaction.atomic():
        fill(events, max(1, events // questions))
    took = time.perf_counter() - began
    print(f"{events:,} events, {Incident.objects.count():,} of them questions (stored in {took:.0f} s)")
    for text in CONDITIONS:
        for name, budget_s in (("first result", 1.0), ("whole", FULL_BUDGET_S)):
            began = time.perf_counter()
            tried = dry_run(parse_condition(text), [], since=NOW - timedelta(days=DAYS + 1), budget_s=budget_s)
            took = time.perf_counter() - began
            print(f"{text:50} {name:13} {took:5.2f} s: {tried.matched:>9,} of {tried.looked_at:>9,}")


if __name__ == "__main__":
    main()
