"""Asks the rules about questions that have been stored, at once and in the order in which they opened.

In a thread of its own: however many questions there are, the intake stores on between two answers.
"""

import asyncio
from datetime import UTC, datetime

from errorkernel.kernel.outbox import OutboxTask
from errorkernel.live import Announcer
from errorkernel.store import judging
from errorkernel.threads import DatabaseThreads

LOOK_INTERVAL_S = 1.0
"""How soon a question is found whose kernel died before it asked, or that a changed rule shall be asked about."""


class Judge:
    def __init__(self, announcer: Announcer, outbox: OutboxTask) -> None:
        self._announcer = announcer
        self._outbox = outbox
        self._threads = DatabaseThreads("rules")
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There are questions: do not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_INTERVAL_S)
            except TimeoutError:
                pass
            self._wake.clear()
            while await self._judge_some():
                pass

    async def _judge_some(self) -> bool:
        """True when there may be more to judge."""
        judged = await self._threads.run(judging.judge, now=datetime.now(UTC))
        if judged.changed:
            self._announcer.add([], judged.changed)
        if judged.answered:
            self._outbox.wake()
        return judged.looked_at > 0

    def close(self) -> None:
        self._threads.close()
