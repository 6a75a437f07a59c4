"""Live frames of the triage: the whole first, then what has changed, joined when much changes."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from errorkernel.live import hub as hubs
from errorkernel.live import triage_frames
from errorkernel.live.hub import Hub, Subscriber
from errorkernel.live.publisher import announce_incidents_async
from errorkernel.store.incidents import takes
from tests.support.bulk_data import known
from tests.support.page_data import ask

WAIT_S = 30


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = hubs.Hub()
    yield made
    await made.close()


async def next_frame(subscriber: Subscriber) -> dict[str, object]:
    """The next frame with the triage."""
    async with asyncio.timeout(WAIT_S):
        while True:
            frame = json.loads((await subscriber.queue.get()).text)
            if "triage" in frame:
                return frame["triage"]


@pytest.mark.django_db(transaction=True)
async def test_a_take_and_many_changes_reach_the_triage_alone(hub: Hub) -> None:
    asked = await sync_to_async(lambda: [ask(process=f"p{n}", now=timezone.now()) for n in range(3)])()
    triage, other = await hub.join(triage=True), await hub.join()
    first = await next_frame(triage)
    assert (first["processes"], first["problems"], first["groups"][0]["pending"]) == (3, 1, 3)
    alice = await sync_to_async(known)("alice")
    alice = type(alice)(alice.id, timezone.now(), alice.user)
    await sync_to_async(takes.take_problem)(asked[0].problem_id, 30, alice)
    await announce_incidents_async((), triage=True)
    taken = await next_frame(triage)
    assert [group["taken_by"] for group in taken["groups"]] == ["user:alice"]
    await sync_to_async(lambda: [ask(process=f"q{n}", now=timezone.now()) for n in range(20)])()
    for number in range(20):
        await announce_incidents_async([asked[number % 3].pk])
    frames = [await next_frame(triage)]
    while not frames[-1]["groups"] or frames[-1]["groups"][0]["pending"] < 23:
        frames.append(await next_frame(triage))
    assert len(frames) <= 5
    shown = [json.loads(other.queue.get_nowait().text) for _ in range(other.queue.qsize())]
    assert not any("triage" in frame for frame in shown)


@pytest.mark.django_db
def test_only_what_changed_is_sent() -> None:
    first, second = ask(process="a"), ask("another", process="b", kind="Other")
    before = triage_frames.read()
    assert triage_frames.changed(before, triage_frames.read()) is None
    takes.take_problem(second.problem_id, 480, known("alice"))
    ask(process="c")
    taken_later = triage_frames.read()
    changes = triage_frames.changed(before, taken_later)
    assert changes is not None
    assert {group.problem for group in changes.groups} >= {first.problem_id}
    assert changes.processes == 3
    assert changes.gone == []
