"""Limits of a single input. Defaults of the contract; every one is a setting (``errorkernel.platform.conf``)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes unless the name says otherwise. Text fields over their limit are cut and marked, never refused."""

    event_bytes: int = 256 * 1024
    text_bytes: int = 64 * 1024
    stack_bytes: int = 128 * 1024
    data_bytes: int = 64 * 1024
    tags: int = 32
    tag_chars: int = 200
    body_compressed_bytes: int = 5 * 1024 * 1024
    body_bytes: int = 20 * 1024 * 1024
    events_per_request: int = 1000
    node_rate_per_s: int = 500
    node_burst: int = 5000
    node_waits: int = 20


SYNC_MAX_BYTES = 1024 * 1024
"""Of one sync request: the default maximum of a broker for one message."""
DETAIL_MAX_BYTES = 4096
"""Of the detail of an outcome."""
REASON_MAX_CHARS = 1000
"""Of the reason that is stored with an action."""
PROCESS_NAME_MAX_CHARS = 200
SHORT_TEXT_MAX_CHARS = 200
"""Kinds, methods, message ids, fingerprint parts: names, not texts."""
FINGERPRINT_PARTS_MAX = 16
REJECTED_HEAD_BYTES = 4096
DEADLINE_MAX_S = 365 * 86400
