"""How decisions reach a node: by its durable consumer at once, and by the periodic sync whatever got lost on the way.

A decision is taken over in the journal first, acknowledged then, and only then obeyed. Which program of the node it is
delivered to does not matter as long as they share the journal; one that keeps a journal of its own gets it when the
others have said that they do not know it, or by its sync.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from errorkernel.broker import pull_consumer
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.broker.pull_consumer import PullConsumer, StreamDelivery
from errorkernel.domain.values import Action, Decision, Requeue, SyncRequest
from errorkernel.node.journal.incidents import START, SYNC_ITEMS, Questions, Taken
from errorkernel.node.threads import OwnThread
from errorkernel.protocol import commands, subjects
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol import sync as sync_wire
from errorkernel.protocol.errors import ProtocolError

log = logging.getLogger("errorkernel.node")

SYNC_INTERVAL_S = 15.0
SYNC_SOON_S = 2.0
"""After a sync that nobody answered: the kernel may be starting just now. After one that brought something: there may
be more. And while answers may go astray."""
POLL_INTERVAL_S = 0.5
UNKNOWN_NAK_S = 2.0
UNKNOWN_DELIVERIES = 5
PUBLISH_AGAIN_FIRST_S = 30.0
PUBLISH_AGAIN_LAST_S = 3600.0
"""A question that the kernel does not know may still be on its way; one that it will not take must not be a storm."""


class Answers:
    """``obey`` gets every answer to a question of this program once, ``command`` what else a sync brings, and says
    whether that was new."""

    def __init__(
        self,
        node: str,
        connection: Connection,
        questions: Questions,
        thread: OwnThread,
        *,
        obey: Callable[[Decision], None],
        more_to_send: Callable[[], None],
        command: Callable[[Requeue], Awaitable[bool]],
    ) -> None:
        self._connection = connection
        self._subject = subjects.sync(node)
        self._questions = questions
        self._thread = thread
        self._obey = obey
        self._more_to_send = more_to_send
        self._command = command
        self._source = PullConsumer(connection, subjects.DECISIONS_STREAM, subjects.durable_of(node), batch=20)
        self._sync_now = asyncio.Event()
        self._doubt_until = -math.inf
        self._again: dict[UUID, tuple[float, float]] = {}
        self._told = START
        """Up to here the kernel was told outcomes; the next sync goes on with those after it."""
        self.go_on: set[UUID] = set()
        """Questions of this program that *continue* ends, since who asked obeys it by going on; until it has."""
        self.waiting = 0
        """Questions of this program that wait; while there are any, the journal is looked at for answers."""
        self.heard_at = -math.inf
        """When the kernel's last word came, by the monotonic clock."""

    async def connected(self) -> None:
        """To be called on every new connection. Raises BrokerAway."""
        await self._source.open()
        self.doubt()

    def doubt(self) -> None:
        """A connection of this node may have ended without the broker's knowing: until what was asked for on it has
        expired, answers may be handed to it, so the kernel is asked for them soon, while questions of ours wait."""
        self._doubt_until = time.monotonic() + pull_consumer.EXPIRES_S
        self._sync_now.set()

    async def receive(self) -> None:
        """Take over what the durable consumer delivers, for ever."""
        while True:
            for delivery in await self._source.get(20):
                await self._delivered(delivery)

    async def keep_in_sync(self) -> None:
        """Ask the kernel what we lack, and tell it what it lacks, for ever."""
        due = -math.inf
        while True:
            wait_s = due - time.monotonic()
            if time.monotonic() < self._doubt_until:
                wait_s = min(wait_s, SYNC_SOON_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait_s)):
                    await self._sync_now.wait()
            if not (self.waiting or self._sync_now.is_set() or time.monotonic() >= due):
                continue
            self._sync_now.clear()
            await self._connection.wait_until_ready()
            due = time.monotonic() + (SYNC_INTERVAL_S if await self.sync() else SYNC_SOON_S)

    async def look(self) -> None:
        """Obey what another program that shares the journal has taken over for us, for ever."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if self.waiting:
                for decision in await self._thread.run(self._questions.answered):
                    self._obey(decision)

    async def _delivered(self, delivery: StreamDelivery) -> None:
        try:
            decision = wire.decode_decision(delivery.data)
        except ProtocolError as exc:
            log.error("A decision cannot be read and is passed over: %s", exc)
            await delivery.term()
            return
        self.heard_at = time.monotonic()
        taken = await self._take(decision)
        if taken is not Taken.UNKNOWN:
            await delivery.ack()
        elif delivery.deliveries < UNKNOWN_DELIVERIES:
            await delivery.nak(UNKNOWN_NAK_S)
        else:
            # Not acknowledged: that would tell the operator that it has been received.
            log.warning(
                "No program that shares this journal has asked %s; its answer is passed over", decision.incident
            )
            await delivery.term()

    async def _take(self, decision: Decision) -> Taken:
        ends = decision.action is Action.CONTINUE and decision.incident in self.go_on
        taken = await self._thread.run(self._questions.take, decision, ends=ends)
        if taken is Taken.NEW:
            if ends:
                self.go_on.discard(decision.incident)
            self._obey(decision)
        elif taken is Taken.STALE:
            log.warning("An answer (%s) to %s came too late", decision.action, decision.incident)
            self._more_to_send()
        return taken

    async def sync(self) -> bool:
        """One round of the repair, in as many requests as it takes.

        False where the next one should be soon: nobody answered, or something new came, and what had no room in a reply
        comes with the next.
        """
        waiting = await self._thread.run(self._questions.unanswered)
        outcomes, self._told = await self._thread.run(self._questions.unconfirmed, self._told)
        lacking: set[UUID] = set()
        news = False
        while True:
            try:
                reply = await self._connection.request(
                    self._subject, sync_wire.encode(SyncRequest(tuple(waiting[:SYNC_ITEMS]), tuple(outcomes)))
                )
                self.heard_at = time.monotonic()
                decisions, unknown, offered = sync_wire.decode_reply(reply)
            except (BrokerAway, BrokerRefused, ProtocolError) as exc:
                log.debug("No sync: %s", exc)
                return False
            news |= await self._take_over(decisions, offered)
            lacking.update(unknown)
            confirmed = [one.incident for one in outcomes if one.incident not in lacking]
            if confirmed:
                await self._thread.run(self._questions.confirm, confirmed)
            await self._publish_again(unknown)
            waiting, outcomes = waiting[SYNC_ITEMS:], []
            if not waiting:
                self._again = {incident: when for incident, when in self._again.items() if incident in lacking}
                return not news

    async def _take_over(self, decisions: list[Decision], offered: list[bytes]) -> bool:
        """What a sync brought; whether any of it was new."""
        news = False
        for decision in decisions:
            news |= await self._take(decision) in (Taken.NEW, Taken.STALE)
        for data in offered:
            with contextlib.suppress(ProtocolError):  # one that a newer kernel knows: the others count
                news |= await self._command(commands.decode(data))
        return news

    async def _publish_again(self, unknown: list[UUID]) -> None:
        now = time.monotonic()
        due = []
        for incident in unknown:
            not_before, pause_s = self._again.get(incident, (0.0, PUBLISH_AGAIN_FIRST_S))
            if now >= not_before:
                due.append(incident)
                self._again[incident] = (now + pause_s, min(pause_s * 2, PUBLISH_AGAIN_LAST_S))
        if due:
            await self._thread.run(self._questions.publish_again, due)
            self._more_to_send()
