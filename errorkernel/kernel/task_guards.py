"""Guards around the worker's tasks: for an unavailable database, and for a lost stream or consumer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from errorkernel.broker.connection import Connection
from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.kernel.intake import DATABASE_AWAY

log = logging.getLogger("errorkernel.kernel")

DATABASE_PAUSE_S = 1.0


async def reconnect_when_consumer_is_lost(source: PullConsumer, connection: Connection) -> None:
    """Connect again whenever the broker reports that the consumer is gone (its data was wiped, somebody removed it)."""
    while True:
        await source.trouble.wait()
        source.trouble.clear()
        log.warning("The broker has lost the kernel's stream or consumer; creating it again")
        connection.drop_connection()
        await asyncio.sleep(1)


async def outlast_database(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``loop`` again whenever an unavailable database ends it. Any other error is a bug and is raised.

    No work is lost: the loops work on the database, and browsers fetch missed rows.
    """
    while True:
        try:
            await loop()
        except DATABASE_AWAY as exc:
            log.warning("The database cannot be used (%s); %s starts again later", exc, loop.__qualname__)
            await asyncio.sleep(DATABASE_PAUSE_S)
