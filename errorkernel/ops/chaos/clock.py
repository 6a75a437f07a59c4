"""A node's clock that jumps: ``time.time`` and ``datetime.now`` of one process, moved by what a file says.

The file is read when the process starts and at each SIGUSR1. Periods are measured with the monotonic clock, which no
real jump moves either, so that is left alone.
"""

import datetime as real
import signal
import sys
import time
from pathlib import Path
from typing import Any

_time, _time_ns = time.time, time.time_ns
_offset_s = 0.0


class _Jumped(real.datetime):
    """Stands where a module says ``datetime``; what it makes are ordinary values."""

    def __new__(cls, *parts: Any, **named: Any) -> Any:
        return real.datetime(*parts, **named)

    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> Any:
        return real.datetime.fromtimestamp(time.time(), tz)


def install(file: Path) -> None:
    """Let this process live by the clock that ``file`` moves. After its modules have been imported."""

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
        # Only modules that take the time; types of values must stay what they are.
        if name.startswith("errorkernel.node.") and getattr(module, "datetime", None) is real.datetime:
            module.datetime = _Jumped  # type: ignore[attr-defined]


def jump(file: Path, offset_s: float) -> None:
    """Write down what the clock is to be moved by; the process learns it by SIGUSR1 or when it starts."""
    new = file.with_suffix(".new")
    new.write_text(str(offset_s))
    new.rename(file)
