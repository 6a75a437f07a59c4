"""What the kernel does by the clock, and by steps: others get their turn at the database in between."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from errorkernel.broker.connection import Connection
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level, OnDeadline
from errorkernel.kernel import scheduler
from errorkernel.kernel.scheduler import Scheduler
from errorkernel.kernel.stepped_work import PacedSteps
from errorkernel.live.publisher import Announcer
from errorkernel.models import Decision, Incident
from errorkernel.platform import conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from tests.support.waiting import PATIENCE_S

STEP_S = 0.05


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads("test")
    yield threads
    threads.close()


def step() -> None:
    time.sleep(STEP_S)


async def test_whoever_comes_during_a_step_has_its_turn_before_the_next_one(threads: DatabaseThreads) -> None:
    paced, turns = PacedSteps(threads), []

    async def long_work(name: str) -> None:
        for _ in range(2):
            await paced.run(step)
            turns.append(name)

    async def intake() -> None:
        await asyncio.sleep(STEP_S / 2)
        await threads.run(step)
        turns.append("intake")

    began = time.monotonic()
    await asyncio.gather(long_work("first"), long_work("second"), intake())
    assert turns == ["first", "intake", "second", "first", "second"]
    assert time.monotonic() - began > 7 * STEP_S, "after each step the database is left alone for as long as it took"


async def test_a_step_that_fails_is_followed_by_the_next(threads: DatabaseThreads) -> None:
    paced = PacedSteps(threads)
    with pytest.raises(ZeroDivisionError):
        await paced.run(lambda: 1 / 0)
    assert await paced.run(lambda: 1) == 1


@pytest.mark.django_db(transaction=True)
async def test_many_deadlines_at_once_keep_nobody_from_the_database(
    threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "DEADLINES_INTERVAL_S", 0.05)
    count = 5 * scheduler.DEADLINES_AT_ONCE + 1
    asked = [
        Event(
            id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process="copy", text="no such file", deadline_s=60,
            on_deadline=OnDeadline.CONTINUE,
        )
        for _ in range(count)
    ]  # fmt: skip
    past = datetime.now(UTC) - timedelta(seconds=61)
    await threads.run(record, Batch(events=[("ship1", one) for one in asked]), NameCache(), now=past)
    connection = Connection("nats://127.0.0.1:9", name="clock")
    meeting = asyncio.create_task(Scheduler(conf.get(), connection, threads, Announcer(), trouble=str).keep_deadlines())
    seen: set[int] = set()
    async with asyncio.timeout(PATIENCE_S):
        while await threads.run(Incident.objects.filter(state="open").exists):
            seen.add(await threads.run(Decision.objects.count))
    meeting.cancel()
    await asyncio.gather(meeting, return_exceptions=True)
    assert count == await threads.run(Decision.objects.filter(actor="deadline", action="continue").count)
    assert len(seen - {0, count}) >= 3, "others were at the database while they were met"
