"""Time of an event's row: ``python -m tests.bench.event_row``."""

import os
import time
import uuid
from datetime import UTC, datetime

import django

ROWS = 2000
ROUNDS = 7


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    django.setup()
    from errorkernel.live.rendering import render_rows
    from errorkernel.store.ingest.event_rows import EventRow

    now = datetime.now(UTC)
    rows = [
        EventRow(
            seq=seq, id=uuid.UUID(int=seq), type="error", level="error", node="aurora", process="ingest-1",
            incarnation=1, kind="OSError", text="[Errno 28] No space left on device: '/data/out/part-0001.parquet'",
            message={"id": "8841", "method": "REQCopySrc"}, occurred_at=now, received_at=now, problem=1, whole=60,
            incident=None, repeat=1,
        )
        for seq in range(ROWS)
    ]  # fmt: skip
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time()
        render_rows(rows)
        best = min(best, time.thread_time() - begun)
    print(f"{best / ROWS * 1e6:.1f} µs a row")


if __name__ == "__main__":
    main()
