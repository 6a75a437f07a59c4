"""What the limit of names costs the intake: the store's time per event, with and without it, in one run.

``python -m tests.bench.names [BATCHES]``: so many batches of 1,000 events of one node, with known names and with a new
process and problem in each event. The two are measured in turns, so that the load of the machine is the same for both.
"""

import os
import sys
import tempfile
import time
from statistics import median

os.environ["STEWARD_DATA_DIR"] = tempfile.mkdtemp(prefix="steward-bench-")
os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"

import django

django.setup()

from datetime import UTC, datetime

from django.core.management import call_command

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.models import ErrorState, Problem, Process
from errorkernel.platform import conf
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache

BATCH = 1000
KNOWN = 200


def batch(node: str, start: int, names: int | None) -> Batch:
    """``names``: so many different ones; None: a new one in each event."""
    events = []
    for number in range(start, start + BATCH):
        name = number % names if names else number
        fingerprint = (f"cause {name}",) if names else (node, str(name))
        events.append(
            (
                node,
                Event(
                    id=uuid7(), type=EventType.ERROR, level=Level.ERROR, process=f"worker-{name}", text="failed",
                    fingerprint=fingerprint,
                ),
            )
        )  # fmt: skip
    return Batch(events=events)


def store(node: str, cache: NameCache, start: int, names: int | None) -> float:
    """Microseconds per event."""
    made = batch(node, start, names)
    began = time.perf_counter()
    record(made, cache, now=datetime.now(UTC))
    return (time.perf_counter() - began) / BATCH * 1e6


def main() -> None:
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    call_command("migrate", verbosity=0)
    limit = conf.get().node_names
    kinds = [(f"{names or 'new'}-{limited}", names, limited) for names in (KNOWN, None) for limited in (0, limit)]
    caches = {node: NameCache(limited) for node, _, limited in kinds}
    took: dict[str, list[float]] = {node: [] for node, _, _ in kinds}
    for number in range(batches):
        for node, names, _ in kinds:
            took[node].append(store(node, caches[node], number * BATCH, names))
    for node, names, limited in kinds:
        counts = (
            Process.objects.filter(node__name=node).count(),
            Problem.objects.filter(first_node__name=node).count(),
            ErrorState.objects.filter(node__name=node).count(),
        )
        print(
            f"{'known names' if names else 'a new name per event':22} limit {limited or 'none':>4}:"
            f" {median(took[node]):6.0f} µs per event; processes, problems, error states: {counts}"
        )


if __name__ == "__main__":
    main()
