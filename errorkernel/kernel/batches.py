"""Batches of events, taken apart before the intake sees them: each event is a delivery of its own.

A batch is acknowledged when all its events are stored or rejected. If the kernel dies before, it is delivered again;
events that are stored already change nothing.
"""

from collections import deque
from collections.abc import Sequence

from errorkernel.broker.pull_consumer import Delivery, DeliverySource
from errorkernel.protocol import batches
from errorkernel.protocol.errors import ProtocolError

UNPACK_AT_ONCE_BYTES = 2 * 1024 * 1024
"""After so much has been unpacked, the intake stores it first: bombs must hold up neither the loop nor the others."""


class _Shared:
    """Values that the events of one batch share."""

    __slots__ = ("left", "whole")

    def __init__(self, whole: Delivery, left: int) -> None:
        self.whole = whole
        self.left = left

    async def settle(self) -> None:
        self.left -= 1
        if not self.left:
            await self.whole.ack()


class EventOfBatch:
    """One event of a batch, as a delivery; with ``error`` it stands for a batch that cannot be taken apart."""

    __slots__ = ("_shared", "data", "error", "index")

    def __init__(self, shared: _Shared, index: int, data: bytes, error: ProtocolError | None = None) -> None:
        self._shared = shared
        self.index = index
        self.data = data
        self.error = error

    @property
    def subject(self) -> str:
        return self._shared.whole.subject

    @property
    def headers(self) -> dict[str, str]:
        return self._shared.whole.headers

    @property
    def source(self) -> str:
        return f"{self._shared.whole.source}:{self.index}"

    @property
    def sequence(self) -> int:
        return self._shared.whole.sequence

    @property
    def stored_at(self) -> float:
        return self._shared.whole.stored_at

    @property
    def deliveries(self) -> int:
        return self._shared.whole.deliveries

    async def ack(self) -> None:
        await self._shared.settle()

    async def nak(self, delay_s: float) -> None:
        """The whole batch is delivered again."""
        await self._shared.whole.nak(delay_s)

    async def term(self) -> None:
        await self._shared.settle()


class UnpackingSource:
    """The deliveries of ``source``, with batches taken apart, in their order."""

    def __init__(self, source: DeliverySource) -> None:
        self._source = source
        self._packed: deque[Delivery] = deque()
        self._unpacked: deque[Delivery] = deque()

    @property
    def waiting(self) -> int:
        """How many have come that nobody has taken; a batch that was not unpacked yet counts as one."""
        return len(self._unpacked) + len(self._packed) + self._source.waiting

    async def get(self, limit: int) -> Sequence[Delivery]:
        """Up to ``limit``, at least one; waits for it."""
        if not self._unpacked and not self._packed:
            self._packed.extend(await self._source.get(limit))
        left_bytes = UNPACK_AT_ONCE_BYTES
        while self._packed and len(self._unpacked) < limit and left_bytes > 0:
            left_bytes -= self._unpack(self._packed.popleft())
        return [self._unpacked.popleft() for _ in range(min(limit, len(self._unpacked)))]

    def _unpack(self, delivery: Delivery) -> int:
        """Returns how many bytes this took to unpack."""
        events, size = unpack(delivery)
        self._unpacked.extend(events)
        return size


def unpack(delivery: Delivery) -> tuple[Sequence[Delivery], int]:
    """The delivery itself, or the events of a batch; and how many bytes this took to unpack."""
    if not batches.is_batch(delivery.headers):
        return [delivery], 0
    try:
        events = batches.unpack(delivery.data, delivery.headers)
    except ProtocolError as exc:
        return [EventOfBatch(_Shared(delivery, 1), 0, delivery.data, exc)], batches.LIMITS.bytes
    shared = _Shared(delivery, len(events))
    return [EventOfBatch(shared, index, event) for index, event in enumerate(events)], sum(map(len, events))
