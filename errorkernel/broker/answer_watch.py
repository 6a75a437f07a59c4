"""Notices a broker that is connected and does not answer, as a process that was stopped or hangs.

Its operating system still accepts connections and data, so nothing fails until the client's pings do, after half a
minute.
"""

import time
from collections.abc import Awaitable, Callable

from errorkernel.broker.errors import BrokerError, BrokerSilent

ANSWER_S = 3.0
"""A broker that works answers within milliseconds, on a machine under load within a second."""
UNANSWERED_MAX = 2
"""Probes in a row without an answer that mean that the broker does not work."""
SILENT = "The broker does not answer."


class AnswerWatch:
    """Counts probes in a row that the broker left unanswered."""

    def __init__(self) -> None:
        self._unanswered = 0

    @property
    def is_silent(self) -> bool:
        return self._unanswered >= UNANSWERED_MAX

    @property
    def is_in_doubt(self) -> bool:
        """The latest probe was not answered."""
        return self._unanswered > 0

    async def watch(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Await a probe whose requests time out after ANSWER_S. Raises the probe's error."""
        began = time.monotonic()
        try:
            await probe()
        except BrokerSilent:
            # If this program itself was frozen, the answer may have been there in time.
            if time.monotonic() - began < 2 * ANSWER_S:
                self._unanswered += 1
            raise
        except BrokerError:
            self._unanswered = 0
            raise
        self._unanswered = 0
