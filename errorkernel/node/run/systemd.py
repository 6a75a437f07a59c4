"""Notifies systemd about a service of ``Type=notify``: started, status, watchdog.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

ADDRESS = "NOTIFY_SOCKET"
WATCHDOG_US = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"
VARIABLES = (ADDRESS, WATCHDOG_US, WATCHDOG_PID)


class Notifier:
    """Notifies the socket ``address`` (a path, or ``@name`` for an abstract one); without one, nothing."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._watchdog_s = watchdog_s

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Notifier":
        address = environ.get(ADDRESS) or None
        meant = environ.get(WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        given = environ.get(WATCHDOG_US, "")
        return cls(address, int(given) / 1e6 if meant and given.isdecimal() and int(given) else None)

    def notify(self, **fields: str) -> None:
        """``notify(READY="1", STATUS="…")``. Never raises and never waits."""
        if not self._address:
            return
        text = "\n".join(f"{name}={' '.join(value.splitlines())}" for name, value in fields.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(errors="replace"), self._address)

    async def keep_alive(self) -> None:
        """Notify the watchdog twice per interval, until cancelled; returns at once if there is none."""
        while self._watchdog_s and self._address:
            self.notify(WATCHDOG="1")
            await asyncio.sleep(self._watchdog_s / 2)
