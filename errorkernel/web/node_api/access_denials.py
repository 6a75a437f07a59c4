"""Requests with a token that is not known or whose node is shut out: counted, and written down once a second."""

import asyncio
import logging
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError

from errorkernel.broker.credentials import digest
from errorkernel.domain.access_denials import Denial, DenialCounter
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.accounts import access_denials

log = logging.getLogger("errorkernel.gateway")

INTERVAL_S = 1.0


class RefusedTokens:
    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._denials = DenialCounter()
        self._writing: asyncio.Task[None] | None = None

    def note(self, address: str, token: str | None) -> None:
        """Somebody at ``address`` came with this token, or with none. Returns at once."""
        metrics.count_refused_attempt("http")
        claimed = f"token:{digest(token)}" if token else ""
        self._denials.add(Denial("http", "/api/v1/", "", claimed, address))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        await asyncio.sleep(INTERVAL_S)
        try:
            await self._threads.run(access_denials.record, self._denials.take(), now=datetime.now(UTC))
        except (OperationalError, InterfaceError):
            log.exception("Refused requests could not be written down")
