"""Hands messages that an operator gave back to whoever in this program has said that it takes them."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.domain.values import EventType, Message, OutcomeState, Requeue
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.reporting.event_builder import Report, describe
from errorkernel.node.threads import OwnThread
from errorkernel.protocol import commands, subjects
from errorkernel.protocol.errors import ProtocolError

log = logging.getLogger("errorkernel.node")

LOOK_INTERVAL_S = 1.0
"""Another program that shares the journal may have received it."""

Taker = Callable[[Message], Awaitable[object] | object]
ReportError = Callable[[EventType, str, Report], Awaitable[object]]


class Takers:
    """``report`` writes a report of a process down; ``more_to_send`` is called when there is something to send."""

    def __init__(
        self,
        node: str,
        connection: Connection,
        requeues: Requeues,
        thread: OwnThread,
        *,
        report: ReportError,
        more_to_send: Callable[[], None],
    ) -> None:
        self._requeues = requeues
        self._thread = thread
        self._report = report
        self._more_to_send = more_to_send
        self._source = PullConsumer(connection, subjects.COMMANDS_STREAM, subjects.durable_of(node), batch=20)
        self._takers: dict[str, Taker] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._look = asyncio.Event()

    def add(self, process: str, taker: Taker) -> None:
        """Messages of ``process`` go to ``taker`` from now on. From the event loop's thread."""
        self._takers[process] = taker
        self._look.set()

    async def connected(self) -> None:
        """To be called on every new connection. Raises BrokerAway."""
        await self._source.open()

    async def receive(self) -> None:
        """Write down what the durable consumer delivers, for ever."""
        while True:
            for delivery in await self._source.get(20):
                try:
                    command = commands.decode(delivery.data)
                except ProtocolError as exc:
                    log.error("A command cannot be read and is passed over: %s", exc)
                    await delivery.term()
                    continue
                await self.take(command)
                await delivery.ack()

    async def take(self, command: Requeue) -> bool:
        """A command has arrived, by the consumer or by a sync; False where it was known."""
        new = await self._thread.run(self._requeues.take, command)
        self._look.set()
        self._more_to_send()
        return new

    async def run(self) -> None:
        """Hand over what waits, one message of a process at a time, for ever."""
        try:
            while True:
                idle = [process for process in self._takers if process not in self._busy]
                command = await self._next(idle)
                if command is None:
                    await self._wait()
                    continue
                task = asyncio.create_task(self._hand_over(command), name=f"requeued message of {command.process}")
                self._busy[command.process] = task
        finally:
            busy = list(self._busy.values())
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    async def _next(self, idle: list[str]) -> Requeue | None:
        self._look.clear()
        if not idle or not await self._thread.run(self._requeues.any_waiting, idle):
            return None
        return await self._thread.run(self._requeues.begin, idle)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_INTERVAL_S):
                await self._look.wait()
        except TimeoutError:
            pass

    async def _hand_over(self, command: Requeue) -> None:
        state, detail = OutcomeState.APPLIED, ""
        try:
            await self._call(command)
        except asyncio.CancelledError:
            state, detail = OutcomeState.FAILED, "The program ended while it worked on the message."
            raise
        except Exception as exc:
            state, detail = OutcomeState.FAILED, f"{type(exc).__name__}: {exc}"
            await self._failed(command, exc)
        finally:
            self._busy.pop(command.process, None)
            try:
                await self._thread.run(self._requeues.end, command, state, detail)
            except JournalError as exc:
                log.error("What became of a requeued message cannot be written down: %s", exc)
            self._look.set()
            self._more_to_send()

    async def _call(self, command: Requeue) -> None:
        taker = self._takers[command.process]
        if inspect.iscoroutinefunction(taker):
            await taker(command.message)
            return
        result = await asyncio.to_thread(taker, command.message)
        if inspect.isawaitable(result):
            await result

    async def _failed(self, command: Requeue, exc: Exception) -> None:
        try:
            await self._report(EventType.ERROR, command.process, describe(exc, {"message": command.message}))
        except JournalError as failed:
            log.error("A failure of %s (%s) cannot be written down: %s", command.process, exc, failed)
