"""The kernel's part of the sync, whatever a node asks: real broker, real database, clients that speak the contract."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import nats
import pytest
from nats.aio.client import Client

from errorkernel.broker.config import NodeUser
from errorkernel.broker.connection import Connection
from errorkernel.broker.credentials import make_nkey
from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import SYNC_MAX_BYTES
from errorkernel.domain.values import Action, Event, EventType, Level, Message, Outcome, OutcomeState
from errorkernel.kernel import reconciliation
from errorkernel.kernel.reconciliation import Reconciler
from errorkernel.live.publisher import Announcer
from errorkernel.models import DeadLetter, Decision, Incident, Requeue
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import sync as sync_wire
from errorkernel.protocol.errors import ProtocolError
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.incidents.requeues import Wanted, Wish
from errorkernel.store.ingest import reconciliation as repair
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from tests.support.node_peer import NODE, Broker
from tests.support.waiting import PATIENCE_S

OTHER = "ship2"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    running = Broker(tmp_path_factory.mktemp("broker"))
    running.other_seed, key = make_nkey()  # type: ignore[attr-defined]
    running._users.append(NodeUser(OTHER, key))
    yield running.start()
    running.stop()


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads("kernel")
    yield threads
    threads.close()


@pytest.fixture
async def kernel(broker: Broker, threads: DatabaseThreads) -> AsyncIterator[None]:
    """What answers syncs, as the worker runs it."""
    connection = Connection(broker.server.url, name="kernel", seed=broker.kernel_seed)
    syncs = Reconciler(connection, threads, Announcer())
    connection.on_connected(syncs.connected)
    connection.start()
    task = asyncio.create_task(syncs.run())
    await connection.wait_until_ready(PATIENCE_S)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connection.close()


@pytest.fixture
async def node(broker: Broker) -> AsyncIterator[Client]:
    client = await nats.connect(broker.server.url, nkeys_seed_str=broker.node_seed, inbox_prefix=f"_INBOX_{NODE}")
    yield client
    await client.close()


@pytest.fixture
async def other(broker: Any) -> AsyncIterator[Client]:
    client = await nats.connect(broker.server.url, nkeys_seed_str=broker.other_seed, inbox_prefix=f"_INBOX_{OTHER}")
    yield client
    await client.close()


async def ask(client: Client, *, open: Sequence[UUID] = (), outcomes: Sequence[UUID] = (), name: str = NODE) -> Any:
    """A sync and its reply; the outcomes are *applied*."""
    done = [{"v": 1, "incident": str(one), "state": "applied"} for one in outcomes]
    asked = {"v": 1, "open": [str(one) for one in open], "outcomes": done}
    return json.loads((await client.request(f"ek.sync.{name}", json.dumps(asked).encode(), timeout=30)).data)


def questions(count: int, *, data: str = "", node: str = NODE) -> list[UUID]:
    """Of a process each."""
    message = Message(id="8841", data=data) if data else None
    asked = [
        Event(
            id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process=f"p{number}", text="no such file",
            message=message,
        )
        for number in range(count)
    ]  # fmt: skip
    record(Batch(events=[(node, one) for one in asked]), NameCache(), now=NOW)
    return [one.id for one in asked]


def answer(asked: Sequence[UUID], reason: str = "") -> None:
    for one in asked:
        decisions.decide(one, Action.CONTINUE, actor=Actor("user:alice", NOW), reason=reason)


def invented(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


@pytest.mark.django_db(transaction=True)
async def test_what_a_node_did_is_taken_in_and_it_is_told_what_it_lacks(
    kernel: None, node: Client, threads: DatabaseThreads
) -> None:
    asked = await threads.run(questions, 2 * reconciliation.AT_ONCE + 1)
    theirs = await threads.run(lambda: questions(1, node=OTHER))
    await threads.run(answer, asked[1:])
    never = invented(2)
    reply = await ask(node, open=[*asked, never[0], *theirs])
    assert {one["incident"] for one in reply["decisions"]} == {str(one) for one in asked[1:]}
    assert sorted(reply["unknown"]) == sorted(str(one) for one in (never[0], *theirs))
    reply = await ask(node, outcomes=[*asked, never[1], *theirs])
    assert (reply["decisions"], sorted(reply["unknown"])) == ([], sorted(str(one) for one in (never[1], *theirs)))
    states = await threads.run(lambda: dict(Incident.objects.values_list("pk", "state")))
    assert states == {asked[0]: "open", **dict.fromkeys(asked[1:], "applied"), theirs[0]: "open"}


@pytest.mark.django_db(transaction=True)
async def test_however_much_a_node_asks_others_have_their_turn_meanwhile(
    kernel: None, node: Client, other: Client, threads: DatabaseThreads
) -> None:
    asking = asyncio.create_task(ask(node, outcomes=(never := invented(12_000))))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    for _ in range(3):
        await threads.run(questions, 1)  # as whoever stores, in the same thread
    await ask(other, open=invented(1), name=OTHER)
    assert not asking.done()
    assert time.monotonic() - began < 3
    assert len((await asking)["unknown"]) == len(never)


@pytest.mark.django_db(transaction=True)
async def test_requests_that_a_node_piles_up_give_way_to_its_latest(kernel: None, node: Client) -> None:
    asking = [asyncio.create_task(ask(node, outcomes=invented(500)))]
    await asyncio.sleep(0.05)
    inbox = await node.subscribe(f"_INBOX_{NODE}.replies.*")
    for number in range(3 * reconciliation.WAITING_MAX):
        await node.publish(f"ek.sync.{NODE}", b"{}", reply=f"_INBOX_{NODE}.replies.{number}")
    await asking[0]
    await ask(node)
    answered = [await inbox.next_msg(5) for _ in range(inbox.pending_msgs)]
    assert reconciliation.WAITING_MAX - 1 <= len(answered) <= reconciliation.WAITING_MAX + 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wrong", [b"no json", b'{"v": 9}', b'{"open": 1}'])
async def test_what_cannot_be_read_is_answered_with_why(kernel: None, node: Client, wrong: bytes) -> None:
    reply = json.loads((await node.request(f"ek.sync.{NODE}", wrong, timeout=5)).data)
    assert reply["error"]
    assert reply["decisions"] == []
    assert (await ask(node))["decisions"] == [], "the next one is answered"


@pytest.mark.django_db(transaction=True)
async def test_what_cannot_be_read_keeps_nothing_else_from_being_answered(
    kernel: None, node: Client, threads: DatabaseThreads, caplog: pytest.LogCaptureFixture
) -> None:
    waits, done = await threads.run(questions, 2)
    await threads.run(answer, [waits, done])
    outcomes = [
        {"incident": str(done), "state": "applied"},  # without its version
        {"v": 1, "incident": "no id", "state": "applied"},
        {"v": 1, "incident": str(done), "state": "applied", "at": "0001-01-01T00:00:00Z"},
        7,
    ]
    asked = json.dumps({"v": 1, "open": [None, str(waits), {"incident": 3}], "outcomes": outcomes}).encode()
    reply = json.loads((await node.request(f"ek.sync.{NODE}", asked, timeout=5)).data)
    assert [one["incident"] for one in reply["decisions"]] == [str(waits)]
    assert "error" not in reply
    assert await threads.run(lambda: Incident.objects.get(pk=done).state) == "applied"
    assert f"5 items of a sync request of {NODE} cannot be decoded" in caplog.text


# What does not fit into one reply


@pytest.mark.django_db(transaction=True)
async def test_decisions_that_do_not_fit_into_a_reply_come_with_the_next_ones(
    kernel: None, node: Client, threads: DatabaseThreads
) -> None:
    never = {str(one) for one in invented(300)}
    asked = await threads.run(questions, 500)
    await threads.run(answer_together, asked, "é" * 1000)
    waiting = set(asked)
    for _ in range(3):
        reply = await ask(node, open=list(waiting), outcomes=[UUID(one) for one in never])
        assert set(reply["unknown"]) == never, "what is not told as unknown would be taken for known"
        waiting -= {UUID(one["incident"]) for one in reply["decisions"]}
    assert not waiting


@pytest.mark.django_db(transaction=True)
async def test_a_client_that_asks_the_same_again_and_again_is_told_everything(
    kernel: None, node: Client, threads: DatabaseThreads
) -> None:
    asked = await threads.run(questions, 600)
    await threads.run(answer_together, asked, "é" * 1000)
    told: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(told) < len(asked):
            told |= {one["incident"] for one in (await ask(node, open=asked))["decisions"]}


@pytest.mark.django_db(transaction=True)
async def test_messages_that_do_not_fit_into_a_reply_come_with_later_ones(
    kernel: None, node: Client, threads: DatabaseThreads
) -> None:
    sent = [str(one) for one in await threads.run(sent_again, 20)]
    offered: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(offered) < len(sent):
            given = [one["id"] for one in (await ask(node))["commands"]]
            assert given == [one for one in sent if one in given], "in the order in which they were sent"
            offered.update(given)


def answer_together(asked: Sequence[UUID], reason: str) -> None:
    """One by one, that takes longer than all the rest."""
    Decision.objects.bulk_create(
        Decision(id=uuid4(), incident_id=one, action="continue", actor="user:alice", reason=reason, decided_at=NOW)
        for one in asked
    )


def sent_again(count: int) -> list[UUID]:
    """Messages of 60 kB each, so long ago that they may have got lost."""
    asked = questions(count, data="d" * 60_000)
    told(*asked, state=OutcomeState.WITHDRAWN)
    long_ago = datetime.now(UTC) - requeues.REPEAT_AFTER
    times = (long_ago - timedelta(seconds=count - number) for number in range(count))
    return [
        requeues.dispose(one, Wanted(Wish.REQUEUE), actor=Actor("user:alice", at)).pk
        for one, at in zip(asked, times, strict=True)
    ]


def test_a_reply_is_never_larger_than_it_may_be() -> None:
    reply = sync_wire.SyncReply(1000)
    count = 0
    while reply.add_unknown(uuid4()):
        count += 1
    assert 900 < len(reply.encode()) <= 1000
    assert len(sync_wire.decode_reply(reply.encode()).unknown) == count


def test_a_request_has_a_bound() -> None:
    asked = b'{"v": 1, "open": []' + b" " * SYNC_MAX_BYTES + b"}"
    with pytest.raises(ProtocolError, match="Ask in parts"):
        sync_wire.decode(asked)


# What is known already, or was never asked


def told(*named: UUID, state: OutcomeState = OutcomeState.APPLIED, node: str = NODE) -> tuple[Any, Any]:
    return repair.take_in(node, [Outcome(incident=one, state=state) for one in named], now=NOW)


@pytest.mark.django_db
def test_what_is_no_news_is_found_out_without_a_transaction(django_assert_num_queries: Any) -> None:
    known, never = questions(10), invented(10)
    answer(known)
    assert told(*known) == (known, [])
    with django_assert_num_queries(2):
        changed, unknown = told(*known, *never)
    assert (changed, sorted(unknown)) == ([], sorted(never))


@pytest.mark.django_db
def test_what_became_of_a_message_that_was_sent_again_is_taken_in_once() -> None:
    [asked] = questions(1, data="/data/a.tif")
    told(asked, state=OutcomeState.WITHDRAWN)
    command = requeues.dispose(asked, Wanted(Wish.REQUEUE), actor=Actor("user:alice", NOW)).pk
    assert told(command, node=OTHER) == ([], [command])
    assert told(command) == ([asked], [])
    assert told(command) == ([], [])
    assert Requeue.objects.get().state == Requeue.State.APPLIED


@pytest.mark.django_db
def test_what_became_of_a_dead_letter_that_nobody_asked_about_is_taken_in() -> None:
    failed = [
        Event(
            id=uuid7(), type=EventType.ERROR, level=Level.ERROR, process="copy", text="no such file",
            message=Message(id="8841"),
        )
        for _ in range(3)
    ]  # fmt: skip
    record(Batch(events=[(NODE, one) for one in failed]), NameCache(), now=NOW)
    letter = DeadLetter.objects.get().pk
    command = requeues.dispose_of_letter(letter, Wanted(Wish.REQUEUE), actor=Actor("user:alice", NOW)).pk
    assert told(command, node=OTHER) == ([], [command])
    assert told(command) == ([], []), "no question has changed"
    assert Requeue.objects.get().state == Requeue.State.APPLIED
