"""The stream that stores the errors of Steward/ctrl nodes."""

from typing import Any

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM, ERROR_SUBJECTS


def error_stream(max_bytes: int) -> dict[str, Any]:
    """The stream's configuration. The broker's acknowledgement of a stored error is the one that the node expects; a
    stream that also covers the subjects of acknowledgements would acknowledge itself.

    A node treats a refusal as an acknowledgement, so a full stream must not refuse. An error is lost either way, but
    the broker counts the old ones that it discards.
    """
    return {
        **streams.events_stream(max_bytes),
        "discard": "old",
        "duplicate_window": streams.DUPLICATE_WINDOW_S * streams.NANOSECONDS,
        "name": ERROR_STREAM,
        "subjects": list(ERROR_SUBJECTS),
    }


async def ensure_error_stream(connection: Connection, *, max_bytes: int) -> streams.StreamIdentity:
    """Create or update the stream and the kernel's durable consumer on it. Raises BrokerError."""
    identity = await streams.ensure_stream(connection, error_stream(max_bytes))
    await streams.ensure_kernel_consumer(connection, ERROR_STREAM)
    return identity
