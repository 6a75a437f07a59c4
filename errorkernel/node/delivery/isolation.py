"""What a node does with a question when its deadline has passed and nobody can be reached: nothing, unless told so.

Told so, it answers by itself, later than the deadline and a grace, and only if it has not heard from the kernel since
before the deadline: otherwise the kernel has met the deadline, or will, and whatever it says or does not say counts.
Times are the monotonic clock's, which nobody sets. A question that its program did not outlive is not answered here.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from uuid import UUID

from errorkernel.domain.values import Action, Decision
from errorkernel.node.delivery.decisions import Answers
from errorkernel.node.journal.incidents import Questions
from errorkernel.node.threads import OwnThread

log = logging.getLogger("errorkernel.node")

GRACE_S = 60.0
POSSIBLE = (Action.CONTINUE, Action.KILL)


class Isolation:
    """``action``: the answer, None for never; ``obey`` gets it, once a question. Raises ValueError for other actions
    than *continue* and *kill*."""

    def __init__(
        self,
        action: Action | str | None,
        grace_s: float,
        *,
        answers: Answers,
        questions: Questions,
        thread: OwnThread,
        obey: Callable[[Decision], None],
    ) -> None:
        self._action = None if action is None else Action(action)
        if self._action not in (None, *POSSIBLE):
            raise ValueError(f"when_isolated is one of {', '.join(POSSIBLE)}, or None.")
        if not 0 <= grace_s < math.inf:
            raise ValueError("isolated_grace_s is a number of seconds.")
        self._grace_s = grace_s
        self._answers = answers
        self._questions = questions
        self._thread = thread
        self._obey = obey
        self._deadlines: dict[UUID, float] = {}
        self._more = asyncio.Event()

    def asked(self, incident: UUID, deadline_s: float | None) -> None:
        """The question has just been written down."""
        if self._action is not None and deadline_s is not None:
            self._deadlines[incident] = time.monotonic() + deadline_s
            self._more.set()

    def over(self, incident: UUID) -> None:
        """Nobody waits for its answer any longer."""
        self._deadlines.pop(incident, None)

    async def run(self) -> None:
        """Answer what is due, for ever."""
        while True:
            await self._wait()
            if self._due():
                # The last word may be older than it need be: they are asked now, and only silence counts.
                await self._answers.sync()
                for incident in self._due():
                    await self._answer(incident)

    async def _wait(self) -> None:
        self._more.clear()
        first = min(self._deadlines.values(), default=None)
        pause_s = None if first is None else max(0.0, first + self._grace_s - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._more.wait()

    def _due(self) -> list[UUID]:
        """Those whose time has come; the ones that the kernel has been heard since are left to it for good."""
        heard_at, now = self._answers.heard_at, time.monotonic()
        for incident in [one for one, deadline in self._deadlines.items() if deadline <= heard_at]:
            del self._deadlines[incident]
        return [one for one, deadline in self._deadlines.items() if deadline + self._grace_s <= now]

    async def _answer(self, incident: UUID) -> None:
        assert self._action is not None  # noqa: S101 - narrows the type
        reason = f"The kernel had not been heard from when {self._grace_s:g} s had passed since the deadline."
        decision = await self._thread.run(self._questions.answer_alone, incident, self._action, reason)
        self._deadlines.pop(incident, None)
        if decision:
            log.warning("%s is answered %s by the node itself. %s", incident, decision.action, reason)
            self._obey(decision)
