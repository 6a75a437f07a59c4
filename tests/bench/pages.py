"""How long every page and every list of the API takes over a million events, and how much of that are its queries.

``python -m tests.bench.pages [--keep DIR] [--runs 20] [--only PART]``. Fills a SQLite database of its own (``--keep``:
in this directory, used again the next time) and asks through Django's test client: middleware, view, queries and
template, without socket and server. *CPU* is the processor time of the same, *least* the run that was disturbed least;
*bare* is what the page's queries take alone, read to their end.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

SLOW_MS = 100
SIZE = {"events": 1_000_000, "nodes": 500, "processes": 2_000, "problems": 5_000, "open": 2_000}


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
    from django.db import connection

    from tests.support.addresses import fill

    call_command("migrate", verbosity=0)
    if not mark.exists():
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
        fill(time.time(), SIZE)
        User.objects.create_superuser("bench", password=None)
        mark.touch()
        print(f"filled in {time.perf_counter() - began:.0f} s")


def measure(runs: int, only: str) -> None:
    from django.contrib.auth.models import User
    from django.test import Client

    from errorkernel.ops.runner.services import calm_garbage_collection
    from tests.support.addresses import NOT_READ, named, readable

    calm_garbage_collection()  # as whoever serves pages does
    client = Client()
    client.force_login(User.objects.get(username="bench"))
    columns = "".join(f"{one:>8} " for one in ("median", "least", "worst", "CPU", "bare", "queries"))
    print(f"{columns} ms; {runs} runs each through the test client")
    slow = 0
    everything = readable()
    missing = named() - everything.keys() - NOT_READ
    assert not missing, f"not measured: {missing}"
    for address in chain.from_iterable(everything.values()):
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
    middle = statistics.median(taken)
    return (
        f"{middle:8.1f} {taken[0]:8.1f} {taken[-1]:8.1f} {cpu:8.1f} {bare:8.1f} {len(asked):8d}  {status} {address}",
        middle > SLOW_MS,
    )


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
