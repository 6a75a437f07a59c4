"""The links: each client of the broker connects through a proxy with faults.

A cut link is a pulled cable: sent bytes wait, neither end gets an error, and new connections receive nothing. A reset
link loses the bytes under way and resets both ends. Doubling, replay and reordering apply to complete protocol messages
with a payload, in both directions.
"""

import asyncio
import collections
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from enum import Enum

from errorkernel.ops.chaos.frames import Frame, Splitter

HELD_S = 0.15
"""How long a message waits for the message that it is swapped with."""
REMEMBERED = 60
SLOW_S = (0.1, 0.8)
CHUNK_BYTES = 64 * 1024


class Mode(Enum):
    CUT = "cut"
    RESET = "reset"
    SLOW = "slow"
    DOUBLE = "double"
    SHUFFLE = "shuffle"
    REPLAY = "replay"


class _Direction:
    """One direction of one connection, with the present faults."""

    def __init__(self, link: "Proxy", dice: random.Random) -> None:
        self._link = link
        self._dice = dice
        self._splitter = Splitter()
        self._before: collections.deque[Frame] = collections.deque(maxlen=REMEMBERED)
        self.held: list[Frame] = []

    def passes(self, data: bytes) -> bytes:
        """The bytes to forward for the received bytes."""
        out: list[Frame] = []
        for frame in self._splitter.feed(data):
            out += self._mangle(frame) if frame.carries else [frame]
        return b"".join(frame.data for frame in out)

    def release(self) -> bytes:
        held, self.held = self.held, []
        return b"".join(frame.data for frame in held)

    def _mangle(self, frame: Frame) -> list[Frame]:
        on, chance = self._link.on, self._dice.random
        out = [frame]
        if on(Mode.DOUBLE) and chance() < 0.5:
            out.append(frame)
        if on(Mode.REPLAY) and self._before and chance() < 0.3:
            out.append(self._dice.choice(self._before))
        self._before.append(frame)
        if self.held:
            out += self.held
            self.held = []
        elif on(Mode.SHUFFLE) and chance() < 0.5:
            self.held, out = out, []
        return out


class Proxy:
    """One link: listens on ``port``, connects to the present port of ``upstream``. For use from any thread."""

    def __init__(self, name: str, upstream: Callable[[], int], loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.name = name
        self._upstream = upstream
        self._loop = loop
        self._dice = random.Random(f"{seed} {name}")  # noqa: S311 - repeatable on purpose
        self._modes: collections.Counter[Mode] = collections.Counter()
        self._whole = asyncio.Event()
        self._whole.set()
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def start(self) -> None:
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def on(self, mode: Mode) -> bool:
        return self._modes[mode] > 0

    def begin(self, mode: Mode) -> None:
        self._loop.call_soon_threadsafe(self._change, mode, 1)

    def end(self, mode: Mode) -> None:
        self._loop.call_soon_threadsafe(self._change, mode, -1)

    def _change(self, mode: Mode, by: int) -> None:
        self._modes[mode] += by
        if mode is Mode.CUT:
            self._whole.clear() if self.on(mode) else self._whole.set()
        elif mode is Mode.RESET and by > 0:
            for writer in list(self._open):
                _reset(writer)

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._open.add(writer)
        with contextlib.suppress(OSError):
            try:
                await self._whole.wait()
                if self.on(Mode.RESET):
                    _reset(writer)
                    return
                there_reader, there = await asyncio.open_connection("127.0.0.1", self._upstream())
                ends.append(there)
                self._open.add(there)
                pumps = [
                    asyncio.create_task(self._pump(reader, there)),
                    asyncio.create_task(self._pump(there_reader, writer)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                for end in ends:
                    self._open.discard(end)
                    end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        direction = _Direction(self, self._dice)
        while True:
            try:
                async with asyncio.timeout(HELD_S if direction.held else None):
                    data = await reader.read(CHUNK_BYTES)
                if not data:
                    return
                out = direction.passes(data)
            except TimeoutError:
                out = direction.release()
            if self.on(Mode.SLOW):
                await asyncio.sleep(self._dice.uniform(*SLOW_S))
            await self._whole.wait()
            writer.write(out)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        # With a linger of zero the other end receives RST, and unsent bytes are lost.
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class Switchboard:
    """The thread that runs all proxies of a run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def close(self) -> None:
        async def end_all() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
