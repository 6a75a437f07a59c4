"""The wall clock jumps: no process continues or dies by that, and somebody is told."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from errorkernel.broker.connection import Connection
from errorkernel.domain.clock_jumps import Jump
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action, Event, EventType, Level, OnDeadline
from errorkernel.kernel import scheduler
from errorkernel.kernel.scheduler import Scheduler
from errorkernel.live.publisher import Announcer
from errorkernel.models import (
    AuditEntry,
    BulkDecision,
    Decision,
    ErrorEvent,
    Incident,
    KernelClock,
    KernelHeartbeat,
    Node,
    Outbox,
    Problem,
    Rule,
)
from errorkernel.platform import conf
from errorkernel.platform.clocks import Reading, SystemClocks
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import bulk_decisions, bulk_progress, clock_jumps
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform import deadline_hold
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.django_db(transaction=True)
DAY_S = 86400.0
BOOT = "boot-1"


class ShiftedClocks:
    """The machine's clocks with a wall clock that a test sets."""

    def __init__(self) -> None:
        self._clocks = SystemClocks()
        self.offset_s = 0.0
        self.suspended_s = 0.0

    def read(self) -> Reading:
        real = self._clocks.read()
        wall = real.wall + timedelta(seconds=self.offset_s)
        return Reading(wall, real.running_s, real.uptime_s + self.suspended_s, real.boot_id or BOOT)


def asked(deadline_s: float, on_deadline: OnDeadline = OnDeadline.KILL, now: datetime | None = None) -> UUID:
    """The id of a new incident."""
    event = Event(
        id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process="copy", text="no such file",
        deadline_s=deadline_s, on_deadline=on_deadline,
    )  # fmt: skip
    record(Batch(events=[("ship1", event)]), NameCache(), now=now or datetime.now(UTC))
    return event.id


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads("test")
    yield threads
    threads.close()


@asynccontextmanager
async def running(threads: DatabaseThreads, clocks: ShiftedClocks) -> Any:
    """The scheduler's work that depends on the clock."""
    made = Scheduler(
        conf.get(), Connection("nats://127.0.0.1:1", name="test"), threads, Announcer(), trouble=str, clocks=clocks
    )
    tasks = [asyncio.ensure_future(part()) for part in (made.keep_deadlines, made.end_mutes, made.write_heartbeats)]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEADLINES_INTERVAL_S", "MUTES_INTERVAL_S", "HEARTBEAT_INTERVAL_S"):
        monkeypatch.setattr(scheduler, name, 0.02)


async def until(threads: DatabaseThreads, is_true: Any) -> None:
    began = time.monotonic()
    while not await threads.run(is_true):
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.sleep(0.02)


def is_held() -> bool:
    return deadline_hold.held_since() is not None


def resume() -> None:
    deadline_hold.resume("NTP", Actor("user:alice", datetime.now(UTC)))


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_jump_decides_nothing_and_holds_deadlines(threads: DatabaseThreads, jump_s: float) -> None:
    clocks = ShiftedClocks()
    incident = await threads.run(asked, 3600)
    async with running(threads, clocks):
        await until(threads, KernelClock.objects.exists)
        clocks.offset_s = jump_s
        await until(threads, is_held)
        # Its remaining time is as long as it was.
        row = await threads.run(Incident.objects.get, pk=incident)
        assert row.state == "open"
        left_s = (row.deadline_at - clocks.read().wall).total_seconds()
        assert 3500 < left_s <= 3600
        assert (row.escalated_at is not None) is (jump_s > 0), "by the clock, it was past its deadline"
        entry = await threads.run(AuditEntry.objects.get, target="deadlines")
        assert (entry.actor, entry.action) == ("system", "hold")
        assert abs(entry.after["jump_s"] - jump_s) < 1


async def test_a_deadline_that_passes_while_held_escalates_until_somebody_resumes(threads: DatabaseThreads) -> None:
    clocks = ShiftedClocks()
    async with running(threads, clocks):
        await until(threads, KernelClock.objects.exists)
        clocks.offset_s = DAY_S
        await until(threads, is_held)
        incident = await threads.run(asked, 0.1, now=clocks.read().wall)
        await until(threads, lambda: Incident.objects.get(pk=incident).escalated_at is not None)
        assert not await threads.run(Decision.objects.exists)
        await threads.run(resume)
        await until(threads, Decision.objects.exists)
        decision = await threads.run(Decision.objects.get)
        assert (decision.incident_id, decision.action, decision.actor) == (incident, "kill", "deadline")


async def test_two_kernels_of_a_machine_record_a_jump_once(threads: DatabaseThreads) -> None:
    clocks = ShiftedClocks()
    incident = await threads.run(asked, 3600)
    async with running(threads, clocks), running(threads, clocks):
        await until(threads, KernelClock.objects.exists)
        await asyncio.sleep(0.2)
        clocks.offset_s = DAY_S
        await until(threads, is_held)
        await asyncio.sleep(0.2)
        assert await threads.run(AuditEntry.objects.filter(target="deadlines").count) == 1
        row = await threads.run(Incident.objects.get, pk=incident)
        assert (row.deadline_at - clocks.read().wall).total_seconds() <= 3600


async def test_a_suspended_machine_moves_deadlines_without_holding_them(threads: DatabaseThreads) -> None:
    clocks = ShiftedClocks()
    incident = await threads.run(asked, 60)
    before = (await threads.run(Incident.objects.get, pk=incident)).deadline_at
    async with running(threads, clocks):
        await until(threads, KernelClock.objects.exists)
        clocks.suspended_s = clocks.offset_s = 3600.0
        await until(threads, lambda: Incident.objects.get(pk=incident).deadline_at > before)
        assert not await threads.run(is_held)
        assert not await threads.run(Decision.objects.exists)


async def test_a_small_correction_of_the_clock_is_no_jump(threads: DatabaseThreads) -> None:
    clocks = ShiftedClocks()
    async with running(threads, clocks):
        await until(threads, KernelClock.objects.exists)
        clocks.offset_s = 2.0
        before = (await threads.run(KernelClock.objects.get)).seen_at
        await until(threads, lambda: KernelClock.objects.get().seen_at > before + timedelta(seconds=2))
        assert not await threads.run(is_held)


# Between two runs


def reading(wall: datetime, uptime_s: float = 0.0, boot_id: str = BOOT) -> Reading:
    return Reading(wall, 0.0, uptime_s, boot_id)


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("after", "uptime_s", "boot_id", "held"),
    [
        (HOUR, 3600.0, BOOT, False),  # the kernel was off for an hour
        (HOUR, 10.0, BOOT, True),  # it was off for ten seconds, and the clock was set meanwhile
        (-HOUR, 10.0, BOOT, True),
        (HOUR, 5.0, "boot-2", False),  # the machine was restarted: an hour may have passed
        (-HOUR, 5.0, "boot-2", True),
        (26 * HOUR, 5.0, "boot-2", True),  # nobody can say
        (26 * HOUR, 26 * 3600.0, BOOT, False),
    ],
)
def test_a_start_tells_a_jump_from_time_off(after: timedelta, uptime_s: float, boot_id: str, held: bool) -> None:
    clock_jumps.start(reading(NOW))
    clock_jumps.start(reading(NOW + after, uptime_s, boot_id))
    assert is_held() is held


def test_a_jump_between_two_runs_moves_deadlines() -> None:
    incident = asked(600, now=NOW)
    clock_jumps.start(reading(NOW))
    clock_jumps.start(reading(NOW + 24 * HOUR, 10.0))
    row = Incident.objects.get(pk=incident)
    assert row.deadline_at == NOW + timedelta(days=1, seconds=590)


# What else moves, and what is held


def jump(seconds: float = DAY_S) -> datetime:
    """Make the clock jump; returns what it shows then."""
    clock_jumps.start(reading(NOW))
    now = NOW + timedelta(seconds=seconds)
    clock_jumps.start(reading(now, 0.0))
    return now


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S])
def test_intervals_move_with_the_clock(seconds: float) -> None:
    by = timedelta(seconds=seconds)
    Node.objects.create(name="ship1", heartbeat_at=NOW, late_at=NOW + HOUR, gone_at=NOW + 2 * HOUR)
    KernelHeartbeat.objects.create(worker="a:1", at=NOW, started_at=NOW)
    Outbox.objects.create(subject="s", msg_id="1", payload=b"", created_at=NOW, next_try_at=NOW)
    jump(seconds)
    node = Node.objects.get()
    assert (node.heartbeat_at, node.late_at, node.gone_at) == (NOW + by, NOW + HOUR + by, NOW + 2 * HOUR + by)
    assert KernelHeartbeat.objects.get().at == NOW + by
    assert Outbox.objects.get().next_try_at <= NOW + by


def test_an_incident_that_came_after_the_jump_keeps_its_deadline() -> None:
    clock_jumps.start(reading(NOW))
    after = NOW + timedelta(days=1)
    incident = asked(600, now=after)
    clock_jumps.note_jump(Jump(DAY_S), reading(after + timedelta(seconds=0.4), 0.5))
    assert Incident.objects.get(pk=incident).deadline_at == after + timedelta(seconds=600)


def alice() -> Actor:
    return Actor.person(User.objects.get_or_create(username="alice", is_superuser=True)[0], "test", NOW)


def test_a_canary_is_observed_for_as_long_as_it_was_to_be() -> None:
    first, second = asked(600, now=NOW), asked(600, now=NOW)
    bulk = bulk_decisions.propose([first, second], alice(), query="", action=Action.CONTINUE, reason="r", canary=first)
    bulk_decisions.approve_canary(bulk.pk, alice(), watch_s=60)
    Incident.objects.filter(pk=first).update(state="applied", ended_at=NOW)
    now = jump()
    row = BulkDecision.objects.get()
    watched = bulk_progress.watched(row, now)
    assert watched is not None
    assert watched.until == now + timedelta(seconds=60)
    with pytest.raises(CannotBulk, match="Resume deadlines"):
        bulk_decisions.apply_rest(bulk.pk, alice())


def test_rules_that_expire_wait_until_deadlines_are_resumed() -> None:
    made = {"condition": "process:copy", "action": "continue", "reason": "r", "author": "user:alice", "enabled": True}
    Rule.objects.create(name="forever", position=1, created_at=NOW, changed_at=NOW, **made)
    Rule.objects.create(name="a day", position=2, created_at=NOW, changed_at=NOW, expires_at=NOW + 48 * HOUR, **made)
    jump(-DAY_S)
    assert len(changes.load()[1]) == 1
    resume()
    assert len(changes.load()[1]) == 2


def test_a_mute_does_not_end_by_a_clock_that_jumped() -> None:
    asked(600, now=NOW)
    Problem.objects.update(state="muted", muted_until=NOW + HOUR)
    now = jump()
    asked(600, now=now)
    assert Problem.objects.get().state == "muted"
    resume()
    asked(600, now=now)
    assert Problem.objects.get().state == "open"


async def test_the_retention_deletes_nothing_while_deadlines_are_held(
    threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "HOUSEKEEPING_INTERVAL_S", 0.02)
    clocks = ShiftedClocks()
    await threads.run(asked, 3600)
    async with running(threads, clocks) as made:
        await until(threads, KernelClock.objects.exists)
        pruning = asyncio.ensure_future(made.prune())
        clocks.offset_s = 400 * DAY_S
        await until(threads, is_held)
        await asyncio.sleep(0.2)
        assert await threads.run(ErrorEvent.objects.count) == 1
        await threads.run(resume)
        await until(threads, lambda: not ErrorEvent.objects.exists())
        pruning.cancel()


# The operation


def test_somebody_who_may_decide_resumes_deadlines(client: Client) -> None:
    jump()
    viewer = User.objects.create_user("viewer")
    viewer.groups.add(_group("viewer"))
    client.force_login(viewer)
    assert client.post("/api/v1/deadlines/resume", {}, content_type="application/json").status_code == 403
    page = client.get("/problems/").content.decode()
    assert "The clock of the server jumped" in page
    assert "Resume deadlines" not in page
    client.force_login(alice().user)
    assert client.get("/api/v1/deadlines").json()["jump_s"] == DAY_S
    assert "Resume deadlines" in client.get("/problems/").content.decode()
    resumed = client.post("/api/v1/deadlines/resume", {"reason": "NTP"}, content_type="application/json")
    assert (resumed.status_code, resumed.json()) == (200, {"held_since": None, "jump_s": 0.0})
    entry = AuditEntry.objects.get(target="deadlines", action="resume")
    assert (entry.actor, entry.reason) == ("user:alice", "NTP")
    assert client.post("/api/v1/deadlines/resume", {}, content_type="application/json").status_code == 409
    jump(2 * DAY_S)
    assert client.post("/deadlines/resume/").status_code == 302
    assert not is_held()


def _group(name: str) -> Any:
    from django.contrib.auth.models import Group

    return Group.objects.get(name=name)
