"""The story of the demo: after a deploy, the ingest workers of every node stop on two causes.

*No space left on device* goes away when the process is killed: its next incarnation begins on an empty volume, and
*continue* meets it again. *No free connection* goes away by itself: *continue* succeeds. The errors are real: the
volume is ``/dev/full`` (where there is none, those workers go on), and the connection pool has lost its connections.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from errorkernel.domain.values import Message
from errorkernel.node import Kernel, Restart
from errorkernel.node.supervision.task_worker import Context, TaskWorker
from errorkernel.ops.demo.work_items import DICE, TAGS

WRITERS, READERS = 3, 2
"""Workers of one node on each cause: 20 on four nodes."""
DEPLOY_AFTER_S, FAIL_AFTER_S = 10.0, (18.0, 30.0)
"""After the start of the node."""
BEFORE, AFTER = "1.4.2", "1.4.3"
CALM_S, RETRY_S = (12.0, 24.0), 2.0
_POOL_TIMEOUT_S = 0.2
_FULL_DEVICE = Path("/dev/full")


class ConnectionPoolTimeout(Exception):
    """No connection became free in time."""


class Pool:
    """Connections to the charts database; the new release loses one with each failure to return it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free: asyncio.Queue[int] = asyncio.Queue()
        self.refill()

    def refill(self) -> None:
        while self._free.qsize() < self._size:
            self._free.put_nowait(0)

    def lose(self) -> None:
        while not self._free.empty():
            self._free.get_nowait()

    async def read(self) -> None:
        """Raises ConnectionPoolTimeout."""
        try:
            connection = await asyncio.wait_for(self._free.get(), _POOL_TIMEOUT_S)
        except TimeoutError:
            raise ConnectionPoolTimeout(
                f"no free connection to charts-db after {_POOL_TIMEOUT_S} s (pool {self._size})"
            ) from None
        self._free.put_nowait(connection)


class Volume:
    """Where one worker writes its batches; full after the deploy."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._file = directory / "batch.part"
        self.empty()

    def empty(self) -> None:
        self._file.unlink(missing_ok=True)
        self._file.touch()

    def fill(self) -> None:
        if _FULL_DEVICE.exists():
            self._file.unlink(missing_ok=True)
            self._file.symlink_to(_FULL_DEVICE)

    def write(self, number: int) -> None:
        """Raises OSError."""
        with self._file.open("ab", buffering=0) as file:
            try:
                file.write(b"batch %d\n" % number)
            except OSError as exc:
                # The kernel of the system names no file where it cannot write.
                exc.filename = f"/data/ingest/batch-{number}.part"
                raise


class Story:
    """One node's workers. The work directory has the node's name."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._node = work.name
        self._started = asyncio.get_running_loop().time()
        self._pool = Pool(READERS)
        self._failed: set[str] = set()
        """Workers whose cause has begun, in any incarnation."""

    def workers(self, kernel: Kernel) -> list[TaskWorker]:
        jobs = [(f"ingest-{number}", self._write) for number in range(1, WRITERS + 1)]
        jobs += [(f"render-{number}", self._render) for number in range(1, READERS + 1)]
        return [kernel.worker(name, job, restart=Restart.PERMANENT) for name, job in jobs]

    @property
    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    @property
    def _tags(self) -> dict[str, str]:
        return {**TAGS, "release": AFTER if self._age_s >= DEPLOY_AFTER_S else BEFORE}

    def _begins(self, name: str) -> bool:
        """Whether the cause of this worker begins now, which it does once."""
        if name in self._failed:
            return False
        self._failed.add(name)
        return True

    async def _write(self, ctx: Context) -> None:
        volume = Volume(self._work / ctx.process)

        async def work_item(number: int) -> str:
            if self._begins(ctx.process):
                volume.fill()
            volume.write(number)
            return f"stored batch {number}"

        await self._process(ctx, "REQCopySrc", work_item)

    async def _render(self, ctx: Context) -> None:
        async def work_item(number: int) -> str:
            if self._begins(ctx.process):
                self._pool.lose()
            try:
                await self._pool.read()
            except ConnectionPoolTimeout:
                # Found dead, the connections are opened anew for the next item.
                self._pool.refill()
                raise
            return f"rendered chart {number}"

        await self._process(ctx, "REQRenderChart", work_item)

    async def _process(self, ctx: Context, method: str, work_item: Callable[[int], Awaitable[str]]) -> None:
        number = DICE.randint(8000, 8900)
        if ctx.process in self._failed:
            # Stable again: calm from here on.
            await ctx.info(f"started with release {AFTER}", tags=self._tags)
        else:
            await ctx.info(f"started with release {BEFORE}", tags=self._tags)
            await asyncio.sleep(max(0.0, DEPLOY_AFTER_S - self._age_s))
            await ctx.info(f"deployed release {AFTER}", tags=self._tags)
            await asyncio.sleep(max(0.0, DICE.uniform(*FAIL_AFTER_S) - self._age_s))
        while True:
            number += 1
            message = Message(
                id=f"{method}-{number}", method=method, from_node="central", to_node=self._node, data=f"batch {number}"
            )
            try:
                done = await work_item(number)
            except (OSError, ConnectionPoolTimeout) as exc:
                await ctx.ask(exc, message=message, tags=self._tags)
                await asyncio.sleep(RETRY_S)
            else:
                await ctx.info(done, message=message, tags=self._tags)
                await asyncio.sleep(DICE.uniform(*CALM_S))
