"""Statistics of the newest decisions: how long their processes waited, and whether the problem came back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from errorkernel.bypasses import page_queries
from errorkernel.domain.incident_state import State
from errorkernel.domain.service_level import Wait
from errorkernel.models import Decision, Incident

CAME_BACK_WITHIN = timedelta(hours=1)
"""A decision has not helped if the same process opens an incident of the same problem again this soon."""
READ_AT_MOST = 1000
"""Only the newest decisions of a range are read: as many as a page can read without delay."""
READ_OF_PROBLEM = 500
WAITS_READ = 5000
_OF_A_RECORD = (
    *("process", "problem", "state", "opened_at", "ended_at"),
    *("decision__action", "decision__actor", "decision__decided_at"),
)


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """``problem``: of the incident, not the one it is merged into. ``waited_s``: seconds since the
    incident was stored. ``came_back``: the process reported the same problem again within ``CAME_BACK_WITHIN``."""

    action: str
    actor: str
    problem: int
    waited_s: float
    state: str
    came_back: bool

    @property
    def actor_kind(self) -> str:
        """``user``, ``rule`` or ``deadline``."""
        return self.actor.partition(":")[0]


def newest(since: datetime, until: datetime) -> tuple[list[DecisionRecord], int]:
    """The newest decisions from ``since`` until before ``until``, newest first, and their number in all."""
    found = [_record(row) for row in page_queries.decisions(since, until, READ_AT_MOST)]
    if len(found) < READ_AT_MOST:
        return found, len(found)
    return found, Decision.objects.filter(decided_at__gte=since, decided_at__lt=until).count()


def _record(row: page_queries.DecisionRow) -> DecisionRecord:
    again = row.next_opened_at
    return DecisionRecord(
        action=row.action,
        actor=row.actor,
        problem=row.problem,
        waited_s=max(0.0, (row.decided_at - row.opened_at).total_seconds()),
        state=row.state,
        came_back=again is not None and again - (row.ended_at or row.decided_at) <= CAME_BACK_WITHIN,
    )


def waits(since: datetime) -> tuple[list[Wait], bool]:
    """The newest WAITS_READ incidents that opened since ``since``, newest first, and whether there are more."""
    found = [Wait(*row) for row in page_queries.waits(since, WAITS_READ + 1)]
    return found[:WAITS_READ], len(found) > WAITS_READ


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
                    actor=actor,
                    problem=problem,
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
