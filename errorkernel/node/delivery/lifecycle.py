"""``Delivery``: builds the parts that exchange messages with the broker, and starts, wakes and closes them together."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway
from errorkernel.domain.values import Action, Decision
from errorkernel.node.delivery import backlog_log
from errorkernel.node.delivery.decisions import DecisionReceiver
from errorkernel.node.delivery.heartbeat import Heartbeat
from errorkernel.node.delivery.isolation import Isolation
from errorkernel.node.delivery.message_handlers import MessageHandlers, Report
from errorkernel.node.delivery.sender import Sender
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.backlog import Backlog
from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.incidents import Incidents
from errorkernel.node.journal.processes import Processes
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.tasks import CANCEL_AGAIN_S, cancel_all, keep_running
from errorkernel.node.threads import SerialThread

log = logging.getLogger("errorkernel.node")

HOUSEKEEPING_S = 1.0
ADOPT_EVERY = 5
"""Rounds of housekeeping between two checks for programs that have died."""
CLOSE_S = 1.0


class Delivery:
    """The tasks of one client. Each is started again after a fault of its own.

    ``report`` writes an event of a process. ``obey`` gets each decision once. ``when_isolated``, ``isolated_grace_s``:
    see ``Isolation``, whose ValueError is raised here. ``bandwidth``: see ``Pacer``.
    """

    def __init__(
        self,
        connection: Connection,
        journal: Journal,
        backlog: Backlog,
        incidents: Incidents,
        processes: Processes,
        thread: SerialThread,
        *,
        report: Report,
        obey: Callable[[Decision], None],
        when_isolated: Action | str | None,
        isolated_grace_s: float,
        bandwidth: float | None,
    ) -> None:
        self._node = connection.name
        self._journal = journal
        self._backlog = backlog
        self._processes = processes
        self._thread = thread
        self._has_connected = False
        self._tasks: list[asyncio.Task[None]] = []
        self.connection = connection
        self.sender = Sender(connection, backlog, thread, bandwidth=bandwidth)
        self.heartbeat = Heartbeat(self._node, connection, processes, backlog, thread)
        self.handlers = MessageHandlers(
            self._node,
            connection,
            Requeues(self._journal, self._node),
            thread,
            report=report,
            wake_sender=self.sender.wake,
        )
        self.receiver = DecisionReceiver(
            self._node,
            connection,
            incidents,
            thread,
            obey=obey,
            wake_sender=self.sender.wake,
            accept_command=self.handlers.accept,
            batches_accepted=self.sender.set_batch_limits,
        )
        self.isolation = Isolation(
            when_isolated,
            isolated_grace_s,
            receiver=self.receiver,
            incidents=incidents,
            thread=thread,
            obey=obey,
        )

    def start(self) -> None:
        """Connect, and start all tasks. The journal must be open. Returns at once; the broker need not be there."""
        self.connection.on_connected(self._on_connected)
        self.connection.start()
        parts: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.sender.run,
            self.receiver.receive,
            self.receiver.keep_reconciled,
            self.receiver.poll_journal,
            self.isolation.run,
            self.handlers.receive,
            self.handlers.run,
            self.heartbeat.run,
            self._maintain_journal,
            self._log_backlog,
        ]
        self._tasks = [asyncio.create_task(keep_running(part), name=f"{self._node}: {part.__name__}") for part in parts]

    def wake(self) -> None:
        """The journal has changed: send it, and a heartbeat soon. From the event loop's thread."""
        self.sender.wake()
        self.heartbeat.send_soon()

    async def flush(self, timeout_s: float) -> None:
        """Return when the broker has everything that this program reported. Raises TimeoutError, JournalError."""
        async with asyncio.timeout(timeout_s):
            while await self._thread.run(self._backlog.count_own):
                self.sender.wake()
                await asyncio.sleep(0.02)

    async def close(self, wait_s: float) -> None:
        """Send the unsent messages and a last heartbeat, then end all tasks and the connection.

        ``wait_s``: how long to wait for the first connection if something is unsent.
        """
        flush_s = await self._wait_for_first_connection(wait_s)
        if self.connection.connected:
            await self.heartbeat.send()
            with contextlib.suppress(TimeoutError, JournalError):
                await self.flush(flush_s)
        await cancel_all(self._tasks)
        await cancel_all([asyncio.create_task(self.connection.close())], first_s=CANCEL_AGAIN_S)

    async def _wait_for_first_connection(self, wait_s: float) -> float:
        """If something is unsent; returns for how many seconds to flush afterwards."""
        if self._has_connected or not wait_s:
            return CLOSE_S
        began = time.monotonic()
        with contextlib.suppress(BrokerAway, JournalError):
            if await self._thread.run(self._backlog.count_own):
                await self.connection.wait_until_ready(wait_s)
        return max(CLOSE_S, wait_s - (time.monotonic() - began))

    async def _on_connected(self) -> None:
        self._has_connected = True
        self.sender.on_connected()
        await self.receiver.on_connected()
        await self.handlers.on_connected()
        self.heartbeat.send_soon()

    async def _log_backlog(self) -> None:
        await backlog_log.watch(self._backlog, self._thread, lambda: self.connection.connected)

    async def _maintain_journal(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self._thread.run(self._journal.sync_to_disk)
            rounds += 1
            if rounds % ADOPT_EVERY == 0 and await self._thread.run(self._processes.adopt):
                log.warning("Took over what another program of %s has left behind", self._node)
                self.receiver.expect_losses()
                self.wake()
