"""Tracks nodes: stores their heartbeats, updates the broker's access list, and records what nodes have received."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from errorkernel.broker import streams
from errorkernel.broker.config import NodeUser
from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerAway, BrokerError, BrokerRefused
from errorkernel.domain.values import Heartbeat
from errorkernel.kernel.stepped_work import PacedSteps, parts
from errorkernel.live.publisher import Announcer
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import json_codec, subjects
from errorkernel.protocol.errors import ProtocolError
from errorkernel.store import nodes
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.ingest import heartbeats
from errorkernel.store.ingest.name_limit import NameLimit

log = logging.getLogger("errorkernel.kernel")

QUEUE = "kernel"
REVISION_INTERVAL_S = 0.3
HEARTBEAT_WRITE_INTERVAL_S = 1.0
NODES_AT_ONCE = 20
PROCESSES_AT_ONCE = 50
"""Processes of one heartbeat that are stored in one step."""
ACKED_ALL = "$JS.EVENT.METRIC.CONSUMER.ACK.{stream}.*"


class NodeTracker:
    """``apply_users``: gives the embedded broker its list of nodes; None for an external broker. ``node_names``: the
    limit of processes of a node (0: none)."""

    def __init__(
        self,
        connection: Connection,
        threads: DatabaseThreads,
        announcer: Announcer,
        *,
        apply_users: Callable[[list[NodeUser]], None] | None,
        node_names: int = 0,
    ) -> None:
        self._connection = connection
        self._threads = threads
        self._announcer = announcer
        self._apply_users = apply_users
        self._revision = -1
        self._durables: set[str] = set()
        self._wanted: set[str] = set()
        self._name_limit = NameLimit(node_names)
        self._heartbeats: dict[str, Heartbeat] = {}
        self._paced = PacedSteps(threads)

    async def connected(self) -> None:
        """Subscribe again and create the durable consumers again: the broker may have lost them."""
        self._durables.clear()
        self._revision = -1
        await self._connection.subscribe(subjects.ALL_HEARTBEATS, self._heartbeat, queue=QUEUE)
        # Every kernel receives these notices; a repeated one changes nothing. In a queue group, the broker could
        # deliver a notice to a connection that has ended without its noticing, and it would be lost.
        for stream, mark in (
            (subjects.DECISIONS_STREAM, _mark_delivered),
            (subjects.COMMANDS_STREAM, requeues.mark_received),
        ):
            acknowledged = partial(self._acknowledged, stream, mark)
            await self._connection.subscribe(ACKED_ALL.format(stream=stream), acknowledged)

    def notice(self, nodes: Iterable[str]) -> None:
        """Create a durable consumer for those of these nodes that have none yet."""
        self._wanted.update(node for node in nodes if node not in self._durables and subjects.is_node_name(node))

    async def keep_access(self) -> None:
        """Follow the table of nodes: update the access list, and create a durable consumer of decisions for each
        node."""
        while True:
            revision = await self._threads.run(nodes.nodes_revision)
            if revision != self._revision:
                if self._apply_users:
                    await asyncio.to_thread(self._apply_users, await self._threads.run(nodes.broker_users))
                self._wanted.update(await self._threads.run(nodes.node_names))
                self._revision = revision
            # The streams must exist on this connection first.
            if self._wanted and self._connection.is_ready:
                await self._make_durables()
            await asyncio.sleep(REVISION_INTERVAL_S)

    async def write_heartbeats(self) -> None:
        """Store the received heartbeats once a second, in steps so short that other transactions are not delayed."""
        while True:
            await asyncio.sleep(HEARTBEAT_WRITE_INTERVAL_S)
            received, self._heartbeats = list(self._heartbeats.items()), {}
            now = datetime.now(UTC)
            for part in parts(received, NODES_AT_ONCE):
                await self._paced.run(heartbeats.of_nodes, part, now=now)
            for node, heartbeat in received:
                for processes in parts(heartbeat.processes, PROCESSES_AT_ONCE):
                    restarted = await self._paced.run(
                        heartbeats.of_processes, node, processes, now=now, limit=self._name_limit
                    )
                    if restarted:
                        log.warning(
                            "%s restarted the incarnation numbers of %s; they must never decrease", node, restarted
                        )

    async def _make_durables(self) -> None:
        for node in sorted(self._wanted - self._durables):
            try:
                await streams.ensure_node_durable(self._connection, node)
            except BrokerAway:
                return
            except BrokerRefused as exc:
                log.error("The broker refuses a consumer of decisions for %s: %s", node, exc)
            self._durables.add(node)
        self._wanted -= self._durables

    async def _heartbeat(self, message: CoreMessage) -> None:
        try:
            address = subjects.parse(message.subject)
            self._heartbeats[address.node] = json_codec.decode_heartbeat(message.data)
        except ProtocolError as exc:
            log.info("A heartbeat on %s cannot be read: %s", message.subject, exc)
            return
        self.notice([address.node])

    async def _acknowledged(self, stream: str, mark: Callable[..., list[UUID]], message: CoreMessage) -> None:
        """Handle the broker's notice that a node has acknowledged a decision or a command."""
        with contextlib.suppress(BrokerError, ValueError, LookupError, TypeError):
            number = json.loads(message.data)["stream_seq"]
            stored: dict[str, Any] = await self._connection.api(f"STREAM.MSG.GET.{stream}", {"seq": int(number)})
            named = UUID(stored["message"]["subject"].rsplit(".", 1)[1])
            self._announcer.add([], await self._threads.run(mark, named, now=datetime.now(UTC)))


def _mark_delivered(incident: UUID, *, now: datetime) -> list[UUID]:
    return decisions.mark_delivered([incident], now=now)
