"""The kernel's part of the periodic repair: a node says what it still waits for and what it has done, and is told what
it lacks. That makes a total loss of the broker's data harmless.

However much a node asks, and however often, others get their turn: one request of a node is under way at a time, and it
is dealt with by steps (``paced``), of which those of all nodes take turns.
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
"""Items of a request that are looked up, or taken in, in one step."""
COMMANDS_AT_ONCE = 10
"""These bring their messages along."""
WAITING_MAX = 10
"""Requests of a node that wait for the one under way. Of more, the oldest makes way: who sent it gives it up first."""


class Reconciler:
    """Make it inside the event loop that runs it."""

    def __init__(self, connection: Connection, threads: DatabaseThreads, announcer: Announcer) -> None:
        self._connection = connection
        self._paced = PacedSteps(threads)
        self._announcer = announcer
        self._waiting: dict[str, deque[CoreMessage]] = {}
        """Of nodes of which a request is under way, or about to be."""
        self._nodes: asyncio.Queue[str] = asyncio.Queue()

    async def connected(self) -> None:
        """Subscribe anew. Raises BrokerAway."""
        # Every kernel answers, to which the second adds nothing: in a queue, what goes to a connection whose end the
        # broker has not noticed yet would be lost.
        await self._connection.subscribe(subjects.ALL_SYNCS, self._arrived)

    async def run(self) -> None:
        """Answer for as long as the worker lives."""
        async with asyncio.TaskGroup() as nodes:
            while True:
                nodes.create_task(self._reply_all(await self._nodes.get()))

    async def _arrived(self, message: CoreMessage) -> None:
        try:
            node = subjects.parse(message.subject).node
        except ProtocolError as exc:
            log.warning("A sync on %s is passed over: %s", message.subject, exc)
            return
        if not subjects.is_own_inbox(node, message.reply):
            # Whatever the kernel publishes has the kernel's rights: a node must not choose where.
            log.warning("A sync of %s wants its answer on %r, which is not its own", node, message.reply)
            return
        if node not in self._waiting:
            self._waiting[node] = deque(maxlen=WAITING_MAX)
            self._nodes.put_nowait(node)
        self._waiting[node].append(message)

    async def _reply_all(self, node: str) -> None:
        """One after the other, until none waits. What goes wrong costs its request alone: a node asks again."""
        waiting = self._waiting[node]
        try:
            while waiting:
                try:
                    await self._reply(node, waiting.popleft())
                except (*DATABASE_AWAY, BrokerAway) as exc:
                    log.warning("A sync of %s was not answered, it has to ask again: %s", node, exc)
                except Exception:
                    log.exception("A sync of %s was not answered", node)
        finally:
            del self._waiting[node]

    async def _reply(self, node: str, message: CoreMessage) -> None:
        try:
            request = sync.decode(message.data)
        except ProtocolError as exc:
            await message.respond(sync.encode_refusal(str(exc)))
            return
        if request.unread:
            log.warning("%s items of a sync of %s cannot be read: %s", len(request.unread), node, request.unread[0])
        # With room to spare: a broker may count more than what we wrote.
        reply = sync.SyncReply(self._connection.max_payload * 7 // 8)
        await self._take_in(node, request.outcomes, reply)
        await self._reply_missing(node, request.open, reply)
        await self._offer(node, reply)
        await message.respond(reply.encode())

    async def _take_in(self, node: str, outcomes: Sequence[Outcome], reply: sync.SyncReply) -> None:
        """What the node has done. What of it is unknown here finds room: it took twice as much in the request."""
        for part in parts(outcomes, AT_ONCE):
            changed, unknown = await self._paced.run(reconciliation.take_in, node, part, now=datetime.now(UTC))
            self._announcer.add([], changed)
            for incident in unknown:
                reply.add_unknown(incident)

    async def _reply_missing(self, node: str, pending: Sequence[UUID], reply: sync.SyncReply) -> None:
        """Answers to what the node waits for, as many as there is room for, and then what of it is unknown here."""
        # In another order each time: what found no room must not be the same for ever.
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
        """Messages that are to be sent again, as many as there is room for."""
        offered = await self._paced.run(requeues.to_offer, node, now=datetime.now(UTC))
        for part in parts(offered, COMMANDS_AT_ONCE):
            if not all(reply.add_command(command) for command in await self._paced.run(requeues.read, part)):
                return
