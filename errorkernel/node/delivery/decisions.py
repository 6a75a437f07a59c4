"""How decisions reach a node: over its durable consumer at once, and by periodic reconciliation what got lost.

A decision is written to the journal first, then acknowledged, and only then obeyed. Any program of the node may receive
it, as long as all of them share the journal. A program with a journal of its own gets it when the others have
rejected it, or by its own reconciliation.
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
from errorkernel.node.journal.incidents import START, SYNC_ITEMS, Incidents, Receipt
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread
from errorkernel.protocol import commands, json_codec, subjects, sync
from errorkernel.protocol.batches import BatchLimits
from errorkernel.protocol.errors import ProtocolError

log = logging.getLogger("errorkernel.node")

SYNC_INTERVAL_S = 15.0
SYNC_RETRY_S = 2.0
"""After a reconciliation without reply, since the kernel may be starting; after one that brought something new, since
there may be more; and while decisions may get lost."""
POLL_INTERVAL_S = 0.5
UNKNOWN_NAK_S = 2.0
UNKNOWN_DELIVERIES = 5
RESEND_FIRST_S = 30.0
RESEND_LAST_S = 3600.0
"""An incident that the kernel has not stored may be on its way; one that it rejects must not cause a storm."""


class DecisionReceiver:
    """Receives the decisions of one node.

    ``obey`` gets every decision on an incident of this program once. ``accept_command`` gets what else reconciliation
    brings, and returns whether it was new. ``batches_accepted`` gets the kernel's latest batch limits; None
    after a request without reply, since another kernel may have taken its place.
    """

    def __init__(
        self,
        node: str,
        connection: Connection,
        incidents: Incidents,
        thread: SerialThread,
        *,
        obey: Callable[[Decision], None],
        wake_sender: Callable[[], None],
        accept_command: Callable[[Requeue], Awaitable[bool]],
        batches_accepted: Callable[[BatchLimits | None], None],
    ) -> None:
        self._connection = connection
        self._subject = subjects.sync(node)
        self._incidents = incidents
        self._thread = thread
        self._obey = obey
        self._wake_sender = wake_sender
        self._accept_command = accept_command
        self._batches_accepted = batches_accepted
        self._consumer = PullConsumer(connection, subjects.DECISIONS_STREAM, subjects.durable_of(node), batch=20)
        self._sync_now = asyncio.Event()
        self._losses_until = -math.inf
        self._resends: dict[UUID, tuple[float, float]] = {}
        """Incident → when it may be sent again, and the pause after that."""
        self._outcomes_sent = START
        """Outcomes up to here were sent to the kernel; the next reconciliation continues after it."""
        self.continuing: set[UUID] = set()
        """Incidents of this program that *continue* ends, because the caller obeys by going on."""
        self.waiting = 0
        """Calls of this program that wait for a decision. While there are any, the journal is polled."""
        self.last_contact = -math.inf
        """When the kernel was heard from, by the monotonic clock."""

    async def on_connected(self) -> None:
        """Call this on every new connection. Raises BrokerAway."""
        await self._consumer.open()
        self.expect_losses()

    def expect_losses(self) -> None:
        """A connection of this node may have ended without the broker's noticing. Until its pull requests expire,
        decisions may be delivered to it. So while this program waits for decisions, reconciliation is frequent."""
        self._losses_until = time.monotonic() + pull_consumer.EXPIRES_S
        self._sync_now.set()

    async def receive(self) -> None:
        """Accept decisions that the durable consumer delivers, until cancelled."""
        while True:
            for delivery in await self._consumer.get(20):
                await self._handle_delivery(delivery)

    async def keep_reconciled(self) -> None:
        """Reconcile with the kernel periodically, until cancelled."""
        due = -math.inf
        while True:
            wait_s = due - time.monotonic()
            if time.monotonic() < self._losses_until:
                wait_s = min(wait_s, SYNC_RETRY_S)
            await wait_at_most(self._sync_now, max(0.0, wait_s))
            if not (self.waiting or self._sync_now.is_set() or time.monotonic() >= due):
                continue
            self._sync_now.clear()
            await self._connection.wait_until_ready()
            due = time.monotonic() + (SYNC_INTERVAL_S if await self.reconcile() else SYNC_RETRY_S)

    async def poll_journal(self) -> None:
        """Obey what another program that shares the journal has accepted for this one, until cancelled."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if self.waiting:
                for decision in await self._thread.run(self._incidents.decided):
                    self._obey(decision)

    async def reconcile(self) -> bool:
        """Reconcile once, in as many requests as it takes.

        False if the next one should be soon: there was no reply, or something new came, and there may be more.
        """
        pending = await self._thread.run(self._incidents.pending)
        outcomes, self._outcomes_sent = await self._thread.run(self._incidents.unconfirmed, self._outcomes_sent)
        all_unknown: set[UUID] = set()
        has_news = False
        while True:
            try:
                request = SyncRequest(tuple(pending[:SYNC_ITEMS]), tuple(outcomes))
                reply = await self._connection.request(self._subject, sync.encode(request))
                self.last_contact = time.monotonic()
                answer = sync.decode_reply(reply)
            except (BrokerAway, BrokerRefused, ProtocolError) as exc:
                log.debug("Reconciliation failed: %s", exc)
                self._batches_accepted(None)
                return False
            self._batches_accepted(answer.batch)
            has_news |= await self._accept_all(answer.decisions, answer.commands)
            all_unknown.update(answer.unknown)
            confirmed = [outcome.incident for outcome in outcomes if outcome.incident not in all_unknown]
            if confirmed:
                await self._thread.run(self._incidents.confirm, confirmed)
            await self._send_again(answer.unknown)
            pending, outcomes = pending[SYNC_ITEMS:], []
            if not pending:
                self._resends = {incident: when for incident, when in self._resends.items() if incident in all_unknown}
                return not has_news

    async def _handle_delivery(self, delivery: StreamDelivery) -> None:
        try:
            decision = json_codec.decode_decision(delivery.data)
        except ProtocolError as exc:
            log.error("Rejected a malformed decision: %s", exc)
            await delivery.term()
            return
        self.last_contact = time.monotonic()
        receipt = await self._accept(decision)
        if receipt is not Receipt.UNKNOWN:
            await delivery.ack()
        elif delivery.deliveries < UNKNOWN_DELIVERIES:
            await delivery.nak(UNKNOWN_NAK_S)
        else:
            # Not acknowledged: that would show the operator that the decision was delivered.
            log.warning("Dropped a decision on the unknown incident %s", decision.incident)
            await delivery.term()

    async def _accept(self, decision: Decision) -> Receipt:
        ends = decision.action is Action.CONTINUE and decision.incident in self.continuing
        receipt = await self._thread.run(self._incidents.accept, decision, ends=ends)
        if receipt is Receipt.NEW:
            if ends:
                self.continuing.discard(decision.incident)
            self._obey(decision)
        elif receipt is Receipt.STALE:
            log.warning("The decision %s on %s is stale", decision.action, decision.incident)
            self._wake_sender()
        return receipt

    async def _accept_all(self, decisions: list[Decision], offered: list[bytes]) -> bool:
        """Accept the decisions of a reconciliation; returns whether any was new."""
        has_news = False
        for decision in decisions:
            has_news |= await self._accept(decision) in (Receipt.NEW, Receipt.STALE)
        for data in offered:
            with contextlib.suppress(ProtocolError):  # a command of a newer kernel; the others count
                has_news |= await self._accept_command(commands.decode(data))
        return has_news

    async def _send_again(self, unknown: list[UUID]) -> None:
        now = time.monotonic()
        due = []
        for incident in unknown:
            not_before, pause_s = self._resends.get(incident, (0.0, RESEND_FIRST_S))
            if now >= not_before:
                due.append(incident)
                self._resends[incident] = (now + pause_s, min(pause_s * 2, RESEND_LAST_S))
        if due:
            await self._thread.run(self._incidents.send_again, due)
            self._wake_sender()
