"""Clock jumps of a node: ``time.time`` and ``datetime.now`` of one process, moved by the offset in a file.

The process reads the file at its start and at each SIGUSR1. Periods are measured with the monotonic clock, which real
jumps do not change either, so it stays.
"""

import datetime
import signal
import sys
import time
from pathlib import Path
from typing import Any

_time, _time_ns = time.time, time.time_ns
_offset_s = 0.0


class _Jumped(datetime.datetime):
    """Replaces ``datetime`` in modules; makes ordinary values."""

    def __new__(cls, *parts: Any, **named: Any) -> Any:
        return datetime.datetime(*parts, **named)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return datetime.datetime.fromtimestamp(time.time(), tz)


def install(file: Path) -> None:
    """Move the clock of this process by the offset in ``file``. Call it after the modules are imported."""

    def read(*_: object) -> None:
        global _offset_s
        try:
            _offset_s = float(file.read_text())
        except (OSError, ValueError):
            _offset_s = 0.0

    read()
    signal.signal(signal.SIGUSR1, read)
    time.time = lambda: _time() + _offset_s
    time.time_ns = lambda: _time_ns() + int(_offset_s * 1e9)
    for name, module in list(sys.modules.items()):
        # Only modules that read the time; the types of values must stay.
        if name.startswith("errorkernel.node.") and getattr(module, "datetime", None) is datetime.datetime:
            module.datetime = _Jumped  # type: ignore[attr-defined]


def jump(file: Path, offset_s: float) -> None:
    """Write the offset; the process reads it at SIGUSR1 or at its start."""
    new = file.with_suffix(".new")
    new.write_text(str(offset_s))
    new.rename(file)
