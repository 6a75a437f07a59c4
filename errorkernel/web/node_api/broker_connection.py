"""The web process's one connection to the broker, made when it is first needed in the loop that needs it.

An embedded broker may come back on another port (somebody took the old one): while unconnected, the address is read
again, and a connection to a changed one replaces ours.
"""

import asyncio
import os
import socket
import time
from dataclasses import dataclass, field

from errorkernel.broker.access import Access, own_access
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway
from errorkernel.platform import conf

FIRST_WAIT_S = 3.0
"""How long callers wait for a connection that is just being made; later on, unconnected is an answer at once."""
READ_AGAIN_S = 1.0


@dataclass(slots=True)
class _Uplink:
    connection: Connection
    access: Access
    loop: asyncio.AbstractEventLoop
    made_at: float = field(default_factory=time.monotonic)
    requested_at: float = field(default_factory=time.monotonic)


_current: _Uplink | None = None
_closing: set[asyncio.Task[None]] = set()
"""The loop itself holds tasks weakly."""


def uplink() -> Connection:
    """The connection of this process, connected or about to be. Raises BrokerAway while there is no broker."""
    global _current
    loop = asyncio.get_running_loop()
    if _current is not None and _current.loop is not loop:
        # The loop that it lived in is gone, and its tasks with it.
        _current = None
    if _current is None:
        _current = _make(_access(), loop)
    elif not _current.connection.connected and time.monotonic() - _current.requested_at > READ_AGAIN_S:
        _current.requested_at = time.monotonic()
        access = _access()
        if access != _current.access:
            task = loop.create_task(_current.connection.close())
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            _current = _make(access, loop)
    return _current.connection


async def connected_uplink() -> Connection:
    """The connection, once it is up. Raises BrokerAway; at once, unless it is only just being made."""
    connection = uplink()
    if not connection.connected:
        waited_s = time.monotonic() - _current.made_at if _current else 0.0
        await connection.wait_until_ready(max(0.0, FIRST_WAIT_S - waited_s))
    return connection


def is_connected() -> bool:
    """Whether the broker can be spoken to now; also begins to connect where nobody has yet."""
    try:
        return uplink().connected
    except BrokerAway:
        return False


async def close() -> None:
    """Give the connection up; the next call to ``uplink`` makes a new one."""
    global _current
    gone, _current = _current, None
    if gone is not None and gone.loop is asyncio.get_running_loop():
        await gone.connection.close()


def _access() -> Access:
    try:
        access = own_access(conf.get())
    except conf.ConfError as exc:
        raise BrokerAway(str(exc)) from exc
    if not access.url:
        raise BrokerAway("The broker has not been started yet.")
    return access


def _make(access: Access, loop: asyncio.AbstractEventLoop) -> _Uplink:
    connection = Connection(access.url, name=f"web {socket.gethostname()}:{os.getpid()}", seed=access.seed)
    connection.start()
    return _Uplink(connection, access, loop)
