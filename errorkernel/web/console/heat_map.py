"""Heat map of failures: the processes with most failures by hour, with colour and number in each cell."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from errorkernel.domain import charts
from errorkernel.domain.rollups import Series, bucket_of, bucket_start
from errorkernel.models import Process
from errorkernel.store import rollups

ROWS_SHOWN = 30
HOURS_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Cell:
    """``heat``: 0 for no failure, else 1 to 5 relative to the largest number."""

    failures: int
    heat: int
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    process: Process
    failures: int
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Heat:
    hours: list[datetime]
    rows: list[Row]


def of_fleet(now: datetime, processes: Iterable[int] | None = None) -> Heat:
    """The last 24 hours of the processes with most failures; of ``processes`` alone if given."""
    last = bucket_of(Series.PROCESS_HOURS, now)
    first = last - HOURS_SHOWN + 1
    steps = range(first, last + 1)
    if processes is None:
        worst = rollups.most_failures(Series.PROCESS_HOURS, first, last, ROWS_SHOWN)
        processes = [subject for subject, _failures in worst]
    counted = rollups.failures_by_step(Series.PROCESS_HOURS, processes, first, last)
    totals = {subject: sum(by_step.values()) for subject, by_step in counted.items()}
    hottest = max((count for by_step in counted.values() for count in by_step.values()), default=0)
    known = Process.objects.select_related("node").in_bulk(list(totals))
    hours = [bucket_start(Series.PROCESS_HOURS, step) for step in steps]
    hour_labels = [(step, f"{hour:%H:%M} UTC") for step, hour in zip(steps, hours, strict=True)]
    rows = [
        Row(
            known[subject],
            totals[subject],
            [_cell(counted[subject].get(step, 0), hottest, at) for step, at in hour_labels],
        )
        for subject in sorted(known, key=lambda subject: (-totals[subject], subject))[:ROWS_SHOWN]
    ]
    return Heat(hours, rows)


def _cell(failures: int, hottest: int, at: str) -> Cell:
    return Cell(failures, charts.heat(failures, hottest), f"{at}: {failures}")
