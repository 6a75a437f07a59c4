"""Time-ordered identifiers (UUIDv7, RFC 9562 §5.7).

Random ids land all over a unique index and cost most of the insert rate once it no longer fits into memory;
time-ordered ones are appended. Python has ``uuid.uuid7`` only from 3.14.
"""

import os
import time
import uuid


def uuid7(now_ms: int | None = None) -> uuid.UUID:
    """A new UUIDv7; ``now_ms`` is the Unix time in milliseconds (default: this machine's clock)."""
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return _compose(ms, int.from_bytes(os.urandom(10)))


def uuid7_of(digest: bytes, at_ms: int) -> uuid.UUID:
    """The UUIDv7 of something that has happened: the same digest (10 bytes are used) and time give the same id."""
    return _compose(at_ms, int.from_bytes(digest[:10]))


def _compose(ms: int, random_bits: int) -> uuid.UUID:
    value = (
        (ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random_bits >> 68) << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    )
    return uuid.UUID(int=value)
