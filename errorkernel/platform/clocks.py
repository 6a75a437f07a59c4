"""The wall clock together with clocks that nobody can set.

The wall clock can jump: by NTP, by a person, after a pause of a virtual machine. The monotonic clock runs on meanwhile;
the uptime also counts the time for which the machine was suspended.
Source: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TOGETHER_S = 0.2
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks at one moment. ``uptime_s`` is comparable between programs while ``boot_id`` is the same."""

    wall: datetime
    running_s: float
    uptime_s: float
    boot_id: str


class Clocks(Protocol):
    def read(self) -> Reading: ...


class SystemClocks:
    """The clocks of this machine."""

    def __init__(self) -> None:
        try:
            self._boot_id = _BOOT_ID.read_text().strip()
        except OSError:
            self._boot_id = ""

    def read(self) -> Reading:
        """Read them so close together that a pause of this process does not look like a jump."""
        for _ in range(_TRIES):
            running_s, uptime_s = time.monotonic(), _uptime_s()
            reading = Reading(datetime.now(UTC), running_s, uptime_s, self._boot_id)
            if time.monotonic() - running_s < _TOGETHER_S:
                break
        return reading


def _uptime_s() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()
