"""Whether the broker stores what it is given, asked for again and again: by itself it does not say that it cannot.

A nats-server whose files were taken away, or whose disk was full for a moment, goes on as before for who asks: it
lets in, tells how its streams stand, and leaves every message unanswered, for good. Only a new start mends that.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused

log = logging.getLogger("errorkernel.kernel")

LOOK_INTERVAL_S = 2.0
OFF_LOOKS = 3
"""So often in a row may a broker to which we are connected say that JetStream is off: it may be starting."""
REPLY_MAX_S = 1.0
"""What took longer may have had no answer, and whether the broker can be spoken to is the connection's matter."""
PATIENCE_FIRST_S = 5.0
PATIENCE_LAST_S = 300.0
"""So long a new start is given to help, twice as long each time that it has not."""


RestartBroker = Callable[[str], Awaitable[str]]


class StorageProbe:
    """``names``: the streams. ``start_again``: see ``EmbeddedServer``; None where the broker is not ours to start."""

    def __init__(self, connection: Connection, names: Sequence[str], start_again: RestartBroker | None) -> None:
        self._connection = connection
        self._names = names
        self._start_again = start_again
        self._off = 0
        self._patience_s = PATIENCE_FIRST_S
        self._not_before = 0.0
        self._left = ""
        self.trouble = ""
        """Why nothing can be stored, as the broker says it; empty where all is well, as far as is known."""

    async def run(self) -> None:
        """Look for as long as the worker lives."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            if self._connection.is_ready:
                await self._look()
            elif self._connection.refused:
                # What is done on every connection, so that there will be none until it is mended.
                await self._found(self._connection.refused)

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            for name in self._names:
                await streams.probe_storage(self._connection, name)
        except BrokerRefused as exc:
            if streams.is_missing(exc):
                log.warning("The broker has lost a stream; making it again")
                self._connection.drop_connection()
            else:
                await self._found(f"{name}: {exc}")
        except BrokerAway as exc:
            is_confirmed = self._connection.connected and time.monotonic() - began < REPLY_MAX_S
            self._off = self._off + 1 if is_confirmed else 0
            if self._off >= OFF_LOOKS:
                await self._found(str(exc))
        else:
            self._all_is_well()

    async def _found(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("The broker cannot store: %s", trouble)
        self.trouble = trouble
        if self._start_again is None:
            self._leave("it is not ours to start again")
        elif time.monotonic() >= self._not_before:
            self._leave(why_not := await self._start_again(trouble))
            if not why_not:
                self._not_before = time.monotonic() + self._patience_s
                self._patience_s = min(self._patience_s * 2, PATIENCE_LAST_S)

    def _leave(self, why: str) -> None:
        if why and why != self._left:
            log.error("The broker that cannot store is left as it is: %s", why)
        self._left = why

    def _all_is_well(self) -> None:
        self._off = 0
        if not self.trouble:
            return
        log.warning("The broker stores again")
        if self._left:
            # It was not started again, so what it has refused since is to be made on a new connection.
            self._connection.drop_connection()
        self.trouble = self._left = ""
        self._patience_s, self._not_before = PATIENCE_FIRST_S, 0.0
