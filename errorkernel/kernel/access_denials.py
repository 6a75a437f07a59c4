"""Follows the broker's log and stores its access denials for administrators."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from errorkernel.broker import log_tailer
from errorkernel.broker.embedded import server_log
from errorkernel.domain.access_denials import DenialCounter
from errorkernel.platform import metrics
from errorkernel.platform.conf import Conf
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.accounts import access_denials

INTERVAL_S = 1.0


def log_of(conf: Conf) -> Path | None:
    """The broker's log file; None where none is configured."""
    if conf.embedded_broker:
        return server_log(conf.data_dir)
    return Path(conf.nats_log_file) if conf.nats_log_file else None


class AccessDenialWatch:
    def __init__(self, path: Path | None, threads: DatabaseThreads) -> None:
        self._tail = log_tailer.LogTailer(path) if path else None
        self._threads = threads
        self._denials = DenialCounter()

    async def run(self) -> None:
        """Follow the log while the worker runs; without a log file, store nothing."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            if self._tail:
                for attempt in map(log_tailer.parse, await asyncio.to_thread(self._tail.read)):
                    if attempt:
                        self._denials.add(attempt)
            if taken := self._denials.take():
                for what, count in (
                    await self._threads.run(access_denials.record, taken, now=datetime.now(UTC))
                ).items():
                    metrics.count_refused_attempt(what, count)
