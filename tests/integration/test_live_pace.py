"""What the kernel sends to the live page: every row up to a bound, the newest of a storm, and incidents before rows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from channels.layers import get_channel_layer

from errorkernel.live import publisher
from errorkernel.live.publisher import Announcer, Update, decode_update
from errorkernel.store.ingest.event_rows import EventRow
from tests.support.waiting import PATIENCE_S

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def rows(count: int, first: int = 1) -> list[EventRow]:
    return [
        EventRow(
            seq=seq, id=UUID(int=seq), type="error", level="error", node="ship1", process="copy", incarnation=1,
            kind="", text="no", message=None, occurred_at=NOW, received_at=NOW, problem=1, whole=1, incident=None,
            repeat=1,
        )
        for seq in range(first, first + count)
    ]  # fmt: skip


class Listener:
    """The hub's side of the channel layer."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    async def next(self) -> Update:
        async with asyncio.timeout(PATIENCE_S):
            return decode_update(await get_channel_layer().receive(self._channel))

    async def until(self, last: int) -> list[Update]:
        """All updates up to the one that covers number ``last``."""
        found = [await self.next()]
        while found[-1].last < last:
            found.append(await self.next())
        return found


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(publisher.GROUP, channel)
    yield Listener(channel)
    await layer.group_discard(publisher.GROUP, channel)


@pytest.fixture
async def announcer() -> AsyncIterator[Announcer]:
    announcer = Announcer()
    running = asyncio.create_task(announcer.run())
    yield announcer
    running.cancel()


async def test_a_burst_is_shown_completely(announcer: Announcer, listener: Listener) -> None:
    announcer.add(rows(publisher.BACKLOG_ROWS), [])
    updates = await listener.until(publisher.BACKLOG_ROWS)
    assert [row.seq for update in updates for row in update.rows] == list(range(1, publisher.BACKLOG_ROWS + 1))
    assert len(updates) == publisher.BACKLOG_ROWS / publisher.FRAME_ROWS


async def test_a_storm_shows_its_newest_rows_and_counts_the_others(announcer: Announcer, listener: Listener) -> None:
    announcer.add(rows(2000), [])
    first = await listener.next()
    assert (first.first, first.last, first.skipped) == (1, 2000, 2000 - publisher.STORM_ROWS)
    assert [row.seq for row in first.rows] == list(range(2000 - publisher.STORM_ROWS + 1, 2001))
    # It goes on while more come than a page shows, and ends when they do not.
    announcer.add(rows(publisher.STORM_ENDS_ROWS + 1, 2001), [])
    assert (await listener.next()).skipped == publisher.STORM_ENDS_ROWS + 1 - publisher.STORM_ROWS
    announcer.add(rows(publisher.STORM_ENDS_ROWS, 2001 + publisher.STORM_ENDS_ROWS + 1), [])
    after = await listener.until(2001 + 2 * publisher.STORM_ENDS_ROWS)
    assert sum(update.skipped for update in after) == 0


async def test_a_changed_incident_waits_for_no_rows(
    announcer: Announcer, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "STORM_INTERVAL_S", 3600)
    announcer.add(rows(2000), [])
    await listener.next()
    announcer.add(rows(1000, 2001), [])  # the next frame would come in an hour
    incident = uuid4()
    announcer.add([], [incident])
    update = await listener.next()
    assert (list(update.changed), update.last) == ([incident], 3000)


async def test_a_kernel_that_is_behind_shows_a_storm(announcer: Announcer, listener: Listener) -> None:
    announcer.add(rows(100), [], unstored=publisher.BACKLOG_ROWS + 1)
    assert (await listener.next()).skipped == 100 - publisher.STORM_ROWS
    announcer.add(rows(100, 101), [], unstored=0)
    assert sum(update.skipped for update in await listener.until(200)) == 0


def test_updates_that_a_slow_machine_cannot_render_become_one() -> None:
    incident = uuid4()
    joined = publisher.joined([Update(1, 50, rows(50)), Update(51, 99, rows(40, 60), 9, [incident])])
    assert (joined.first, joined.last, joined.skipped) == (1, 99, 99 - publisher.STORM_ROWS)
    assert [row.seq for row in joined.rows] == list(range(80, 100))
    assert set(joined.changed) == {incident}
