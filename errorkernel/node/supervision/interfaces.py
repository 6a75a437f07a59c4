"""What supervision needs of its neighbours: of the client that it reports through, and of the children of a group."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from errorkernel.domain.values import Decision, EventType, OutcomeState
from errorkernel.node.journal.processes import Processes
from errorkernel.node.reporting.event_builder import EventDraft
from errorkernel.node.supervision.restart_policy import Ending, History, Policy

P = ParamSpec("P")
R = TypeVar("R")


class Host(Protocol):
    """The client of the program. ``errorkernel.node.client.Kernel`` is one, and documents these methods."""

    node: str
    process: str
    supervised_names: set[str]
    processes: Processes

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def report(self, kind: EventType, process: str, draft: EventDraft) -> UUID: ...
    async def request_decision(self, process: str, draft: EventDraft) -> Decision: ...
    async def report_outcome(
        self, decision: Decision, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> None: ...
    async def withdraw(self, incident: UUID, detail: str) -> None: ...
    def incarnation_of(self, name: str) -> int: ...
    def set_incarnation(self, name: str, incarnation: int) -> None: ...
    def wake(self) -> None: ...


class ChildState(Enum):
    """The plan of a group for a child."""

    RUNNING = "running"
    SCHEDULED = "scheduled"
    """It starts at ``due``."""
    QUARANTINED = "quarantined"
    """It starts after a decision."""
    ENDED = "ended"
    """It does not start again, unless the failure of a sibling restarts it."""
    STOPPED = "stopped"
    """It does not start again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an incarnation ended; ``decision``: the one that ended it, whose outcome is still to be reported."""

    ending: Ending
    decision: Decision | None = None


class Child(Protocol):
    """A worker as its group sees it. ``errorkernel.node.supervision.worker.SupervisedWorker`` is one."""

    name: str
    incarnation: int
    policy: Policy
    history: History
    state: ChildState
    due: float
    watch: "asyncio.Task[Ended | None] | None"
    finished: asyncio.Event
    last_failure: EventDraft | None

    @property
    def uptime_s(self) -> float: ...
    async def start_next(self, decision: Decision | None) -> None: ...
    async def recall(self) -> bool: ...
    async def shut_down(self) -> None: ...
    async def publish_state(self, state: str, pid: int | None = None) -> None: ...
    async def try_to_report(self, failure: EventDraft) -> None: ...
