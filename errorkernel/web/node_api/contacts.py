"""Collects the last HTTP contacts of nodes without heartbeats and stores them together."""

import asyncio
import logging
import time
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError

from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes

log = logging.getLogger("errorkernel.gateway")

INTERVAL_S = 30.0
"""Minimum seconds between two stored contacts of a node."""
DELAY_S = 1.0
"""Contacts of this period in seconds are stored in one statement."""
NODES_MAX = 10_000


class NodeContacts:
    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._due: dict[str, float] = {}
        self._noted: set[str] = set()
        self.stored: asyncio.Task[None] | None = None
        """Stores the last contacts."""

    def note(self, node: str) -> None:
        """The node has used its token now. Returns at once."""
        now = time.monotonic()
        if self._due.get(node, 0.0) > now:
            return
        if len(self._due) >= NODES_MAX:
            self._due.clear()
        self._due[node] = now + INTERVAL_S
        self._noted.add(node)
        if self.stored is None or self.stored.done():
            self.stored = asyncio.get_running_loop().create_task(self._store())

    async def _store(self) -> None:
        while self._noted:
            await asyncio.sleep(DELAY_S)
            names, self._noted = self._noted, set()
            try:
                await self._threads.run(nodes.note_http_contact, names, now=datetime.now(UTC))
            except (OperationalError, InterfaceError):
                log.exception("The last contact of nodes could not be stored")
