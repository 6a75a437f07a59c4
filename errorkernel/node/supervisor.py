"""``Supervisor``: workers that belong together, in OTP's words.

It is a process of the node itself, so that there is somebody one level up in whose name it is asked what is to become
of children that were restarted too often.
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
from errorkernel.node.supervision.worker import Supervised, take_name

W = TypeVar("W", bound=Supervised)


class Supervisor:
    """``strategy``: whom a child's failure takes along. ``intensity``, ``period_s``: how many restarts a child may have
    before it is quarantined, where the child itself says nothing else."""

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
        """Begin its own next incarnation. Raises ProcessTaken, JournalError."""
        take_name(self._kernel, self.name)
        try:
            await self._begin(None)
        except BaseException:
            self._kernel.supervised.discard(self.name)
            raise
        self._group = Group(self._kernel, self.name, strategy=self._strategy, renew=self._renew)
        self._group.run()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End the children for good, the last started first; one_for_one: all at the same time."""
        if self._group:
            await self._group.close()
        with contextlib.suppress(JournalError):
            await self._kernel.call(self._kernel.roster.set_state, self.name, "stopped")
        self._kernel.supervised.discard(self.name)
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
        """Start an operating-system process, as ``Kernel.process_worker``, after the children that there are already.

        It is started in the background; what keeps it from being started is treated like a failure. Raises
        ProcessTaken where this program runs one of that name.
        """
        given = {**self._defaults, **options}
        worker = ProcessWorker(self._kernel, name, command, arguments, env=env, cwd=cwd, **given)
        return self._added(worker)

    def task(self, name: str, function: Callable[[Context], Awaitable[None]], **options: Any) -> TaskWorker:
        """Start a task, as ``Kernel.worker``, after the children that there are already. Raises ProcessTaken."""
        worker = TaskWorker(self._kernel, name, function, **{**self._defaults, **options})
        return self._added(worker)

    async def wait(self) -> None:
        """Return when no child runs or is to be started again; one that is quarantined waits for its answer."""
        while any(not child.over.is_set() for child in self.children):
            await asyncio.gather(*(child.over.wait() for child in self.children))

    def _added(self, child: W) -> W:
        if self._group is None:
            raise RuntimeError("A supervisor takes children inside of its `async with`.")
        child.join(self._group)
        self._group.add(child)
        return child

    async def _begin(self, order: Decision | None) -> None:
        begun = await self._kernel.call(
            self._kernel.roster.begin,
            self.name,
            worker=True,
            pid=os.getpid(),
            keep=order.incident if order else None,
        )
        self.incarnation = begun.incarnation
        self._kernel.began(self.name, begun.incarnation)

    async def _renew(self, order: Decision) -> int | None:
        try:
            await self._begin(order)
        except JournalError:
            return None  # It goes on under its number: its children are started anew all the same.
        return self.incarnation
