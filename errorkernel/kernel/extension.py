"""The interface by which a sender adds its own intake, tasks, rule step and retention to the kernel worker.

The kernel imports no sender. The caller that starts the worker passes the extension factories
(``errorkernel.senders.kernel``).
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import GatheringSource
from errorkernel.kernel.intake import Intake, TakeIn
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads


@dataclass(frozen=True, slots=True)
class KernelContext:
    """The parts of the worker that an extension can use. ``connection``: the kernel's own, to the product's broker;
    ``threads``: the thread of the kernel's transactions; ``make_intake``: an intake that stores and announces like the
    kernel's."""

    conf: Conf
    connection: Connection
    threads: DatabaseThreads
    make_intake: Callable[[GatheringSource, TakeIn], Intake]


class KernelExtension:
    """The additions of a sender; each default adds nothing. It is created before the worker's connection starts, so
    that it can register callbacks with ``connection.on_connected``."""

    def streams(self) -> Sequence[str]:
        """Its streams on the product's broker, which the kernel probes for storage."""
        return ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Called once, when the worker starts. A task that ends or raises ends the worker."""
        return ()

    def rule_step(self, *, now: datetime, two_above: int) -> bool:
        """Evaluate rules on the sender's own rows, in one transaction; returns whether more is left. Called when no
        incident waits for rules. ``two_above``: more kills and stops at once than this need an approval (0: never)."""
        return False

    def prune(self, *, now: datetime) -> int:
        """Delete one step of rows past their retention; returns how many, 0 when nothing is left."""
        return 0

    async def close(self) -> None:
        """Called after all tasks have ended."""


ExtensionFactory: TypeAlias = Callable[[KernelContext], KernelExtension]
