"""Decides incidents on an isolated node: after the deadline, and only if the program was configured to do so.

The node decides after the deadline and a grace period, and only if it has not heard from the kernel since before the
deadline. Otherwise the kernel applies the deadline itself. Times are those of the monotonic clock, which nobody sets.
An incident whose program has ended is not decided here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from uuid import UUID

from errorkernel.domain.values import Action, Decision
from errorkernel.node.delivery.decisions import DecisionReceiver
from errorkernel.node.journal.incidents import Incidents
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread

log = logging.getLogger("errorkernel.node")

GRACE_S = 60.0
ACTIONS = (Action.CONTINUE, Action.KILL)


class Isolation:
    """``action``: the decision, None for never; ``obey`` gets it, once per incident.

    Raises ValueError for actions other than *continue* and *kill*.
    """

    def __init__(
        self,
        action: Action | str | None,
        grace_s: float,
        *,
        receiver: DecisionReceiver,
        incidents: Incidents,
        thread: SerialThread,
        obey: Callable[[Decision], None],
    ) -> None:
        self._action = None if action is None else Action(action)
        if self._action not in (None, *ACTIONS):
            raise ValueError(f"when_isolated is one of {', '.join(ACTIONS)}, or None.")
        if not 0 <= grace_s < math.inf:
            raise ValueError("isolated_grace_s is a number of seconds.")
        self._grace_s = grace_s
        self._receiver = receiver
        self._incidents = incidents
        self._thread = thread
        self._obey = obey
        self._deadlines: dict[UUID, float] = {}
        self._changed = asyncio.Event()

    def add(self, incident: UUID, deadline_s: float | None) -> None:
        """The incident has just been written."""
        if self._action is not None and deadline_s is not None:
            self._deadlines[incident] = time.monotonic() + deadline_s
            self._changed.set()

    def remove(self, incident: UUID) -> None:
        """Nobody waits for its decision any longer."""
        self._deadlines.pop(incident, None)

    async def run(self) -> None:
        """Decide incidents whose deadline has passed, until cancelled."""
        while True:
            await self._wait()
            if self._due():
                # The last contact may be older than necessary: ask the kernel now, so that only silence counts.
                await self._receiver.reconcile()
                for incident in self._due():
                    await self._decide(incident)

    async def _wait(self) -> None:
        self._changed.clear()
        first = min(self._deadlines.values(), default=None)
        pause_s = None if first is None else max(0.0, first + self._grace_s - time.monotonic())
        await wait_at_most(self._changed, pause_s)

    def _due(self) -> list[UUID]:
        """The incidents to decide now. Those whose deadline is before the last contact are left to the kernel."""
        now, last_contact = time.monotonic(), self._receiver.last_contact
        for incident in [each for each, deadline in self._deadlines.items() if deadline <= last_contact]:
            del self._deadlines[incident]
        return [each for each, deadline in self._deadlines.items() if deadline + self._grace_s <= now]

    async def _decide(self, incident: UUID) -> None:
        assert self._action is not None  # noqa: S101 - narrows the type
        reason = f"The kernel had not been heard from when {self._grace_s:g} s had passed since the deadline."
        decision = await self._thread.run(self._incidents.decide_locally, incident, self._action, reason)
        self._deadlines.pop(incident, None)
        if decision:
            log.warning("The node itself decides %s on %s. %s", decision.action, incident, reason)
            self._obey(decision)
