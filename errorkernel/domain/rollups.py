"""Rollups: how often each process and each problem was reported, by the hour, by the day and by the week.

The key of a count is one number, made of its series, the start of its bucket and its subject. So the counts of one
series are stored together in the order of time: the intake appends to one table without another index, and a page
reads one range. Hours, days and weeks (which begin on Thursdays) are those of UTC, numbered from 1970 on.
"""

from datetime import UTC, datetime, timedelta
from enum import IntEnum

MINUTE_S = 60
HOUR_MIN = 60
_SUBJECT_BITS = 36
_START_BITS = 24
SUBJECT_MASK = (1 << _SUBJECT_BITS) - 1
"""``key & SUBJECT_MASK`` is the subject of a count, in Python as in SQL."""


class Series(IntEnum):
    """Subject and bucket size. The values are in the keys of stored rows: they never change."""

    PROCESS_HOURS = 1
    PROCESS_DAYS = 2
    PROBLEM_HOURS = 3
    PROBLEM_DAYS = 4
    PROCESS_WEEKS = 5
    PROBLEM_WEEKS = 6

    @property
    def bucket_s(self) -> int:
        return {"HOURS": 3600, "DAYS": 86400, "WEEKS": 604800}[self.name.partition("_")[2]]

    @property
    def of_processes(self) -> bool:
        return self.name.startswith("PROCESS")


def minute_of(moment: datetime) -> int:
    """The number of the minute that ``moment`` is in."""
    return int(moment.timestamp()) // MINUTE_S


def moment_of(minute: int) -> datetime:
    """When the minute with this number begins."""
    return datetime.fromtimestamp(minute * MINUTE_S, UTC)


def bucket_of(series: Series, moment: datetime) -> int:
    """The number of the hour, day or week that ``moment`` is in."""
    return int(moment.timestamp()) // series.bucket_s


def bucket_start(series: Series, step: int) -> datetime:
    """When the hour, day or week with this number begins."""
    return datetime.fromtimestamp(step * series.bucket_s, UTC)


def key(series: Series, step: int, subject: int = 0) -> int:
    """The key of the count of ``subject`` in the step; below it are all keys of earlier steps of the same series."""
    return ((series << _START_BITS | step) << _SUBJECT_BITS) | subject


def bucket_in_key(key: int) -> int:
    """The number of the step that a count with this key spans."""
    return key >> _SUBJECT_BITS & ((1 << _START_BITS) - 1)


def bucket_range(series: Series, now: datetime, back: timedelta) -> tuple[int, int]:
    """The first step that touches the time from ``now - back`` on, and the present one."""
    return bucket_of(series, now - back), bucket_of(series, now)
