"""The node's own log says how much is unsent: while the broker is away, while a long backlog is sent, and when it is.

Few lines, for days: while the broker is away, the pause between two of them doubles.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from errorkernel.node.journal.backlog import Backlog
from errorkernel.node.threads import SerialThread

log = logging.getLogger("errorkernel.node")

CHECK_S = 10.0
AWAY_FIRST_S = 60.0
AWAY_LAST_S = 3600.0
LONG = 1000
"""Messages that are worth a line while they are sent."""
SENDING_EVERY_S = 60.0
REPEATS = {"repeats": True}
"""``extra`` of these lines: a log that shows each line once shows these again."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of the backlog of all programs that share the journal."""

    rows: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.rows:,} messages, {self.bytes / 1e6:.1f} MB"


class BacklogLog:
    """Decides which line to log from a reading every few seconds, without a clock or a connection."""

    def __init__(self) -> None:
        self._away_since: float | None = None
        self._pause_s = AWAY_FIRST_S
        self._next_at = 0.0
        self._mentioned: Size | None = None
        self._mentioned_at = 0.0

    def next_line(self, size: Size, *, connected: bool, now: float) -> str:
        """The line to write now; empty: none. ``now``: seconds of a monotonic clock."""
        return self._while_sending(size, now) if connected else self._while_away(size, now)

    def _while_away(self, size: Size, now: float) -> str:
        if self._away_since is None:
            self._away_since, self._pause_s = now, AWAY_FIRST_S
            self._next_at = now + self._pause_s
        if now < self._next_at or not size.rows:
            return ""
        self._pause_s = min(self._pause_s * 2, AWAY_LAST_S)
        self._next_at = now + self._pause_s
        self._mention(size, now)
        return f"The broker has been away for {_duration(now - self._away_since)}. Backlog: {size}."

    def _while_sending(self, size: Size, now: float) -> str:
        self._away_since = None
        before, self._mentioned = self._mentioned, None
        if not size.rows:
            return "The backlog is sent." if before else ""
        if before is None and size.rows < LONG:
            return ""
        if before is not None and now < self._mentioned_at + SENDING_EVERY_S:
            self._mentioned = before
            return ""
        passed_s = now - self._mentioned_at
        self._mention(size, now)
        if before is None or size.rows >= before.rows:
            return f"Sending the backlog: {size}."
        left_s = size.rows * passed_s / (before.rows - size.rows)
        return f"Sending the backlog: {size}. About {_duration(left_s)} left."

    def _mention(self, size: Size, now: float) -> None:
        self._mentioned, self._mentioned_at = size, now


async def watch(backlog: Backlog, thread: SerialThread, is_connected: Callable[[], bool]) -> None:
    """Write lines until cancelled. Raises JournalError."""
    lines = BacklogLog()
    while True:
        await asyncio.sleep(CHECK_S)
        totals = await thread.run(backlog.totals)
        size = Size(totals["rows"], totals["bytes"])
        if line := lines.next_line(size, connected=is_connected(), now=time.monotonic()):
            log.warning("%s", line, extra=REPEATS)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
