"""How often problems were met by the hour: what the small pictures beside them are drawn from.

Counted by the intake with each problem's own fingerprint. Counting the stored events instead reads every one of them.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from errorkernel.models import Problem, ProblemHour

HOURS_SHOWN = 24
KEPT = timedelta(days=30)
_HOUR_S = 3600


def hour_of(moment: datetime) -> int:
    """Hours since 1970, UTC."""
    return int(moment.timestamp()) // _HOUR_S


def latest(problems: Collection[int], now: datetime, hours: int = HOURS_SHOWN) -> dict[int, list[int]]:
    """Problem → events in each of the latest ``hours``, oldest first, the present one last; with those of its parts."""
    first = hour_of(now) - hours + 1
    found = {pk: [0] * hours for pk in problems}
    merged = Problem.objects.filter(merged_into__in=found).only("merged_into")
    parts = {one.pk: one.merged_into_id or 0 for one in merged}
    counted = ProblemHour.objects.filter(hour__in=range(first, first + hours), problem__in=[*found, *parts])
    for problem, hour, count in counted.values_list("problem", "hour", "count"):
        found[parts.get(problem, problem)][hour - first] += count
    return found


def prune(*, now: datetime) -> int:
    """Remove one hour's counts that are too old; returns how many rows went."""
    oldest = ProblemHour.objects.order_by("hour").values_list("hour", flat=True).first()
    if oldest is None or oldest >= hour_of(now - KEPT):
        return 0
    removed, _ = ProblemHour.objects.filter(hour=oldest).delete()
    return removed
