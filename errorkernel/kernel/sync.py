"""The kernel's part of the periodic repair: a node says what it still waits for and what it has done, and is told what
it lacks. That makes a total loss of the broker's data harmless.

However much a node asks, and however often, others get their turn: one request of a node is under way at a time, and it
is dealt with by steps (``paced``), of which those of all nodes take turns.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from errorkernel.broker.link import Link, Received
from errorkernel.core.values import Decision, Sync
from errorkernel.kernel.intake import DATABASE_AWAY
from errorkernel.kernel.paced import Paced
from errorkernel.live import Announcer
from errorkernel.store import incidents, repair, requeues
from errorkernel.threads import DatabaseThreads
from errorkernel.wire import json as wire
from errorkernel.wire import subjects
from errorkernel.wire.errors import WireError

log = logging.getLogger("errorkernel.kernel")

T = TypeVar("T")
AT_ONCE = 50
"""Items of a request that are looked up, or taken in, in one step."""
WAITING_MAX = 10
"""Requests of a node that wait for the one under way. Of more, the oldest makes way: who sent it gives it up first."""


class Syncs:
    """Make it inside the event loop that runs it."""

    def __init__(self, link: Link, threads: DatabaseThreads, announcer: Announcer) -> None:
        self._link = link
        self._paced = Paced(threads)
        self._announcer = announcer
        self._waiting: dict[str, deque[Received]] = {}
        """Of nodes of which a request is under way, or about to be."""
        self._nodes: asyncio.Queue[str] = asyncio.Queue()

    async def connected(self) -> None:
        """Subscribe anew. Raises BrokerAway."""
        # Every kernel answers, to which the second adds nothing: in a queue, what goes to a connection whose end the
        # broker has not noticed yet would be lost.
        await self._link.subscribe(subjects.SYNC_ALL, self._arrived)

    async def run(self) -> None:
        """Answer for as long as the worker lives."""
        async with asyncio.TaskGroup() as nodes:
            while True:
                nodes.create_task(self._answer_all(await self._nodes.get()))

    async def _arrived(self, message: Received) -> None:
        try:
            node = subjects.parse(message.subject).node
        except WireError as exc:
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

    async def _answer_all(self, node: str) -> None:
        """One after the other, until none waits. What goes wrong costs its request alone: a node asks again."""
        waiting = self._waiting[node]
        try:
            while waiting:
                try:
                    await self._answer(node, waiting.popleft())
                except DATABASE_AWAY as exc:
                    log.warning("The database cannot be used (%s); %s has to ask again", exc, node)
                except Exception:
                    log.exception("A sync of %s was not answered", node)
        finally:
            del self._waiting[node]

    async def _answer(self, node: str, message: Received) -> None:
        try:
            asked = wire.decode_sync(message.data)
        except WireError as exc:
            await message.respond(json.dumps({"v": wire.VERSION, "error": str(exc), "decisions": []}).encode())
            return
        unknown = await self._take_in(node, asked)
        decisions = await self._look_up(node, asked, unknown)
        commands = await self._paced.run(requeues.to_offer, node, now=datetime.now(UTC))
        await message.respond(wire.encode_sync_reply(decisions, unknown, commands))

    async def _take_in(self, node: str, asked: Sync) -> list[UUID]:
        """What the node has done; returns what of it is unknown here."""
        unknown: list[UUID] = []
        for part in _parts(asked.outcomes):
            changed, lacking = await self._paced.run(repair.take_in, node, part, now=datetime.now(UTC))
            self._announcer.add([], changed)
            unknown += lacking
        return unknown

    async def _look_up(self, node: str, asked: Sync, unknown: list[UUID]) -> list[Decision]:
        """The answers to what the node waits for; adds to ``unknown``."""
        decisions: list[Decision] = []
        for part in _parts(asked.open):
            decided, lacking = await self._paced.run(incidents.decisions_for, node, part)
            decisions += decided
            unknown += lacking
        return decisions


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
