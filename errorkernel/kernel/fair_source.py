"""The intake's source: fair turns over delivered messages, and a look ahead past a flood.

The consumer delivers in the order of the stream. While one node's events fill it, those of other nodes would wait for
all of them. So with a backlog, the kernel looks ten times a second which nodes have something in the stream, and reads
the events of those that have little, from their oldest on. They are stored at once. The consumer delivers them later,
and they are then acknowledged without being stored again. After a crash nothing is known of that, and they are found
to be stored already: no event depends on this module.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerError
from errorkernel.broker.pull_consumer import Delivery, PullConsumer
from errorkernel.broker.stream_reader import ReadMessage, StreamReader
from errorkernel.kernel.batches import UnpackingSource, unpack
from errorkernel.kernel.fair_queue import FairQueue
from errorkernel.protocol import subjects

GATHER_EVENTS = 100
LOOK_INTERVAL_S = 0.1
LOOK_FROM_PENDING = 200
"""With so many messages in the stream that were not delivered, the kernel looks ahead."""
LOOK_NODES = 64
"""Nodes that are read at each look, those with the fewest messages first."""
READ_MESSAGES = 100
READ_AHEAD_MAX = 2000
OUTCOMES_LOOKED_AT = 2000
"""Each outcome has a subject: with more of them, looking would cost more than storing."""


class FairSource:
    """Messages of ``consumer`` and of the look ahead. ``window``: how many of the consumer's wait here at most."""

    def __init__(self, connection: Connection, consumer: PullConsumer, stream: str, window: int) -> None:
        self._connection = connection
        self._consumer = consumer
        self._unpacked = UnpackingSource(consumer)
        self._stream = stream
        self._window = window
        self._reader = StreamReader(connection, stream, self._note_stored)
        self._queue = FairQueue()
        self._pending = 0
        """Messages of the stream behind the latest one that was delivered to us."""
        self._is_behind = asyncio.Event()
        self._next: dict[str, int] = {}
        """By subject: the number from which on the look ahead has not read."""
        self._ahead: dict[int, str] = {}
        """Messages that were read and that the consumer has not delivered yet: their nodes by their numbers."""
        self._delivered = 0
        """The number of the newest message that the consumer has delivered to us."""
        self._stored: set[int] = set()
        """Those of them that were stored."""
        self._backlogs: Counter[str] = Counter()
        """Messages in the stream by node, at most since they were taken."""

    @property
    def waiting(self) -> int:
        """How many messages have arrived that nobody has taken yet."""
        return len(self._queue) + self._unpacked.waiting

    async def open(self) -> None:
        """Subscribe, on every new connection. Raises BrokerAway."""
        self._next.clear()
        self._delivered = 0
        await self._reader.open()
        await self._consumer.open()

    async def get(self, limit: int) -> Sequence[Delivery]:
        """Up to ``limit`` messages, at least one, those whose turn it is."""
        await self._fill()
        while not self._queue:
            await self._put(await self._unpacked.get(self._window))
        return self._queue.take(limit)

    async def gather(self, seconds: float) -> None:
        """Return after this time, or when an incident, an outcome or enough events have come."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            await self._fill()
            if self._queue.has_urgent or self.waiting >= GATHER_EVENTS:
                return
            if not self._unpacked.waiting:
                await self._consumer.wait_for_more(left_s)

    def take_backlogs(self) -> Mapping[str, int]:
        """The most messages that each node had in the stream since the last call; empty without a backlog."""
        backlogs, self._backlogs = self._backlogs, Counter()
        return backlogs

    async def look_ahead(self) -> None:
        """Look ahead while there is a backlog; runs as long as the worker."""
        while True:
            await self._is_behind.wait()
            try:
                if self._pending >= LOOK_FROM_PENDING or not self.waiting:
                    await self._look()
            except BrokerError:
                pass  # the next look
            if not self._pending and not self.waiting:
                self._forget()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _forget(self) -> None:
        self._is_behind.clear()
        self._next.clear()
        self._ahead.clear()
        self._stored.clear()

    async def _fill(self) -> None:
        """Move arrived messages into the queue, as far as it has room; the rest stays with the broker."""
        while self._unpacked.waiting and len(self._queue) < self._window:
            await self._put(await self._unpacked.get(self._window - len(self._queue)))

    async def _put(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            number = delivery.sequence
            self._ahead.pop(number, None)
            self._delivered = max(self._delivered, number)
            if number in self._stored:
                await delivery.ack()
            else:
                self._queue.add(delivery)
        self._pending = self._consumer.pending
        if self._pending >= LOOK_FROM_PENDING:
            self._is_behind.set()

    async def _look(self) -> None:
        found = await streams.subject_counts(self._connection, self._stream, subjects.event("*"))
        # The stream may have been emptied by another kernel.
        self._pending = min(self._pending, found.messages)
        events = _by_node(found.counts)
        self._backlogs |= events
        outcomes: Counter[str] = Counter()
        if found.subjects - len(found.counts) <= OUTCOMES_LOOKED_AT:
            outcomes = _by_node(
                (await streams.subject_counts(self._connection, self._stream, subjects.outcomes("*"))).counts
            )
        self._forget_delivered()
        nodes = self._nodes_to_read(events + outcomes)
        await asyncio.gather(*(self._read_node(node, has_outcomes=node in outcomes) for node in nodes))

    def _nodes_to_read(self, counts: Mapping[str, int]) -> list[str]:
        """The nodes that have something unread, if it is little: at most half of what the fullest one has."""
        most = max(counts.values(), default=0)
        read = Counter(self._ahead.values())
        unread = [node for node, count in counts.items() if read[node] < count <= most // 2]
        return sorted(unread, key=lambda node: counts[node])[:LOOK_NODES]

    async def _read_node(self, node: str, *, has_outcomes: bool) -> None:
        is_complete = await self._read(subjects.event(node))
        # An outcome must not pass events of its process that were not read yet.
        if has_outcomes and is_complete:
            await self._read(subjects.outcomes(node))

    async def _read(self, subject: str) -> bool:
        """Read the next messages of a subject; returns whether it was all that there is."""
        messages = await self._reader.read(subject, self._next.get(subject, 1), READ_MESSAGES)
        for message in messages:
            if len(self._queue) >= self._window + READ_AHEAD_MAX:
                return False
            self._next[subject] = message.sequence + 1
            events, _ = unpack(message)
            if events[0].source in self._queue:
                continue
            if message.sequence > self._delivered:
                self._ahead[message.sequence] = _node_of(message.subject)
            # Otherwise it is being stored now, or by another kernel, or was lost with one: stored twice, it is one.
            for event in events:
                self._queue.add(event)
            await asyncio.sleep(0)
        return len(messages) < READ_MESSAGES

    def _forget_delivered(self) -> None:
        """Forget messages that the consumer has delivered, to us or to another kernel."""
        self._ahead = {number: node for number, node in self._ahead.items() if number > self._delivered}
        self._stored = {number for number in self._stored if number >= self._delivered}

    def _note_stored(self, message: ReadMessage) -> None:
        if message.sequence in self._ahead:
            self._stored.add(message.sequence)


def _node_of(subject: str) -> str:
    return subject.split(".")[2]


def _by_node(counts: Mapping[str, int]) -> Counter[str]:
    nodes: Counter[str] = Counter()
    for subject, count in counts.items():
        nodes[_node_of(subject)] += count
    return nodes
