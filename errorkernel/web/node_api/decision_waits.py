"""Requests of nodes that wait for a decision.

A wait costs nothing while nothing happens: the hub wakes it when its incident changes, and reads the number of the last
change once a second for all waits together. Look-ups and deliveries of all waits share their statements.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID

from django.db import InterfaceError, OperationalError

from errorkernel.domain import values
from errorkernel.domain.incident_state import State
from errorkernel.platform.batched_calls import BatchedCalls
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.incidents import decisions
from errorkernel.store.incidents.decisions import DecisionState

log = logging.getLogger("errorkernel.gateway")

APPEAR_WAIT_S = 5.0
"""An incident that is not stored yet may be on its way through the kernel: so long is it waited for."""

WaitIncident = Callable[[UUID, float], Awaitable[None]]
Announce = Callable[[list[UUID]], Awaitable[None]]


class TooManyWaits(Exception):
    """The node has as many waits as it may have."""


class Withdrawn(Exception):
    """The incident was withdrawn: no decision will come."""


class UnknownHere(Exception):
    """The node has no such incident."""


class DecisionWaits:
    """One a web process. ``per_node``: waits that a node may have at the same time.

    ``wait_incident`` returns when that incident changed or after the seconds given, ``announce`` publishes changed
    incidents.
    """

    def __init__(
        self, threads: DatabaseThreads, *, wait_incident: WaitIncident, announce: Announce, per_node: int
    ) -> None:
        self._threads = threads
        self._wait_incident = wait_incident
        self._announce = announce
        self._per_node = per_node
        self._waiting: Counter[str] = Counter()
        self._states: BatchedCalls[UUID, DecisionState] = BatchedCalls(self._look_up)
        self._deliveries: BatchedCalls[UUID, None] = BatchedCalls(self._mark_delivered)

    async def decision(self, node: str, incident: UUID, wait_s: float) -> values.Decision | None:
        """The decision, as soon as there is one within ``wait_s``, else None. An unknown incident is waited for too.

        Raises TooManyWaits, Withdrawn, UnknownHere, and the database's errors.
        """
        until = time.monotonic() + wait_s
        state = await self._state(node, incident)
        if state is None or _is_awaited(state, until):
            with self._counted(node):
                state = await self._wait(node, incident, until)
        if state.state is State.WITHDRAWN:
            raise Withdrawn
        return state.decision

    async def is_known(self, node: str, incident: UUID) -> bool:
        """Whether the node has this incident, or has it soon. Raises TooManyWaits and the database's errors."""
        if await self._state(node, incident):
            return True
        with self._counted(node), contextlib.suppress(UnknownHere):
            await self._wait(node, incident, 0.0)
            return True
        return False

    async def report_delivered(self, incident: UUID) -> None:
        """Record that the node has its decision. The node keeps it if this fails, so an error stays with the server."""
        try:
            await self._deliveries.ask(incident)
        except (OperationalError, InterfaceError):
            log.exception("Incident %s could not be marked as delivered", incident)

    @contextlib.contextmanager
    def _counted(self, node: str) -> Iterator[None]:
        """Raises TooManyWaits."""
        if self._waiting[node] >= self._per_node:
            raise TooManyWaits
        self._waiting[node] += 1
        try:
            yield
        finally:
            self._waiting[node] -= 1
            if not self._waiting[node]:
                del self._waiting[node]

    async def _wait(self, node: str, incident: UUID, until: float) -> DecisionState:
        """Raises UnknownHere."""
        appear_until = time.monotonic() + APPEAR_WAIT_S
        while True:
            now = time.monotonic()
            left_s = (until if now < until else appear_until) - now
            # Listening begins before looking: a change between the two would be missed otherwise.
            changed = asyncio.ensure_future(self._wait_incident(incident, max(0.01, left_s)))
            try:
                await asyncio.sleep(0)
                state = await self._state(node, incident)
                if state is not None and not _is_awaited(state, until):
                    return state
                if state is None and time.monotonic() >= appear_until:
                    raise UnknownHere
                await changed
            finally:
                changed.cancel()

    async def _state(self, node: str, incident: UUID) -> DecisionState | None:
        """None where the node has no such incident (yet)."""
        state = await self._states.ask(incident)
        return state if state and state.node == node else None

    async def _look_up(self, incidents: list[UUID]) -> Mapping[UUID, DecisionState]:
        return await self._threads.run(decisions.decision_states, incidents)

    async def _mark_delivered(self, incidents: list[UUID]) -> Mapping[UUID, None]:
        if changed := await self._threads.run(decisions.mark_delivered, incidents, now=datetime.now(UTC)):
            await self._announce(changed)
        return {}


def _is_awaited(state: DecisionState, until: float) -> bool:
    return state.state is State.OPEN and state.decision is None and time.monotonic() < until
