"""Workers that are asyncio tasks of this program: light, but they can only be cancelled, not killed.

A task that swallows its cancellation goes on, and *kill* is then reported as failed. Where kill must be real, use a
process worker.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Unpack
from uuid import UUID

from errorkernel.domain.values import Action, EventType, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.reporting.event_builder import AskDetails, Details, Report, describe
from errorkernel.node.supervision.interfaces import Host
from errorkernel.node.supervision.worker import Supervised

log = logging.getLogger("errorkernel.node")


class Context:
    """What a task worker's function is given: it reports and asks in the worker's name."""

    def __init__(self, worker: "TaskWorker") -> None:
        self._worker = worker
        self.process = worker.name
        self.incarnation = worker.incarnation

    async def error(self, error: BaseException | str, **details: Unpack[Details]) -> UUID:
        """As ``Kernel.error``."""
        self._worker.last_failure = describe(error, details)
        return await self._worker.kernel.report(EventType.ERROR, self.process, self._worker.last_failure)

    async def info(self, text: str, **details: Unpack[Details]) -> UUID:
        """As ``Kernel.info``."""
        return await self._worker.kernel.report(EventType.INFO, self.process, describe(text, details))

    async def ask(self, error: BaseException | str, **details: Unpack[AskDetails]) -> Action:
        """Block for the answer. Returns only for *continue*: otherwise the worker is ended while it waits here."""
        self._worker.last_failure = describe(error, details)
        decision = await self._worker.kernel.put(self.process, self._worker.last_failure)
        if decision.action is not Action.CONTINUE:
            self._worker.obey(decision)
            await asyncio.get_running_loop().create_future()
        await self._worker.kernel.settle(decision, OutcomeState.APPLIED)
        return decision.action


class _TaskLife:
    failure: Report | None = None

    def __init__(self, ended: "asyncio.Task[bool]") -> None:
        self.ended: asyncio.Future[bool] = ended
        self.pid: int | None = os.getpid()

    async def end(self, grace_s: float) -> bool:
        self.ended.cancel()
        await asyncio.wait({self.ended}, timeout=grace_s)
        return self.ended.done()


class TaskWorker(Supervised):
    """``async function(ctx)`` as a task, supervised. For ``options`` see ``Supervised``."""

    def __init__(self, kernel: Host, name: str, function: Callable[[Context], Awaitable[None]], **options: Any) -> None:
        super().__init__(kernel, name, **options)
        self._function = function

    async def bring_to_life(self, life_mark: str) -> _TaskLife:
        task = asyncio.create_task(self._run(Context(self)), name=f"{self.name}, incarnation {self.incarnation}")
        return _TaskLife(task)

    async def _run(self, context: Context) -> bool:
        """Whether it failed."""
        try:
            await self._function(context)
        except asyncio.CancelledError:
            # Also one that nobody ordered: a task that cancelled itself has come to no good end.
            return True
        except Exception as exc:
            try:
                await (context.ask(exc) if self.asks else self.report_failure(describe(exc, {})))
            except JournalError as failed:
                log.exception("A failure of %s cannot be written down: %s", self.name, failed)
            return True
        return False
