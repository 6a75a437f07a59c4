"""Nodes, processes and heartbeats, stored for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Heartbeat, Level, Outcome, ProcessReport
from errorkernel.models import Incarnation
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def hello(state: str = "running", incarnation: int = 1, **fields: Any) -> Heartbeat:
    process = ProcessReport("copy", state, incarnation, pid=100 + incarnation, since=NOW)
    return Heartbeat(version="1", at=NOW, processes=(process,), **fields)


def report(*, incarnation: int | None = 1, process: str = "copy", **fields: Any) -> Event:
    given = {"type": EventType.ERROR, "level": Level.ERROR, "text": "no", "kind": "E", **fields}
    return Event(id=uuid7(), process=process, incarnation=incarnation, **given)


def take_in(*events: Event, outcomes: tuple[Outcome, ...] = (), now: datetime = NOW, node: str = "ship1") -> None:
    batch = Batch(events=[(node, one) for one in events], outcomes=[(node, one) for one in outcomes])
    record(batch, NameCache(), now=now)


# Lives


def lives() -> list[tuple[int, str, int]]:
    return [(one.number, one.ending, one.failures) for one in Incarnation.objects.order_by("number", "process")]
