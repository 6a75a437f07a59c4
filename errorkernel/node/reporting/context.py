"""``@kernel.reports()`` and ``with kernel.reporting():`` report the exceptions that leave a function or a block.

If reporting fails, the program still gets its own exception and no other. An exception that could not be reported is
never swallowed. Interrupts, exits and cancellations are not errors.
"""

import functools
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast
from uuid import UUID

from errorkernel.domain.values import Action, EventType
from errorkernel.node.errors import NodeError
from errorkernel.node.reporting import once
from errorkernel.node.reporting.event_builder import AskDetails, EventDraft, describe

log = logging.getLogger("errorkernel.node")

P = ParamSpec("P")
R = TypeVar("R")


class Reporter(ABC):
    """The common base of ``Kernel`` and ``BlockingKernel``."""

    blocks_thread: bool
    """Whether ``ask`` blocks its thread; otherwise it is awaited."""

    def __init__(self) -> None:
        self.on_failure: Callable[[BaseException], None] | None = None
        """Called with the exception that leaves the ``with`` of this kernel, while it can still be reported."""

    @abstractmethod
    def report_now(self, kind: EventType, process: str, draft: EventDraft) -> UUID:
        """Write an event that has been described; returns its id. From any thread, blocking. Raises NodeError."""

    async def report(self, kind: EventType, process: str, draft: EventDraft) -> UUID:
        """As ``report_now``, awaited."""
        return self.report_now(kind, process, draft)

    @abstractmethod
    def ask(self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]) -> Any:
        """The action of the decision, or an awaitable of it."""

    def reports(
        self, process: str = "", *, reraise: bool = True, ask: bool = False, **details: Unpack[AskDetails]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function (plain, async, or a generator) with ``reporting``."""
        return self.reporting(process, reraise=reraise, ask=ask, **details).around

    def reporting(
        self, process: str = "", *, reraise: bool = True, ask: bool = False, **details: Unpack[AskDetails]
    ) -> "Reporting":
        """``with`` or ``async with``: an exception that leaves the block is reported, then raised.

        ``reraise=False``: it is suppressed, and the block ends. ``ask=True``: it opens an incident; *continue*
        suppresses it, *kill* and *stop* raise it. ``details``: those of ``error`` and ``ask``. Raises TypeError,
        ValueError for wrong details.
        """
        return Reporting(self, process, reraise, ask, cast(dict[str, Any], details))

    def notify_failure(self, exc: BaseException | None) -> None:
        """Tell the hook that ``exc`` leaves the ``with`` of this kernel."""
        if exc is not None and self.on_failure:
            self.on_failure(exc)


class Reporting:
    """Created by ``Reporter.reporting``. May be entered repeatedly, by several threads and tasks."""

    def __init__(self, kernel: Reporter, process: str, reraise: bool, ask: bool, details: dict[str, Any]) -> None:
        describe("", details)  # wrong details raise here, not when something fails
        self._kernel = kernel
        self._process = process
        self._reraise = reraise
        self._ask = ask
        self._details = details

    def __enter__(self) -> Self:
        self._check(awaits=False)
        return self

    def __exit__(self, kind: object, exc: BaseException | None, frames: TracebackType | None) -> bool:
        if not isinstance(exc, Exception):
            return False
        try:
            if self._ask:
                return bool(self._kernel.ask(exc, process=self._process, **self._details) is Action.CONTINUE)
            if not once.is_marked(exc):
                self._kernel.report_now(EventType.ERROR, self._process, describe(exc, self._details))
        except Exception as failure:
            return _log_failure(failure)
        once.mark(exc)
        return not self._reraise

    async def __aenter__(self) -> Self:
        self._check(awaits=True)
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, frames: TracebackType | None) -> bool:
        if not isinstance(exc, Exception):
            return False
        try:
            if self._ask:
                return await self._kernel.ask(exc, process=self._process, **self._details) is Action.CONTINUE
            if not once.is_marked(exc):
                await self._kernel.report(EventType.ERROR, self._process, describe(exc, self._details))
        except Exception as failure:
            return _log_failure(failure)
        once.mark(exc)
        return not self._reraise

    def around(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, wrapped in this block. Raises TypeError for what cannot be decorated."""
        if inspect.iscoroutinefunction(function):
            self._check(awaits=True)

            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with self:
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], functools.wraps(function)(awaited))
        if inspect.isasyncgenfunction(function) or isinstance(function, type) or not callable(function):
            raise TypeError(
                "Only plain functions, async functions and generators can be decorated. Use reporting() inside."
            )
        self._check(awaits=False)
        if inspect.isgeneratorfunction(function):

            def generated(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
                with self:
                    return (yield from function(*args, **kwargs))

            return cast(Callable[P, R], functools.wraps(function)(generated))

        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self:
                return function(*args, **kwargs)

        return cast(Callable[P, R], functools.wraps(function)(called))

    def _check(self, *, awaits: bool) -> None:
        if self._ask and awaits is self._kernel.blocks_thread:
            kind = "Kernel" if awaits else "BlockingKernel"
            raise TypeError(f"Only a {kind} can ask here: the other would block the loop that receives the decision.")


def _log_failure(failure: Exception) -> bool:
    log.error("An exception could not be reported: %s", failure, exc_info=not isinstance(failure, NodeError))
    return False
