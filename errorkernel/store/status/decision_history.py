"""Statistics of the newest decisions: how long their processes waited, and whether the problem came back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from errorkernel.bypasses import page_queries
from errorkernel.domain.incident_state import State
from errorkernel.models import Decision, Incident

CAME_BACK_WITHIN = timedelta(hours=1)
"""A decision has not helped if the same process opens an incident of the same problem again this soon."""
READ_AT_MOST = 1000
"""Only the newest decisions of a range are read: as many as a page can read without delay."""
READ_OF_PROBLEM = 500
_OF_A_RECORD = (
    *("process", "problem", "state", "opened_at", "ended_at"),
    *("decision__action", "decision__actor", "decision__decided_at"),
)


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """``actor_kind``: ``user``, ``rule`` or ``deadline``. ``waited_s``: seconds from when the incident was stored.
    ``came_back``: the process reported the same problem again within ``CAME_BACK_WITHIN``."""

    action: str
    actor_kind: str
    waited_s: float
    state: str
    came_back: bool


def newest(since: datetime) -> tuple[list[DecisionRecord], int]:
    """The newest decisions since ``since``, newest first, and their number in all."""
    found = [_record(row) for row in page_queries.decisions(since, READ_AT_MOST)]
    if len(found) < READ_AT_MOST:
        return found, len(found)
    return found, Decision.objects.filter(decided_at__gte=since).count()


def _record(row: page_queries.DecisionRow) -> DecisionRecord:
    again = row.next_opened_at
    return DecisionRecord(
        action=row.action,
        actor_kind=row.actor.partition(":")[0],
        waited_s=max(0.0, (row.decided_at - row.opened_at).total_seconds()),
        state=row.state,
        came_back=again is not None and again - (row.ended_at or row.decided_at) <= CAME_BACK_WITHIN,
    )


def of_problems(problem_ids: Sequence[int]) -> list[DecisionRecord]:
    """The decisions among the latest READ_OF_PROBLEM incidents of these problems, newest first."""
    read = Incident.objects.filter(problem__in=problem_ids).order_by("-seq").values_list(*_OF_A_RECORD)
    found: list[DecisionRecord] = []
    followed_at: dict[tuple[int, int], datetime] = {}
    # The newest first, so that the last seen incident of a process is the next one in time.
    for process, problem, state, opened_at, ended_at, action, actor, decided_at in read[:READ_OF_PROBLEM]:
        if action is not None:
            again = followed_at.get((process, problem))
            found.append(
                DecisionRecord(
                    action=action,
                    actor_kind=actor.partition(":")[0],
                    waited_s=max(0.0, (decided_at - opened_at).total_seconds()),
                    state=state,
                    came_back=again is not None and again - (ended_at or decided_at) <= CAME_BACK_WITHIN,
                )
            )
        followed_at[process, problem] = opened_at
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of one action. ``came_back`` is a part of ``done``; ``moving``: the result is not known yet."""

    action: str
    given: int
    done: int
    came_back: int
    failed: int
    too_late: int

    @property
    def moving(self) -> int:
        return self.given - self.done - self.failed - self.too_late

    @property
    def stayed_away(self) -> int:
        return self.done - self.came_back

    @property
    def stayed_away_share(self) -> float:
        """In percent of ``done``."""
        return 100 - self.came_back_share

    @property
    def came_back_share(self) -> float:
        """In percent of ``done``."""
        return 100 * self.came_back / self.done if self.done else 0.0


def outcomes(decisions: Iterable[DecisionRecord]) -> list[Outcome]:
    """One entry for each of continue, kill and stop that was decided."""
    by_action: dict[str, list[DecisionRecord]] = {"continue": [], "kill": [], "stop": []}
    for decision in decisions:
        by_action[decision.action].append(decision)
    return [_outcome(action, given) for action, given in by_action.items() if given]


def _outcome(action: str, given: Sequence[DecisionRecord]) -> Outcome:
    done = [decision for decision in given if decision.state == State.APPLIED]
    return Outcome(
        action,
        len(given),
        len(done),
        sum(decision.came_back for decision in done),
        sum(decision.state == State.FAILED for decision in given),
        sum(decision.state in (State.STALE, State.WITHDRAWN) for decision in given),
    )


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The smallest of the ``ordered`` values that at least ``part`` (0 to 1) of them do not exceed; None without
    values."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * round(part * 100) // 100) - 1)]


def waiting_by_age(bounds: Sequence[timedelta], now: datetime) -> list[int]:
    """Pending incidents by age since they were stored: up to each of the growing ``bounds``, and older than all."""
    opened = Incident.objects.filter(state=State.OPEN.value)
    counts = {f"upto{index}": Count("pk", filter=Q(opened_at__gt=now - bound)) for index, bound in enumerate(bounds)}
    found = opened.aggregate(**counts, whole=Count("pk"))
    growing = [found[name] for name in counts] + [found["whole"]]
    return [count - before for count, before in zip(growing, [0, *growing], strict=False)]
