"""Finds the node of a token in the database and caches it for a moment. Each use is a contact of the node."""

import hashlib
import time
from collections.abc import Mapping

from errorkernel.platform.batched_calls import BatchedCalls
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes
from errorkernel.web.node_api.contacts import NodeContacts

REMEMBERED_S = 2.0
"""A disabled node can continue for at most this time."""
REMEMBERED = 10_000


class NodeTokens:
    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._nodes: dict[bytes, tuple[str | None, float]] = {}
        self._look_ups: BatchedCalls[str, str] = BatchedCalls(self._look_up)
        self.contacts = NodeContacts(threads)

    async def node(self, token: str) -> str | None:
        """The name of the node whose token it is; None if there is no enabled node."""
        # Only the digest is cached: a memory dump shows no tokens.
        key, now = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), time.monotonic()
        name, until = self._nodes.get(key, (None, 0.0))
        if until <= now:
            # Simultaneous requests share a statement, so neither waits of one node nor guessed tokens occupy threads.
            name = await self._look_ups.ask(token)
            if len(self._nodes) >= REMEMBERED:
                self._nodes.clear()
            self._nodes[key] = name, now + REMEMBERED_S
            if name is not None:
                self.contacts.note(name)
        return name

    async def _look_up(self, tokens: list[str]) -> Mapping[str, str]:
        return await self._threads.run(nodes.names_by_token, tokens)
