"""Notes which nodes send far more events than can be stored: pages, doctor and a metric name them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from errorkernel.kernel.fair_source import FairSource
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes

LOOK_INTERVAL_S = 2.0
FLOOD_MESSAGES = 5_000
"""More than a kernel stores in a few seconds."""
NEARLY_ALL = 0.9


class FloodWatch:
    """``share``: of a node in the stream; 0: unlimited. With a smaller one, a node floods that nearly fills it."""

    def __init__(self, source: FairSource, threads: DatabaseThreads, *, share: int) -> None:
        self._source = source
        self._threads = threads
        self._from_messages = min(FLOOD_MESSAGES, share * NEARLY_ALL) if share else FLOOD_MESSAGES

    async def run(self) -> None:
        """Look while the worker runs."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            flooding = self._flooding(self._source.take_backlogs())
            metrics.set_flooding_nodes(len(flooding))
            if flooding:
                await self._threads.run(nodes.note_floods, flooding, now=datetime.now(UTC))

    def _flooding(self, backlogs: Mapping[str, int]) -> dict[str, int]:
        return {node: count for node, count in backlogs.items() if count >= self._from_messages}
