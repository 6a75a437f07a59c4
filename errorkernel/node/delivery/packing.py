"""Items of the backlog → messages for the broker: several events share one if the kernel takes batches.

Order and refusals stay as for single events: a message holds neighbours only, and a batch that the broker refuses is
sent again event by event, so that the refusal names the right one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from errorkernel.domain.ids import uuid7
from errorkernel.node.journal.next_window import Item, Window
from errorkernel.protocol import batches, subjects
from errorkernel.protocol.batches import BatchLimits

BATCH_MAX_BYTES = 128 * 1024
"""Payloads in one batch. Larger ones save little: gzip looks back 32 KiB."""
SINGLE_MIN_BYTES = 1024
"""A smaller event on its own is sent as it is: its head would eat up what packing saves."""
WORTHWHILE = 0.9
OVERHEAD_BYTES = 170
"""Of a message on the link, beside its data: protocol line, headers with the id, reply subject."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message for the broker, with the items of the backlog that it carries."""

    items: Sequence[Item]
    subject: str
    msg_id: str
    data: bytes
    headers: Mapping[str, str]

    @property
    def link_bytes(self) -> int:
        return len(self.data) + OVERHEAD_BYTES


class Packer:
    """Packs windows, and learns how small payloads become."""

    def __init__(self) -> None:
        self._ratio = 1.0

    def payload_bytes(self, link_bytes: int) -> int:
        """How many bytes of payload take ``link_bytes`` on the link, estimated from earlier packed messages."""
        return int(link_bytes * self._ratio)

    def pack(self, window: Window, limits: BatchLimits | None) -> list[OutgoingMessage]:
        """The messages of a window, in its order. ``limits``: of a batch at the kernel; None: no batches.

        Urgent items share no message with others, which would delay them.
        """
        parts = (window.items[: window.urgent], window.items[window.urgent :])
        messages = [_pack_run(run, limits) for part in parts for run in _runs(part, limits)]
        if len(window.items) > 1:
            payload_bytes = sum(len(item.payload) for item in window.items)
            self._ratio = max(1.0, payload_bytes / sum(message.link_bytes for message in messages))
        return messages


def _runs(items: Sequence[Item], limits: BatchLimits | None) -> Iterator[list[Item]]:
    """Neighbours that may share a message."""
    max_events = limits.events if limits else 1
    max_bytes = min(BATCH_MAX_BYTES, limits.bytes) if limits else 0
    run: list[Item] = []
    size = 0
    for item in items:
        shares = run and subjects.is_event(item.subject) and item.subject == run[0].subject
        if run and not (shares and len(run) < max_events and size + len(item.payload) <= max_bytes):
            yield run
            run, size = [], 0
        run.append(item)
        size += len(item.payload) + 1  # and a line end
    if run:
        yield run


def _pack_run(run: list[Item], limits: BatchLimits | None) -> OutgoingMessage:
    first = run[0]
    single = OutgoingMessage(run, first.subject, first.msg_id, first.payload, {})
    if len(run) == 1 and not _may_be_packed(first, limits):
        return single
    packed = batches.pack([item.payload for item in run])
    if len(run) == 1 and len(packed) > WORTHWHILE * len(first.payload):
        return single
    # An id for this very content: the broker drops messages under an id that it remembers.
    msg_id = first.msg_id if len(run) == 1 else str(uuid7())
    return OutgoingMessage(run, first.subject, msg_id, packed, batches.HEADERS)


def _may_be_packed(item: Item, limits: BatchLimits | None) -> bool:
    return (
        limits is not None and subjects.is_event(item.subject) and SINGLE_MIN_BYTES <= len(item.payload) <= limits.bytes
    )
