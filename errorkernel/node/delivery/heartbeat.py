"""The heartbeat of a node: every 30 s, on every new connection, and when a process changes its state."""

import asyncio
import logging
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.domain import values
from errorkernel.node.journal.backlog import Backlog
from errorkernel.node.journal.processes import Processes
from errorkernel.node.tasks import wait_at_most
from errorkernel.node.threads import SerialThread
from errorkernel.protocol import json_codec, subjects

log = logging.getLogger("errorkernel.node")

INTERVAL_S = 30.0
INTERVAL_MIN_S = 1.0


def _version() -> str:
    try:
        return "steward-error-kernel " + version("steward-error-kernel")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "steward-error-kernel"


class Heartbeat:
    """Sends the state of all programs that share the journal, so that no program's heartbeat hides another's."""

    def __init__(
        self, node: str, connection: Connection, processes: Processes, backlog: Backlog, thread: SerialThread
    ) -> None:
        self._subject = subjects.heartbeat(node)
        self._connection = connection
        self._processes = processes
        self._backlog = backlog
        self._thread = thread
        self._soon = asyncio.Event()
        self._started_at = datetime.now(UTC)
        self._version = _version()

    def send_soon(self) -> None:
        """Something has changed. From the event loop's thread."""
        self._soon.set()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await self._connection.wait_until_ready()
            self._soon.clear()
            await self.send()
            await asyncio.sleep(INTERVAL_MIN_S)
            await wait_at_most(self._soon, INTERVAL_S - INTERVAL_MIN_S)

    async def send(self) -> None:
        """Send one heartbeat now, if the broker is there."""
        processes = await self._thread.run(self._processes.reports)
        totals = await self._thread.run(self._backlog.totals)
        heartbeat = values.Heartbeat(
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
            await self._connection.send(self._subject, json_codec.encode_heartbeat(heartbeat))
        except BrokerAway:
            pass
        except BrokerRefused as exc:
            log.error("The broker refuses a heartbeat with %d processes: %s", len(processes), exc)
