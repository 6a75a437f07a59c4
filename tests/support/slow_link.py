"""A link with little bandwidth, as a TCP proxy: for tests and measurements of what a node sends."""

import asyncio
import time
from collections.abc import Callable

CHUNK_BYTES = 2048


class SlowLink:
    """A TCP proxy to ``host:port`` that passes ``bytes_per_s`` in each direction, ``round_trip_s`` late."""

    def __init__(self, host: str, port: int, *, bytes_per_s: float, round_trip_s: float = 0.0) -> None:
        self._target = host, port
        self._bytes_per_s = bytes_per_s
        self._delay_s = round_trip_s / 2
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.sent_bytes = 0
        """From the clients to the target."""

    async def __aenter__(self) -> "SlowLink":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        there, back = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass_on(reader, back, self._count))
                ways.create_task(self._pass_on(there, writer, lambda size: None))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            back.close()

    def _count(self, size: int) -> None:
        self.sent_bytes += size

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
    ) -> None:
        free_at = time.monotonic()
        late: set[asyncio.Task[None]] = set()
        while data := await reader.read(CHUNK_BYTES):
            count(len(data))
            free_at = max(free_at, time.monotonic()) + len(data) / self._bytes_per_s
            await asyncio.sleep(free_at - time.monotonic())
            if self._delay_s:
                later = asyncio.create_task(self._deliver(writer, data))
                late.add(later)
                later.add_done_callback(late.discard)
            else:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError

    async def _deliver(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await asyncio.sleep(self._delay_s)
        writer.write(data)
