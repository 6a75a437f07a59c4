"""Probes periodically whether the broker can store messages, because the broker does not report that it cannot.

A nats-server whose files were removed, or whose disk was full for a moment, still accepts connections and reports the
state of its streams, but never acknowledges a message again. One that was stopped or hangs does not answer at all.
Only a restart helps.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from errorkernel.broker import streams
from errorkernel.broker.answer_watch import ANSWER_S, SILENT, UNANSWERED_MAX, AnswerWatch
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused, BrokerSilent

log = logging.getLogger("errorkernel.kernel")

LOOK_INTERVAL_S = 2.0
LOOK_AGAIN_S = 0.5
"""After a probe without an answer."""
OFF_LOOKS = 3
"""A connected broker that reports JetStream as unavailable this often in a row has failed; before, it may be
starting."""
REPLY_MAX_S = 1.0
"""A slower reply may be a timeout, which the connection handles."""
PATIENCE_FIRST_S = 5.0
PATIENCE_LAST_S = 300.0
"""Time for a restart to take effect; doubled after each restart that did not help."""


RestartBroker = Callable[[str], Awaitable[str]]


class StorageProbe:
    """``names``: the streams. ``start_again``: see ``EmbeddedServer``; None for an external broker."""

    def __init__(self, connection: Connection, names: Sequence[str], start_again: RestartBroker | None) -> None:
        self._connection = connection
        self._names = names
        self._start_again = start_again
        self._off = 0
        self._answer_watch = AnswerWatch()
        self._patience_s = PATIENCE_FIRST_S
        self._not_before = 0.0
        self._not_restarted = ""
        self._probed = ""
        self.trouble = ""
        """Why the broker cannot store, in its own words; empty while no failure is known."""

    async def run(self) -> None:
        """Probe while the worker runs."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self._answer_watch.is_in_doubt else LOOK_INTERVAL_S)
            if self._connection.is_ready:
                await self._look()
            elif self._connection.unanswered_connects >= UNANSWERED_MAX:
                await self._found(SILENT)
            elif self._connection.refused:
                # The set-up of every connection fails with this, so none becomes ready until the broker is restarted.
                await self._found(self._connection.refused)

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            await self._answer_watch.watch(self._probe)
        except BrokerRefused as exc:
            if streams.is_missing(exc):
                log.warning("The broker has lost a stream; creating it again")
                self._connection.drop_connection()
            else:
                await self._found(f"{self._probed}: {exc}")
        except BrokerSilent:
            self._off = 0
            if self._answer_watch.is_silent:
                await self._found(SILENT)
        except BrokerAway as exc:
            is_confirmed = self._connection.connected and time.monotonic() - began < REPLY_MAX_S
            self._off = self._off + 1 if is_confirmed else 0
            if self._off >= OFF_LOOKS:
                await self._found(str(exc))
        else:
            self._reset()

    async def _probe(self) -> None:
        for name in self._names:
            self._probed = name
            await streams.probe_storage(self._connection, name, timeout_s=ANSWER_S)

    async def _found(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("The broker cannot store: %s", trouble)
        self.trouble = trouble
        if self._start_again is None:
            self._report_no_restart("it is an external broker")
        elif time.monotonic() >= self._not_before:
            self._report_no_restart(why_not := await self._start_again(trouble))
            if not why_not:
                self._not_before = time.monotonic() + self._patience_s
                self._patience_s = min(self._patience_s * 2, PATIENCE_LAST_S)

    def _report_no_restart(self, why: str) -> None:
        if why and why != self._not_restarted:
            log.error("The broker that cannot store is not restarted: %s", why)
        self._not_restarted = why

    def _reset(self) -> None:
        self._off = 0
        if not self.trouble:
            return
        log.warning("The broker can store again")
        if self._not_restarted:
            # It was not restarted, so the set-up that it refused must be repeated on a new connection.
            self._connection.drop_connection()
        self.trouble = self._not_restarted = ""
        self._patience_s, self._not_before = PATIENCE_FIRST_S, 0.0
