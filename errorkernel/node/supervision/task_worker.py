"""Workers that are asyncio tasks of this program: light, but they can only be cancelled, not killed.

A task that swallows its cancellation goes on; *kill* is then reported as failed. Use a process worker where *kill* must
be certain.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Unpack
from uuid import UUID

from errorkernel.domain.values import Action, EventType, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.reporting.event_builder import AskDetails, Details, EventDraft, describe
from errorkernel.node.supervision.interfaces import Host
from errorkernel.node.supervision.worker import SupervisedWorker

log = logging.getLogger("errorkernel.node")


class Context:
    """The argument of a task worker's function: it reports and asks for the worker."""

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
        """Block until the decision. Returns only for *continue*: otherwise the worker is ended while it waits here."""
        self._worker.last_failure = describe(error, details)
        decision = await self._worker.kernel.request_decision(self.process, self._worker.last_failure)
        if decision.action is not Action.CONTINUE:
            self._worker.obey(decision)
            await asyncio.get_running_loop().create_future()
        await self._worker.kernel.report_outcome(decision, OutcomeState.APPLIED)
        return decision.action


class _TaskIncarnation:
    failure: EventDraft | None = None

    def __init__(self, ended: "asyncio.Task[bool]") -> None:
        self.ended: asyncio.Future[bool] = ended
        self.pid: int | None = os.getpid()

    async def end(self, grace_s: float) -> bool:
        self.ended.cancel()
        await asyncio.wait({self.ended}, timeout=grace_s)
        return self.ended.done()


class TaskWorker(SupervisedWorker):
    """``async function(ctx)`` as a supervised task. For ``options`` see ``SupervisedWorker``."""

    def __init__(self, kernel: Host, name: str, function: Callable[[Context], Awaitable[None]], **options: Any) -> None:
        super().__init__(kernel, name, **options)
        self._function = function

    async def start_incarnation(self, mark: str) -> _TaskIncarnation:
        task = asyncio.create_task(self._run(Context(self)), name=f"{self.name}, incarnation {self.incarnation}")
        return _TaskIncarnation(task)

    async def _run(self, context: Context) -> bool:
        """Run the function; returns whether it failed."""
        try:
            await self._function(context)
        except asyncio.CancelledError:
            # Also one that nobody ordered: a task that cancelled itself has failed.
            return True
        except Exception as exc:
            try:
                await (context.ask(exc) if self.asks else self.report_failure(describe(exc, {})))
            except JournalError as failure:
                log.exception("A failure of %s cannot be written: %s", self.name, failure)
            return True
        return False
