"""The values of the product: events that a node reports, decisions for it, and outcomes.

They carry no I/O and no Django. ``errorkernel.protocol`` turns bytes into them, ``errorkernel.store`` keeps them.
Times are timezone-aware UTC; ids are ``uuid.UUID``; ``None`` means "the sender did not say".
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class EventType(StrEnum):
    """The seed's three ways to report: send-error, send-info, and an error *with action*, which blocks its sender."""

    ERROR = "error"
    INFO = "info"
    ACTION = "action"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


LEVEL_RANK: dict[str, int] = {level.value: rank for rank, level in enumerate(Level)}
"""For comparisons (``level>=error``); stored beside the word so that the database can compare too."""


class Action(StrEnum):
    """The action of a decision. ``kill``: log, stop the worker, start a new one. ``stop``: stop it, start none."""

    CONTINUE = "continue"
    KILL = "kill"
    STOP = "stop"


class OnDeadline(StrEnum):
    ESCALATE = "escalate"
    CONTINUE = "continue"
    KILL = "kill"


class OutcomeState(StrEnum):
    APPLIED = "applied"
    FAILED = "failed"
    STALE = "stale"
    WITHDRAWN = "withdrawn"


class Message(msgspec.Struct, frozen=True):
    """The message in progress: the input of the process when it failed."""

    id: str = ""
    method: str = ""
    from_node: str = ""
    to_node: str = ""
    data: str = ""

    @property
    def key(self) -> str:
        """What makes it "the same message" when failures are counted: its id, else method and data."""
        return self.id or (f"{self.method}\n{self.data}" if self.method or self.data else "")


class Event(msgspec.Struct, frozen=True):
    """One occurrence, as its node reported it. ``id`` of an ``action`` event is its incident's id."""

    id: UUID
    type: EventType
    level: Level
    process: str
    text: str
    kind: str = ""
    stack: str = ""
    incarnation: int | None = None
    message: Message | None = None
    relay_from_node: str = ""
    occurred_at: datetime | None = None
    fingerprint: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    deadline_s: float | None = None
    on_deadline: OnDeadline = OnDeadline.ESCALATE
    cut: tuple[str, ...] = ()
    """Names of the fields that were over their limit and have been cut."""


class Decision(msgspec.Struct, frozen=True):
    """The one decision on an incident. ``by`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    incident: UUID
    decision_id: UUID
    action: Action
    by: str
    decided_at: datetime
    incarnation: int | None = None
    reason: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """The node's report on a decision, or on an incident without one (``withdrawn``, no decision id).

    ``by_itself``: the action that the node chose at the deadline, because it could not reach the kernel.
    """

    incident: UUID
    state: OutcomeState
    decision_id: UUID | None = None
    incarnation: int | None = None
    new_incarnation: int | None = None
    detail: str = ""
    at: datetime | None = None
    by_itself: Action | None = None


class Requeue(msgspec.Struct, frozen=True):
    """A message in progress that an operator requeues to the process that failed on it. ``by``: ``user:<name>``.

    Its outcome is an ``Outcome`` whose ``incident`` is this ``id``: *applied* when the process has handled the message,
    *failed* when it failed on it again.
    """

    id: UUID
    process: str
    message: Message
    by: str
    at: datetime
    incident: UUID | None = None
    reason: str = ""


class ProcessReport(msgspec.Struct, frozen=True):
    """An entry of a heartbeat's process list."""

    name: str
    state: str = ""
    incarnation: int | None = None
    pid: int | None = None
    since: datetime | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """A node's heartbeat, sent every 30 s. ``at``: the time of sending, by the node's clock.

    ``dropped``: events lost because its journal was full; ``refused``: events that the broker rejected.
    """

    version: str = ""
    started_at: datetime | None = None
    at: datetime | None = None
    processes: tuple[ProcessReport, ...] = ()
    backlog: int | None = None
    dropped: int | None = None
    dropped_infos: int | None = None
    dropped_errors: int | None = None
    refused: int | None = None


class SyncRequest(msgspec.Struct, frozen=True):
    """A node's reconciliation request: its open incidents, and the outcomes it remembers.

    ``unread``: why some of them could not be read."""

    open: tuple[UUID, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    unread: tuple[str, ...] = ()
