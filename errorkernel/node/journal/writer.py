"""How a report gets into the journal: at once where nothing is in the way, else in turn, in the journal's thread.

At once holds the event loop up for less than a hop to a thread would. In the order in which it is called, either way.
"""

import asyncio
import contextlib
from collections.abc import Callable, Container
from uuid import UUID

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import EventType
from errorkernel.node.journal.backlog import ERROR, INFO, Outgoing
from errorkernel.node.journal.database import WouldWait
from errorkernel.node.reporting.event_builder import Report, event_of
from errorkernel.node.reporting.fit import fit
from errorkernel.node.threads import OwnThread


class Writing:
    """Of one program. ``incarnation`` gives that of a process, and blocks for one that is not in ``known`` yet."""

    def __init__(
        self,
        subject: str,
        outgoing: Outgoing,
        thread: OwnThread,
        *,
        incarnation: Callable[[str], int],
        known: Container[str],
    ) -> None:
        self._subject = subject
        self._outgoing = outgoing
        self._thread = thread
        self._incarnation = incarnation
        self._known = known
        self._queued = 0
        """Reports that were given to the journal's thread; counted by the event loop's thread alone."""
        self._written = 0
        """How many of these are done; counted by the journal's thread alone."""
        self._others_wait = False
        """A report was made since the event loop last came round."""

    async def write(self, kind: EventType, name: str, report: Report) -> tuple[UUID, bool]:
        """(id, whether the journal now holds too many). From the event loop. Raises JournalError."""
        if self._queued == self._written and name in self._known:
            with contextlib.suppress(WouldWait):
                written = self.write_now(kind, name, report, wait=False)
                await self._let_others_run()
                return written
        self._queued += 1
        return await self._thread.run(self._in_turn, kind, name, report)

    def write_now(self, kind: EventType, name: str, report: Report, *, wait: bool = True) -> tuple[UUID, bool]:
        """As ``write``, from any thread, blocking. ``wait=False``: raises WouldWait instead."""
        event = event_of(report, uuid7(), kind, name, self._incarnation(name))
        weight = INFO if kind is EventType.INFO else ERROR
        payload = fit(event)
        return event.id, self._outgoing.report(name, self._subject, str(event.id), weight, payload, wait=wait)

    def _in_turn(self, kind: EventType, name: str, report: Report) -> tuple[UUID, bool]:
        try:
            return self.write_now(kind, name, report)
        finally:
            self._written += 1

    async def _let_others_run(self) -> None:
        # Whoever reports in a loop must not keep all others from running; whoever reports once need not wait for them.
        if self._others_wait:
            await asyncio.sleep(0)
        else:
            self._others_wait = True
            asyncio.get_running_loop().call_soon(self._others_ran)

    def _others_ran(self) -> None:
        self._others_wait = False
