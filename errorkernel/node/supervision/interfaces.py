"""What supervision needs of its two neighbours: of the client that it reports through, and of a group's children."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from errorkernel.domain.values import Decision, EventType, OutcomeState
from errorkernel.node.journal.processes import Roster
from errorkernel.node.reporting.event_builder import Report
from errorkernel.node.supervision.restart_policy import Ending, History, Policy

P = ParamSpec("P")
R = TypeVar("R")


class Host(Protocol):
    """The program's client; ``errorkernel.node.client.Kernel`` is one, and says what each of these does."""

    node: str
    process: str
    supervised: set[str]
    roster: Roster

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def report(self, kind: EventType, process: str, report: Report) -> UUID: ...
    async def put(self, process: str, report: Report) -> Decision: ...
    async def settle(
        self, decision: Decision, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> None: ...
    async def give_up(self, incident: UUID, detail: str) -> None: ...
    def incarnation(self, name: str) -> int: ...
    def began(self, name: str, incarnation: int) -> None: ...
    def wake(self) -> None: ...


class Standing(Enum):
    """What is to become of a child."""

    RUNNING = "running"
    RESTING = "resting"
    """It is started when it is due."""
    QUARANTINED = "quarantined"
    """It is started when somebody has said so."""
    ENDED = "ended"
    """It is not started again, unless a sibling's failure takes it along."""
    STOPPED = "stopped"
    """It is not started again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A life's ending; ``order``: the answer whose outcome is still to be reported."""

    ending: Ending
    order: Decision | None = None


class Child(Protocol):
    """A worker as its group sees it; ``errorkernel.node.supervision.worker.Supervised`` is one."""

    name: str
    incarnation: int
    policy: Policy
    history: History
    standing: Standing
    due: float
    watch: "asyncio.Task[Ended | None] | None"
    over: asyncio.Event
    last_failure: Report | None

    @property
    def lived_s(self) -> float: ...
    async def renew(self, order: Decision | None) -> None: ...
    async def recall(self) -> bool: ...
    async def shut_down(self) -> None: ...
    async def set_state(self, state: str, pid: int | None = None) -> None: ...
    async def tell_failure(self, report: Report) -> None: ...
