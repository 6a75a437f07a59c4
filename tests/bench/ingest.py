"""Processor time of storing events: ``python -m tests.bench.ingest [EVENTS]``.

Stores batches of 500 events in a SQLite database of its own and prints the median and the lowest time per event. To
compare two checkouts, run it in each of them by turns.
"""

import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime

import django

BATCH = 500


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    os.environ["STEWARD_DATA_DIR"] = tempfile.mkdtemp()
    os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"
    django.setup()
    from django.core.management import call_command

    from errorkernel.domain.limits import Limits
    from errorkernel.protocol import json_codec
    from errorkernel.store.ingest.batch import Batch, record
    from errorkernel.store.ingest.name_cache import NameCache
    from tests.bench.throughput import body

    call_command("migrate", verbosity=0)
    name_cache, times = NameCache(), []
    for start in range(0, count, BATCH):
        events = [json_codec.decode_event(body(number), Limits()) for number in range(start, start + BATCH)]
        batch = Batch(events=[(f"node-{number % 20}", event) for number, event in enumerate(events)])
        begun = time.process_time()
        record(batch, name_cache, now=datetime.now(UTC))
        times.append((time.process_time() - begun) / BATCH * 1e6)
    print(f"{count} events: median {statistics.median(times):.1f} µs, lowest {min(times):.1f} µs an event")


if __name__ == "__main__":
    main()
