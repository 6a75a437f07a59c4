"""``Supervisor``: workers that belong together, in the terms of OTP.

It is a process of the node itself: incidents about children that were restarted too often are its incidents.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

from errorkernel.domain.values import Decision
from errorkernel.node.errors import JournalError
from errorkernel.node.process.worker import ProcessWorker
from errorkernel.node.reporting.event_builder import process_name
from errorkernel.node.supervision.group import Group
from errorkernel.node.supervision.interfaces import Child, Host
from errorkernel.node.supervision.restart_policy import INTENSITY, PERIOD_S, Policy
from errorkernel.node.supervision.strategy import Strategy
from errorkernel.node.supervision.task_worker import Context, TaskWorker
from errorkernel.node.supervision.worker import SupervisedWorker, reserve_name

W = TypeVar("W", bound=SupervisedWorker)


class Supervisor:
    """``strategy``: which siblings restart with a failed child. ``intensity``, ``period_s``: how many restarts a child
    may have before it is quarantined, unless the child says otherwise."""

    def __init__(
        self,
        kernel: Host,
        name: str,
        *,
        strategy: Strategy | str = Strategy.ONE_FOR_ONE,
        intensity: int = INTENSITY,
        period_s: float = PERIOD_S,
    ) -> None:
        self.name = process_name(name)
        self.incarnation = 0
        self._kernel = kernel
        self._strategy = Strategy(strategy)
        self._defaults: dict[str, Any] = {"intensity": intensity, "period_s": period_s}
        Policy(**self._defaults)  # Raises ValueError here, not at the first child.
        self._group: Group | None = None

    @property
    def children(self) -> tuple[Child, ...]:
        """In the order in which they are started."""
        return tuple(self._group.children) if self._group else ()

    async def __aenter__(self) -> Self:
        """Start its own next incarnation. Raises ProcessTaken, JournalError."""
        reserve_name(self._kernel, self.name)
        try:
            await self._start(None)
        except BaseException:
            self._kernel.supervised_names.discard(self.name)
            raise
        self._group = Group(self._kernel, self.name, strategy=self._strategy, start_above=self._start_next)
        self._group.run()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End the children for good, the last started first; one_for_one: all at the same time."""
        if self._group:
            await self._group.close()
        with contextlib.suppress(JournalError):
            await self._kernel.call(self._kernel.processes.set_state, self.name, "stopped")
        self._kernel.supervised_names.discard(self.name)
        self._kernel.wake()

    def process(
        self,
        name: str,
        command: Sequence[str] | Callable[..., object],
        *arguments: object,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> ProcessWorker:
        """Start an operating-system process, as ``Kernel.process_worker``, after the existing children.

        It starts in the background; an error at the start counts as a failure. Raises ProcessTaken if this program
        already runs one of that name.
        """
        given = {**self._defaults, **options}
        worker = ProcessWorker(self._kernel, name, command, arguments, env=env, cwd=cwd, **given)
        return self._add(worker)

    def task(self, name: str, function: Callable[[Context], Awaitable[None]], **options: Any) -> TaskWorker:
        """Start a task, as ``Kernel.worker``, after the existing children. Raises ProcessTaken."""
        worker = TaskWorker(self._kernel, name, function, **{**self._defaults, **options})
        return self._add(worker)

    async def wait(self) -> None:
        """Return when no child runs or is to be started again; a quarantined one waits for its decision."""
        while any(not child.finished.is_set() for child in self.children):
            await asyncio.gather(*(child.finished.wait() for child in self.children))

    def _add(self, child: W) -> W:
        if self._group is None:
            raise RuntimeError("Children can only be added inside of the `async with` of their supervisor.")
        child.join(self._group)
        self._group.add(child)
        return child

    async def _start(self, decision: Decision | None) -> None:
        started = await self._kernel.call(
            self._kernel.processes.start,
            self.name,
            worker=True,
            pid=os.getpid(),
            keep=decision.incident if decision else None,
        )
        self.incarnation = started.incarnation
        self._kernel.set_incarnation(self.name, started.incarnation)

    async def _start_next(self, decision: Decision) -> int | None:
        try:
            await self._start(decision)
        except JournalError:
            return None  # It keeps its number; its children are started again all the same.
        return self.incarnation
