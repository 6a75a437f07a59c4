"""A node's sign of life: every 30 s, at every connection, and when a process changes its state."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.domain.values import Heartbeat
from errorkernel.node.journal.backlog import Outgoing
from errorkernel.node.journal.processes import Roster
from errorkernel.node.threads import OwnThread
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol import subjects

log = logging.getLogger("errorkernel.node")

INTERVAL_S = 30.0
AT_MOST_EVERY_S = 1.0


def _version() -> str:
    try:
        return "steward-error-kernel " + version("steward-error-kernel")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "steward-error-kernel"


class Greeter:
    """Says of all programs that share the journal what is in it, so that the last word is never the word of one."""

    def __init__(
        self, node: str, connection: Connection, roster: Roster, outgoing: Outgoing, thread: OwnThread
    ) -> None:
        self._subject = subjects.heartbeat(node)
        self._connection = connection
        self._roster = roster
        self._outgoing = outgoing
        self._thread = thread
        self._soon = asyncio.Event()
        self._started_at = datetime.now(UTC)
        self._version = _version()

    def soon(self) -> None:
        """Something has changed. From the event loop's thread."""
        self._soon.set()

    async def run(self) -> None:
        while True:
            await self._connection.wait_until_ready()
            self._soon.clear()
            await self.say()
            await asyncio.sleep(AT_MOST_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S - AT_MOST_EVERY_S):
                    await self._soon.wait()

    async def say(self) -> None:
        """Once, now, if the broker is there."""
        processes = await self._thread.run(self._roster.reports)
        totals = await self._thread.run(self._outgoing.totals)
        hello = Heartbeat(
            version=self._version,
            started_at=self._started_at,
            at=datetime.now(UTC),
            processes=processes,
            backlog=totals["rows"],
            dropped=totals["dropped_infos"] + totals["dropped_errors"],
            dropped_infos=totals["dropped_infos"],
            dropped_errors=totals["dropped_errors"],
            refused=totals["refused"],
        )
        try:
            await self._connection.send(self._subject, wire.encode_heartbeat(hello))
        except BrokerAway:
            pass
        except BrokerRefused as exc:
            log.error("A sign of life with %d processes was not sent: %s", len(processes), exc)
