"""A batch: several events of one node in one message of ``ek.evt.<node>``, one a line, usually packed with gzip.

Its headers mark it. A node sends batches only to a kernel whose latest sync reply contained its limits; events
on their own stay valid for ever. Nothing that a batch says about its size is believed: at most one byte more than
``LIMITS`` allows is unpacked, and lines are counted before they are made.

Sources: RFC 1952 (gzip); https://github.com/ndjson/ndjson-spec
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from errorkernel.protocol.errors import ProtocolError

CONTENT_TYPE = "Content-Type"
CONTENT_ENCODING = "Content-Encoding"
NDJSON = "application/x-ndjson"
GZIP = "gzip"
HEADERS = {CONTENT_TYPE: NDJSON, CONTENT_ENCODING: GZIP}
"""Of a packed batch."""
LEVEL = 1
"""Of events of 1.1 kB, 64 KiB together, level 1 leaves 56 bytes each and level 6 leaves 50, in twice the time."""
_GZIP_WBITS = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A kernel's limits: ``events`` in a batch, ``bytes`` when unpacked."""

    events: int
    bytes: int


LIMITS = BatchLimits(events=1000, bytes=512 * 1024)
"""Unpacking so much takes 2.5 ms of a slow core."""


def is_batch(headers: Mapping[str, str]) -> bool:
    return headers.get(CONTENT_TYPE) == NDJSON


def pack(events: Sequence[bytes]) -> bytes:
    """Encoded events → a message for ``HEADERS``."""
    return gzip.compress(b"\n".join(events), LEVEL, mtime=0)


def unpack(data: bytes, headers: Mapping[str, str]) -> list[bytes]:
    """A batch → its events as they were encoded, at least one. Raises ProtocolError."""
    encoding = headers.get(CONTENT_ENCODING, "")
    if encoding == GZIP:
        data = _inflate(data)
    elif encoding:
        raise ProtocolError("encoding", f"The content encoding {encoding[:40]!r} is not known; gzip is.")
    if len(data) > LIMITS.bytes:
        raise ProtocolError("too_big", f"The batch has more than {LIMITS.bytes} bytes when unpacked.")
    if data.count(b"\n") >= LIMITS.events:
        raise ProtocolError("too_many", f"The batch has more than {LIMITS.events} events.")
    events = [line for line in data.split(b"\n") if line.strip()]
    if not events:
        raise ProtocolError("empty", "The batch is empty.")
    return events


def _inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP_WBITS)
    try:
        unpacked = stream.decompress(data, LIMITS.bytes + 1)
    except zlib.error as exc:
        raise ProtocolError("bad_compression", f"The batch cannot be unpacked: {exc}") from None
    if len(unpacked) <= LIMITS.bytes and (not stream.eof or stream.unused_data):
        raise ProtocolError("bad_compression", "The batch cannot be unpacked: it is cut off, or something follows it.")
    return unpacked
