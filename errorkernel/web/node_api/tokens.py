"""Whose token it is: asked of the database, and remembered for a moment. A node that uses it is in contact."""

import hashlib
import time
from collections.abc import Mapping

from errorkernel.platform.batched_calls import BatchedCalls
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes
from errorkernel.web.node_api.contacts import NodeContacts

REMEMBERED_S = 2.0
"""A node that is disabled goes on for at most this long."""
REMEMBERED = 10_000


class NodeTokens:
    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._nodes: dict[bytes, tuple[str | None, float]] = {}
        self._look_ups: BatchedCalls[str, str] = BatchedCalls(self._look_up)
        self.contacts = NodeContacts(threads)

    async def node(self, token: str) -> str | None:
        """The name of the node whose token it is; None: of none that is enabled."""
        # The digest alone is kept: a memory dump shows no tokens.
        key, now = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), time.monotonic()
        name, until = self._nodes.get(key, (None, 0.0))
        if until <= now:
            # All who come at once share a statement: neither waits of one node nor guessed tokens queue up threads.
            name = await self._look_ups.ask(token)
            if len(self._nodes) >= REMEMBERED:
                self._nodes.clear()
            self._nodes[key] = name, now + REMEMBERED_S
            if name is not None:
                self.contacts.note(name)
        return name

    async def _look_up(self, tokens: list[str]) -> Mapping[str, str]:
        return await self._threads.run(nodes.names_by_token, tokens)
