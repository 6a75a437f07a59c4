"""Writes events into the journal: at once if nothing is in the way, else in turn, in the thread of the journal.

Writing at once holds the event loop up for less time than a hop to a thread. Either way the order of the calls is kept.
"""

import asyncio
import contextlib
from collections.abc import Callable, Container
from uuid import UUID

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import EventType
from errorkernel.node.journal.backlog import ERROR, INFO, Backlog
from errorkernel.node.journal.database import JournalBusy
from errorkernel.node.reporting.event_builder import EventDraft, build_event
from errorkernel.node.reporting.fit import fit
from errorkernel.node.threads import SerialThread


class EventWriter:
    """Writes the events of one program. ``incarnation_of`` blocks for a process that is not in ``known`` yet."""

    def __init__(
        self,
        subject: str,
        backlog: Backlog,
        thread: SerialThread,
        *,
        incarnation_of: Callable[[str], int],
        known: Container[str],
    ) -> None:
        self._subject = subject
        self._backlog = backlog
        self._thread = thread
        self._incarnation_of = incarnation_of
        self._known = known
        self._queued = 0
        """Events that were given to the journal's thread; counted by the event loop's thread alone."""
        self._written = 0
        """How many of these are written; counted by the journal's thread alone."""
        self._others_wait = False
        """An event was written since the event loop last ran other tasks."""

    async def write(self, kind: EventType, process: str, draft: EventDraft) -> tuple[UUID, bool]:
        """Returns the id, and whether the backlog is now over its bound. From the event loop. Raises JournalError."""
        if self._queued == self._written and process in self._known:
            with contextlib.suppress(JournalBusy):
                written = self.write_now(kind, process, draft, wait=False)
                await self._let_others_run()
                return written
        self._queued += 1
        return await self._thread.run(self._write_in_turn, kind, process, draft)

    def write_now(self, kind: EventType, process: str, draft: EventDraft, *, wait: bool = True) -> tuple[UUID, bool]:
        """As ``write``, from any thread, blocking. ``wait=False``: raises JournalBusy instead of waiting."""
        event = build_event(draft, uuid7(), kind, process, self._incarnation_of(process))
        weight = INFO if kind is EventType.INFO else ERROR
        return event.id, self._backlog.add(process, self._subject, str(event.id), weight, fit(event), wait=wait)

    def _write_in_turn(self, kind: EventType, process: str, draft: EventDraft) -> tuple[UUID, bool]:
        try:
            return self.write_now(kind, process, draft)
        finally:
            self._written += 1

    async def _let_others_run(self) -> None:
        # A task that reports in a loop must not starve the others; a task that reports once need not yield.
        if self._others_wait:
            await asyncio.sleep(0)
        else:
            self._others_wait = True
            asyncio.get_running_loop().call_soon(self._others_ran)

    def _others_ran(self) -> None:
        self._others_wait = False
