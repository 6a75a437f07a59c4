"""What is known of Steward's and ctrl's nodes, tried over a real broker: every version reports and is managed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from errorkernel.domain.limits import Limits
from errorkernel.domain.values import EventType
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import event_mapping, operator_messages
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.event_mapping import Incoming, Report
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.operator_messages import Listed, Operator
from errorkernel.senders.steward.protocol.repeats import Echoes, Seen, judge
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS, is_reply_subject
from tests.support.steward.peer import CTRL, CTRL_2024, SEED, STEW, VERSIONS, PlainServer, StewardPeer, Version
from tests.support.waiting import eventually

TEXT = "error: methodREQHttpGet: method timed out: [http://192.0.2.1/]"
AT = datetime(2026, 11, 4, 10, 0, 0)
OPERATOR = Operator("errorkernel", bytes(range(32)))
BY_NAME = [pytest.param(version, id=version.name) for version in VERSIONS]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = PlainServer(tmp_path_factory.mktemp("nats")).start()
    yield server.url
    server.stop()


@dataclass(slots=True)
class Listener:
    """Reads errors and replies as the product will: store, then acknowledge. ``deaf``: acknowledges nothing."""

    client: Client
    deaf: bool = False
    arrived: list[Incoming] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    replies: list[StewardMessage] = field(default_factory=list)
    seen: dict[bytes, Seen] = field(default_factory=dict)

    async def open(self) -> None:
        for subject in ERROR_SUBJECTS:
            await self.client.subscribe(subject, cb=self._error)
        await self.client.subscribe(f"{OPERATOR.name}.>", cb=self._reply)
        await self.client.flush()

    async def _error(self, message: Msg) -> None:
        try:
            incoming = event_mapping.read(message.subject, message.headers or {}, message.data)
        except ProtocolError as exc:
            self.refused.append(exc.reason)
            return
        self.arrived.append(incoming)
        now_s = asyncio.get_running_loop().time()
        verdict = judge(self.seen.get(incoming.digest), incoming.sending, now_s=now_s)
        self.seen[incoming.digest] = Seen(verdict.occurrence, now_s)
        if not verdict.retransmission:
            self.reports.append(event_mapping.report(incoming, Limits(), occurrence=verdict.occurrence))
        await self._acknowledge(message, incoming)

    async def _reply(self, message: Msg) -> None:
        if is_reply_subject(message.subject):
            return
        incoming = event_mapping.read(message.subject, message.headers or {}, message.data)
        self.replies.append(incoming.message)
        await self._acknowledge(message, incoming)

    async def _acknowledge(self, message: Msg, incoming: Incoming) -> None:
        if incoming.wants_ack and not self.deaf:
            await self.client.publish(message.reply)

    async def ask(
        self, peer: StewardPeer, make: Callable[[Dialect], StewardMessage], *, as_json: bool = False
    ) -> StewardMessage:
        """Send an operator's message the way that the node speaks, and wait for its reply."""
        dialect = next(one.dialect for one in self.arrived if one.message.from_node == peer.node)
        assert dialect
        request = make(dialect)
        payload, headers = dialect.pack(request, as_json=as_json)
        subject = dialect.subjects(peer.node, request.method)[-1 if peer.version.commands else 0]
        await self.client.publish(subject, payload, subject + ".reply", headers)
        correlation = request.reply_method_args[0]
        return await eventually(
            lambda: next((one for one in self.replies if operator_messages.reply_correlation(one) == correlation), None)
        )


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    client = await nats.connect(url)
    listener = Listener(client)
    await listener.open()
    try:
        yield listener
    finally:
        await client.close()


@asynccontextmanager
async def node(url: str, version: Version, **more: object) -> AsyncIterator[StewardPeer]:
    # Ten seconds of waiting, for a busy machine; the tests that count attempts ask for less.
    peer = await StewardPeer(url, "ww.ship1", version, **{"ack_timeout": 100, **more}).start()
    try:
        yield peer
    finally:
        await peer.close()


@pytest.mark.parametrize("version", BY_NAME)
async def test_every_version_reports_and_is_acknowledged(url: str, version: Version) -> None:
    async with listening(url) as listener, node(url, version) as peer:
        sent = await peer.error(TEXT, AT)
        assert (sent.attempts, sent.acknowledged) == (1, True)
        (report,) = listener.reports
        assert (report.node, report.event.text, report.event.type) == ("ww.ship1", TEXT, EventType.ERROR)
        assert report.event.tags["source"] == ("steward" if version.token else "ctrl")
        assert report.event.process == version.method("httpGet")


@pytest.mark.parametrize(("version", "attempts"), [(SEED, 2), (STEW, 3), (CTRL, 3)], ids=["seed", "stew", "ctrl"])
async def test_without_acknowledgement_a_node_repeats_the_same_bytes(url: str, version: Version, attempts: int) -> None:
    async with listening(url) as listener, node(url, version, ack_timeout=2) as peer:
        listener.deaf = True
        sent = await peer.error(TEXT)
        assert (sent.attempts, sent.acknowledged) == (attempts, False)
        await eventually(lambda: len(listener.arrived) == attempts)
        assert len({one.digest for one in listener.arrived}) == 1
        assert len({event_mapping.report(one, Limits()).event.id for one in listener.arrived}) == 1


async def test_a_node_that_may_not_see_acknowledgements_repeats_to_the_end(url: str) -> None:
    async with listening(url) as listener, node(url, STEW, ack_timeout=1, deaf=True) as peer:
        assert await peer.error(TEXT) == await peer.error(TEXT, AT)
        await eventually(lambda: len(listener.arrived) == 6)
        assert len(listener.reports) == 2


async def test_two_failures_in_one_second_of_an_early_node_are_two(url: str) -> None:
    async with listening(url) as listener, node(url, SEED) as peer:
        await asyncio.gather(*(peer.error(TEXT, AT) for _ in range(3)))
        assert len({one.digest for one in listener.arrived}) == 1
        assert len({one.event.id for one in listener.reports}) == 3


async def test_one_acknowledgement_releases_every_node_that_waits(url: str) -> None:
    async with listening(url) as listener, node(url, STEW) as one, node(url, SEED) as other:
        listener.deaf = True
        other.node = "ship2"
        waiting = [asyncio.create_task(peer.error(TEXT)) for peer in (one, other)]
        await eventually(lambda: len(listener.arrived) == 2)
        await listener.client.publish(STEW.subject + ".reply")
        assert all(sent.acknowledged for sent in await asyncio.gather(*waiting))


async def test_with_nobody_there_an_error_is_lost_at_once(url: str) -> None:
    async with node(url, STEW) as peer:
        sent = await peer.error(TEXT)
        assert (sent.attempts, sent.no_responders, sent.acknowledged) == (3, 3, False)


async def test_what_cannot_be_read_is_refused_and_not_acknowledged(url: str) -> None:
    async with listening(url) as listener, node(url, STEW) as peer:
        for payload in (b"\x80", b"\xff" * 9, b"", b"\x28\xb5\x2f\xfd"):
            await peer.send_bytes(payload)
        await peer.error(TEXT)
        assert listener.refused == ["unknown_layout", "not_gob", "empty", "not_zstd"]
        assert len(listener.reports) == 1


@pytest.mark.parametrize("version", BY_NAME)
async def test_processes_of_every_version_are_listed_stopped_and_started(url: str, version: Version) -> None:
    method = version.method("httpGet")
    async with listening(url) as listener, node(url, version, key=OPERATOR.public_key) as peer:
        await peer.error(TEXT)
        listing = await listener.ask(
            peer, lambda dialect: operator_messages.list_processes(OPERATOR, peer.node, dialect, "op:1")
        )
        names = {one.name for one in operator_messages.parse_list(listing)}
        assert version.listens(peer.node, method) in names
        assert {one.kind for one in operator_messages.parse_list(listing)} == {"subscriber" if version.token else ""}
        stopped = await listener.ask(
            peer, lambda dialect: operator_messages.stop_process(OPERATOR, peer.node, dialect, method, "op:2")
        )
        assert stopped.data.startswith(b"info: OpProcessStop: process stopped")
        assert "httpGet" not in peer.processes
        started = await listener.ask(
            peer, lambda dialect: operator_messages.start_process(OPERATOR, peer.node, dialect, method, "op:3")
        )
        assert started.data.startswith(b"info: OpProcessStart: started")
        assert "httpGet" in peer.processes
        assert not peer.crashed
        assert started.previous_message
        assert started.previous_message.method == version.method("opProcessStart")
        # The notices on the error channel are about the same process, and no errors.
        count = 4 if version.numbered else 3
        await eventually(lambda: len(listener.reports) == count)
        assert {one.event.type for one in listener.reports[1:]} == {EventType.INFO}
        assert {one.event.process for one in listener.reports} == {method}


async def test_the_complaint_that_comes_with_a_stop_belongs_to_it(url: str) -> None:
    async with listening(url) as listener, node(url, STEW) as peer:
        await peer.error(TEXT)
        await listener.ask(
            peer, lambda dialect: operator_messages.stop_process(OPERATOR, peer.node, dialect, "REQHttpGet", "op:1")
        )
        await eventually(lambda: len(listener.reports) == 3)
        echoes = Echoes()
        first, second = (
            echoes.belongs_to(one.node, one.event.id, one.understood.echoes, now_s=0) for one in listener.reports[1:]
        )
        assert first is None
        assert second is not None
        assert second.event == listener.reports[1].event.id


async def test_the_last_ctrl_is_asked_in_json_as_well(url: str) -> None:
    async with listening(url) as listener, node(url, CTRL) as peer:
        await peer.error(TEXT)
        listing = await listener.ask(
            peer, lambda dialect: operator_messages.list_processes(OPERATOR, peer.node, dialect, "op:1"), as_json=True
        )
        assert Listed("ww.ship1.httpGet", 0) in {
            Listed(one.name, 0, one.kind) for one in operator_messages.parse_list(listing)
        }


async def test_an_unsigned_request_is_refused_by_a_node_that_checks(url: str) -> None:
    async with listening(url) as listener, node(url, CTRL, key=OPERATOR.public_key) as peer:
        await peer.error(TEXT)
        dialect = listener.arrived[0].dialect
        assert dialect
        unsigned = operator_messages.stop_process(Operator("errorkernel"), peer.node, dialect, "httpGet", "op:1")
        payload, headers = dialect.pack(unsigned)
        await listener.client.publish(dialect.subject(peer.node, unsigned.method), payload, headers=headers)
        await eventually(lambda: len(listener.reports) == 2)
        assert listener.reports[1].event.kind == "refused"
        assert "httpGet" in peer.processes


async def test_a_node_of_another_age_would_end_at_a_foreign_layout(url: str) -> None:
    """Why a dialect is learnt from each node itself."""
    async with listening(url) as listener, node(url, CTRL_2024) as peer, node(url, CTRL) as other:
        other.node = "ship2"
        await other.error(TEXT)
        dialect = listener.arrived[0].dialect
        assert dialect
        request = operator_messages.list_processes(OPERATOR, peer.node, dialect, "op:1")
        await listener.client.publish(dialect.subject(peer.node, request.method), *dialect.pack(request)[:1])
        await eventually(lambda: peer.crashed)
        assert "different number of elements" in peer.crashed
