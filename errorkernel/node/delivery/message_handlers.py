"""Gives messages that an operator sends again to the functions of this program that handle them."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.domain.values import EventType, Message, OutcomeState, Requeue
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.reporting.event_builder import EventDraft, describe
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread
from errorkernel.protocol import commands, subjects
from errorkernel.protocol.errors import ProtocolError

log = logging.getLogger("errorkernel.node")

POLL_INTERVAL_S = 1.0
"""Another program that shares the journal may have received a command."""

MessageHandler = Callable[[Message], Awaitable[object] | object]
Report = Callable[[EventType, str, EventDraft], Awaitable[object]]


class MessageHandlers:
    """``report`` writes an event of a process; ``wake_sender`` is called when the backlog has grown."""

    def __init__(
        self,
        node: str,
        connection: Connection,
        requeues: Requeues,
        thread: SerialThread,
        *,
        report: Report,
        wake_sender: Callable[[], None],
    ) -> None:
        self._requeues = requeues
        self._thread = thread
        self._report = report
        self._wake_sender = wake_sender
        self._consumer = PullConsumer(connection, subjects.COMMANDS_STREAM, subjects.durable_of(node), batch=20)
        self._handlers: dict[str, MessageHandler] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def add(self, process: str, handler: MessageHandler) -> None:
        """Give messages of ``process`` to ``handler`` from now on. From the event loop's thread."""
        self._handlers[process] = handler
        self._changed.set()

    async def on_connected(self) -> None:
        """Call this on every new connection. Raises BrokerAway."""
        await self._consumer.open()

    async def receive(self) -> None:
        """Write the commands that the durable consumer delivers, until cancelled."""
        while True:
            for delivery in await self._consumer.get(20):
                try:
                    command = commands.decode(delivery.data)
                except ProtocolError as exc:
                    log.error("Rejected a malformed command: %s", exc)
                    await delivery.term()
                    continue
                await self.accept(command)
                await delivery.ack()

    async def accept(self, command: Requeue) -> bool:
        """A command has arrived, over the consumer or by reconciliation; False if it arrived before."""
        is_new = await self._thread.run(self._requeues.accept, command)
        self._changed.set()
        self._wake_sender()
        return is_new

    async def run(self) -> None:
        """Hand over waiting messages, one message of a process at a time, until cancelled."""
        try:
            while True:
                idle = [process for process in self._handlers if process not in self._running]
                command = await self._next(idle)
                if command is None:
                    await wait_at_most(self._changed, POLL_INTERVAL_S)
                    continue
                task = asyncio.create_task(self._handle(command), name=f"requeued message of {command.process}")
                self._running[command.process] = task
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _next(self, idle: list[str]) -> Requeue | None:
        self._changed.clear()
        if not idle or not await self._thread.run(self._requeues.has_waiting, idle):
            return None
        return await self._thread.run(self._requeues.begin, idle)

    async def _handle(self, command: Requeue) -> None:
        state, detail = OutcomeState.APPLIED, ""
        try:
            await self._call(command)
        except asyncio.CancelledError:
            state, detail = OutcomeState.FAILED, "The program ended while it worked on the message."
            raise
        except Exception as exc:
            state, detail = OutcomeState.FAILED, f"{type(exc).__name__}: {exc}"
            await self._report_failure(command, exc)
        finally:
            self._running.pop(command.process, None)
            try:
                await self._thread.run(self._requeues.end, command, state, detail)
            except JournalError as exc:
                log.error("The outcome of a requeued message cannot be written: %s", exc)
            self._changed.set()
            self._wake_sender()

    async def _call(self, command: Requeue) -> None:
        handler = self._handlers[command.process]
        if inspect.iscoroutinefunction(handler):
            await handler(command.message)
            return
        result = await asyncio.to_thread(handler, command.message)
        if inspect.isawaitable(result):
            await result

    async def _report_failure(self, command: Requeue, exc: Exception) -> None:
        try:
            await self._report(EventType.ERROR, command.process, describe(exc, {"message": command.message}))
        except JournalError as failure:
            log.error("A failure of %s (%s) cannot be written: %s", command.process, exc, failure)
