"""The web process's one connection to the broker, made when it is first needed in the loop that needs it.

An embedded broker may come back on another port (somebody took the old one): while unconnected, the address is read
again, and a connection to a changed one replaces ours.
"""

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass, field

from errorkernel.broker.access import Access, own_access
from errorkernel.broker.answer_watch import ANSWER_S, SILENT, AnswerWatch
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway, BrokerError
from errorkernel.platform import conf

FIRST_WAIT_S = 3.0
"""How long callers wait for a connection that is just being made; later on, unconnected is an answer at once."""
READ_AGAIN_S = 1.0
ASK_INTERVAL_S = 2.0
ASK_AGAIN_S = 0.5


@dataclass(slots=True)
class _Uplink:
    connection: Connection
    access: Access
    loop: asyncio.AbstractEventLoop
    made_at: float = field(default_factory=time.monotonic)
    requested_at: float = field(default_factory=time.monotonic)
    answer_watch: AnswerWatch = field(default_factory=AnswerWatch)
    watching: asyncio.Task[None] | None = None


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
            task = loop.create_task(_end(_current))
            _closing.add(task)
            task.add_done_callback(_closing.discard)
            _current = _make(access, loop)
    return _current.connection


async def connected_uplink() -> Connection:
    """The connection, once it is up. Raises BrokerAway; at once, unless it is only just being made."""
    connection = uplink()
    if _current and _current.answer_watch.is_silent:
        raise BrokerAway(SILENT)
    if not connection.connected:
        waited_s = time.monotonic() - _current.made_at if _current else 0.0
        await connection.wait_until_ready(max(0.0, FIRST_WAIT_S - waited_s))
    return connection


def is_connected() -> bool:
    """Whether the broker is connected now; also starts the first connection."""
    try:
        connected = uplink().connected
        return connected and _current is not None and not _current.answer_watch.is_silent
    except BrokerAway:
        return False


async def close() -> None:
    """Give the connection up; the next call to ``uplink`` makes a new one."""
    global _current
    gone, _current = _current, None
    if gone is not None and gone.loop is asyncio.get_running_loop():
        await _end(gone)


async def _end(gone: _Uplink) -> None:
    if gone.watching:
        gone.watching.cancel()
    await gone.connection.close()


async def _watch(made: _Uplink) -> None:
    """Ask the broker periodically, so that a request need not find out that it does not answer."""

    async def ask() -> None:
        await made.connection.api("INFO", {}, timeout_s=ANSWER_S)

    while True:
        await asyncio.sleep(ASK_AGAIN_S if made.answer_watch.is_in_doubt else ASK_INTERVAL_S)
        if made.connection.connected or made.answer_watch.is_in_doubt:
            with contextlib.suppress(BrokerError):
                await made.answer_watch.watch(ask)


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
    made = _Uplink(connection, access, loop)
    made.watching = loop.create_task(_watch(made), name="broker answers")
    return made
