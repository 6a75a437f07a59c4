"""``@kernel.reports()`` and ``with kernel.reporting():``: what fails in there is reported, and goes on its way.

Whatever goes wrong with the report itself, the program meets its own exception and no other. What could not be reported
is never swallowed. Interrupts, exits and cancellations are no errors.
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
from errorkernel.node.reporting.event_builder import AskDetails, Report, describe

log = logging.getLogger("errorkernel.node")

P = ParamSpec("P")
R = TypeVar("R")


class Reporter(ABC):
    """What ``Kernel`` and ``BlockingKernel`` have in common."""

    waits_in_thread: bool
    """Whether ``ask`` blocks its thread; else it is awaited."""

    def __init__(self) -> None:
        self.on_failure: Callable[[BaseException], None] | None = None
        """Called with what leaves the ``with`` of this kernel, while it can still be reported."""

    @abstractmethod
    def report_now(self, kind: EventType, process: str, report: Report) -> UUID:
        """Write a report down that has been described already. From any thread, blocking. Raises NodeError."""

    async def report(self, kind: EventType, process: str, report: Report) -> UUID:
        """As ``report_now``, awaited."""
        return self.report_now(kind, process, report)

    @abstractmethod
    def ask(self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]) -> Any:
        """The answer, or an awaitable of it."""

    def reports(
        self, process: str = "", *, reraise: bool = True, ask: bool = False, **details: Unpack[AskDetails]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorates a function, plain, async or a generator: as ``reporting`` around what it does."""
        return self.reporting(process, reraise=reraise, ask=ask, **details).around

    def reporting(
        self, process: str = "", *, reraise: bool = True, ask: bool = False, **details: Unpack[AskDetails]
    ) -> "Reporting":
        """``with`` or ``async with``: an exception that leaves the block is reported, then raised.

        ``reraise=False``: it ends there, and the block with it. ``ask=True``: it is asked about; *continue* ends it
        there, *kill* and *stop* raise it. ``details``: as of ``error`` and ``ask``. Raises TypeError, ValueError for
        details that are none.
        """
        return Reporting(self, process, reraise, ask, cast(dict[str, Any], details))

    def failing(self, exc: BaseException | None) -> None:
        """``exc`` leaves the ``with`` of this kernel."""
        if exc is not None and self.on_failure:
            self.on_failure(exc)


class Reporting:
    """Made by ``Reporter.reporting``. May be entered any number of times, by several threads and tasks."""

    def __init__(self, kernel: Reporter, process: str, reraise: bool, ask: bool, details: dict[str, Any]) -> None:
        describe("", details)  # here, and not when something fails, it is told what is wrong with them
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
        except Exception as failed:
            return _told(failed)
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
        except Exception as failed:
            return _told(failed)
        once.mark(exc)
        return not self._reraise

    def around(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, in this block whenever it runs. Raises TypeError for what cannot be decorated."""
        if inspect.iscoroutinefunction(function):
            self._check(awaits=True)

            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with self:
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], functools.wraps(function)(awaited))
        if inspect.isasyncgenfunction(function) or isinstance(function, type) or not callable(function):
            raise TypeError("Functions can be decorated: plain ones, async ones, generators. Use reporting() inside.")
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
        if self._ask and awaits is self._kernel.waits_in_thread:
            face = "Kernel" if awaits else "BlockingKernel"
            raise TypeError(f"Only a {face} can ask here: the other one would hold up what has to bring the answer.")


def _told(failed: Exception) -> bool:
    log.error("An exception could not be reported: %s", failed, exc_info=not isinstance(failed, NodeError))
    return False
