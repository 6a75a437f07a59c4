"""The kernel's part of the reconciliation: a node sends its pending incidents and its outcomes, and gets the decisions
that it has not received. So a total loss of the broker's data costs no decision.

No node can delay the others: one request per node is in progress at a time, and the steps of all nodes take turns
(``PacedSteps``).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerAway
from errorkernel.domain.values import Outcome
from errorkernel.kernel.intake import DATABASE_AWAY
from errorkernel.kernel.stepped_work import PacedSteps, parts
from errorkernel.live.publisher import Announcer
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol import subjects, sync
from errorkernel.protocol.errors import ProtocolError
from errorkernel.store.incidents import decisions, requeues
from errorkernel.store.ingest import reconciliation

log = logging.getLogger("errorkernel.kernel")

AT_ONCE = 50
"""Items of a request that are read or stored in one step."""
COMMANDS_AT_ONCE = 10
"""Commands read in one step: fewer, because they contain whole messages."""
WAITING_MAX = 10
"""Waiting requests of one node. Above this, the oldest is dropped: its sender times out first."""


class Reconciler:
    """Make it inside the event loop that runs it."""

    def __init__(self, connection: Connection, threads: DatabaseThreads, announcer: Announcer) -> None:
        self._connection = connection
        self._paced = PacedSteps(threads)
        self._announcer = announcer
        self._waiting: dict[str, deque[CoreMessage]] = {}
        """Node → waiting requests, for nodes with a request in progress."""
        self._nodes: asyncio.Queue[str] = asyncio.Queue()

    async def connected(self) -> None:
        """Subscribe again. Raises BrokerAway."""
        # Every kernel replies; the second reply changes nothing. In a queue group, the broker could deliver a request
        # to a connection that has ended without its noticing, and it would be lost.
        await self._connection.subscribe(subjects.ALL_SYNCS, self._arrived)

    async def run(self) -> None:
        """Reply to requests while the worker runs."""
        async with asyncio.TaskGroup() as nodes:
            while True:
                nodes.create_task(self._reply_all(await self._nodes.get()))

    async def _arrived(self, message: CoreMessage) -> None:
        try:
            node = subjects.parse(message.subject).node
        except ProtocolError as exc:
            log.warning("A sync request on %s is ignored: %s", message.subject, exc)
            return
        if not subjects.is_own_inbox(node, message.reply):
            # The kernel publishes with its own rights, so a node must not choose the subject.
            log.warning(
                "A sync request of %s has the reply subject %r, which belongs to another node", node, message.reply
            )
            return
        if node not in self._waiting:
            self._waiting[node] = deque(maxlen=WAITING_MAX)
            self._nodes.put_nowait(node)
        self._waiting[node].append(message)

    async def _reply_all(self, node: str) -> None:
        """Reply to the node's requests one after the other. A failure affects its own request only; nodes repeat it."""
        waiting = self._waiting[node]
        try:
            while waiting:
                try:
                    await self._reply(node, waiting.popleft())
                except (*DATABASE_AWAY, BrokerAway) as exc:
                    log.warning("A sync request of %s failed and must be repeated: %s", node, exc)
                except Exception:
                    log.exception("A sync request of %s failed", node)
        finally:
            del self._waiting[node]

    async def _reply(self, node: str, message: CoreMessage) -> None:
        try:
            request = sync.decode(message.data)
        except ProtocolError as exc:
            await message.respond(sync.encode_refusal(str(exc)))
            return
        if request.unread:
            log.warning(
                "%s items of a sync request of %s cannot be decoded: %s", len(request.unread), node, request.unread[0]
            )
        # One eighth is reserved: a broker may count more bytes than we wrote.
        reply = sync.SyncReply(self._connection.max_payload * 7 // 8)
        await self._take_in(node, request.outcomes, reply)
        await self._reply_missing(node, request.open, reply)
        await self._offer(node, reply)
        await message.respond(reply.encode())

    async def _take_in(self, node: str, outcomes: Sequence[Outcome], reply: sync.SyncReply) -> None:
        """Store the node's outcomes. The unknown ones always fit into the reply: in the request they took twice the
        space."""
        for part in parts(outcomes, AT_ONCE):
            changed, unknown = await self._paced.run(reconciliation.take_in, node, part, now=datetime.now(UTC))
            self._announcer.add([], changed)
            for incident in unknown:
                reply.add_unknown(incident)

    async def _reply_missing(self, node: str, pending: Sequence[UUID], reply: sync.SyncReply) -> None:
        """Add the decisions on the node's pending incidents, as many as fit, then the incidents that are unknown
        here."""
        # In a random order, so that the same ones are not left out every time.
        shuffled = random.sample(pending, len(pending))
        unknown: list[UUID] = []
        for part in parts(shuffled, AT_ONCE):
            made, unknown_part = await self._paced.run(decisions.decisions_for, node, part)
            unknown += unknown_part
            if not all(reply.add_decision(decision) for decision in made):
                return
        for incident in unknown:
            reply.add_unknown(incident)

    async def _offer(self, node: str, reply: sync.SyncReply) -> None:
        """Add the messages to be requeued, as many as fit."""
        offered = await self._paced.run(requeues.to_offer, node, now=datetime.now(UTC))
        for part in parts(offered, COMMANDS_AT_ONCE):
            if not all(reply.add_command(command) for command in await self._paced.run(requeues.read, part)):
                return
