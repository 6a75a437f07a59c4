"""How long the error-state map takes with many error states, over the API and on the pages that show it.

``python -m tests.bench.error_map [STATES]``: so many error states, on 50 nodes with 20 processes each.
"""

import os
import sys
import tempfile
import time

os.environ["STEWARD_DATA_DIR"] = tempfile.mkdtemp(prefix="steward-bench-")
os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"
os.environ["STEWARD_ALLOWED_HOSTS"] = "testserver"

import django

django.setup()

from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.models import ErrorState
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache

NODES, PROCESSES, BATCH, TIMES = 50, 20, 1000, 20


def report(number: int) -> tuple[str, Event]:
    place, problem = number % (NODES * PROCESSES), number // (NODES * PROCESSES)
    event = Event(
        id=uuid7(), type=EventType.ERROR, level=Level.ERROR, process=f"p{place // NODES}", kind=f"Kind{problem}",
        incarnation=1, text="no such file", fingerprint=(f"problem-{problem}",),
    )  # fmt: skip
    return f"ship{place % NODES}", event


def main() -> None:
    states = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    call_command("migrate", verbosity=0)
    directory = NameCache()
    with transaction.atomic():
        for start in range(0, states, BATCH):
            numbers = range(start, min(start + BATCH, states))
            record(Batch(events=[report(number) for number in numbers]), directory, now=datetime.now(UTC))
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    print(f"{ErrorState.objects.count():,} error states")
    last = ErrorState.objects.order_by("-pk").values_list("pk", flat=True)[200:201].get()
    of_node = ErrorState.objects.filter(process__node__name="ship7").select_related("process").first()
    assert of_node is not None
    for path in (
        "/api/v1/map", f"/api/v1/map?after={last}", "/api/v1/map?limit=1000", "/api/v1/map?node=ship7",
        "/api/v1/map?node=ship7&process=p3", "/api/v1/map?process=p3&limit=1000", "/api/v1/map?problem=3",
        "/api/v1/map?node=nobody", "/nodes/", "/nodes/ship7/", "/map/", "/map/?node=ship7",
        f"/map/?node=ship7&process={of_node.process_id}", f"/nodes/ship7/{of_node.process_id}/",
    ):  # fmt: skip
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            status = client.get(path).status_code
            took.append(time.perf_counter() - began)
        took.sort()
        print(f"{path:40} {status} median {1000 * took[TIMES // 2]:7.1f} ms, slowest {1000 * took[-1]:7.1f} ms")


if __name__ == "__main__":
    main()
