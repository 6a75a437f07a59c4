"""What a report costs the program that makes it, journal included, beside an empty call of the same shape.

``python -m tests.bench.report [REPORTS]``. The calls take turns, a millisecond apart, with a broker that takes what is
sent meanwhile by the same program; then as fast as they can. The exception has ten frames. *New places* is the same
one when its lines have not been seen before.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from errorkernel.node import BlockingKernel, Kernel, KernelHandler
from errorkernel.node.reporting import tracebacks
from tests.support.node_peer import Broker, peer_kernel

TEXT = "copy of chart 17 to the archive failed after 3 tries: no such file or directory"
NEW = "error(exception), new places"
PAUSE_S = 0.001
Call = Callable[[], Any]
AsyncCall = Callable[[], Awaitable[Any]]


def made() -> OSError:
    """Ten functions deep, from a file: a stack as programs have them."""
    frames = 10
    source = "def step0():\n    open('/nowhere/a.tif').close()\n"
    source += "".join(f"\n\ndef step{n}():\n    what = 'charts'\n    return step{n - 1}()\n" for n in range(1, frames))
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(source)
        file.flush()
        names: dict[str, Any] = {}
        exec(compile(source, file.name, "exec"), names)
        try:
            names[f"step{frames - 1}"]()
        except OSError as exc:
            traceback.format_exception(exc)  # its lines are known to ``linecache``
            return exc
    raise AssertionError("/nowhere exists")


def line(name: str, times: list[float]) -> None:
    times.sort()
    median, late, worst = (times[int((len(times) - 1) * part)] * 1e6 for part in (0.5, 0.99, 1.0))
    print(f"  {name:36} {median:9.1f} {late:9.1f} {worst:11.1f}")


def head(title: str) -> None:
    print(f"{title:38} {'median µs':>9} {'p99 µs':>9} {'worst µs':>11}")


def taken(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


async def taken_async(call: AsyncCall) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def blocking(kernel: BlockingKernel, count: int) -> None:
    exc = made()

    def empty(error: Any, *, process: str = "", **details: Any) -> None: ...

    calls: dict[str, Call] = {
        "an empty call": lambda: empty(exc, process="copy"),
        "error(text)": lambda: kernel.error(TEXT, process="copy"),
        "error(exception)": lambda: kernel.error(exc, process="copy"),
        NEW: lambda: kernel.error(exc, process="copy"),
        "info(text)": lambda: kernel.info(TEXT, process="copy"),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            if name == NEW:
                tracebacks._places.clear()
            times[name].append(taken(call))
            time.sleep(PAUSE_S)
    head("BlockingKernel, taking turns")
    for name in calls:
        line(name, times[name])
    head("BlockingKernel, as fast as it can")
    for name in ("error(text)", "error(exception)"):
        line(name, [taken(calls[name]) for _ in range(count)])


async def non_blocking(kernel: Kernel, count: int) -> None:
    exc = made()

    async def empty(error: Any, *, process: str = "", **details: Any) -> None: ...

    calls: dict[str, AsyncCall] = {
        "an empty call": lambda: empty(exc, process="copy"),
        "error(text)": lambda: kernel.error(TEXT, process="copy"),
        "error(exception)": lambda: kernel.error(exc, process="copy"),
        NEW: lambda: kernel.error(exc, process="copy"),
        "info(text)": lambda: kernel.info(TEXT, process="copy"),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            if name == NEW:
                tracebacks._places.clear()
            times[name].append(await taken_async(call))
            await asyncio.sleep(PAUSE_S)
    head("await Kernel, taking turns")
    for name in calls:
        line(name, times[name])
    head("await Kernel, as fast as it can")
    for name in ("error(text)", "error(exception)"):
        line(name, [await taken_async(calls[name]) for _ in range(count)])


def logged(kernel: BlockingKernel, rate: int, count: int) -> None:
    """``count`` errors, every tenth with an exception, at ``rate`` a second (0: at once)."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread, and so of the handler's
    handler = KernelHandler(kernel)
    log = logging.Logger("app")
    log.addHandler(handler)
    exc = made()
    times = []
    began, used = time.perf_counter(), time.process_time()
    for number in range(count):
        if rate and (early := began + number / rate - time.perf_counter()) > 0:
            time.sleep(early)
        exc.__dict__.clear()  # else it would be told once
        call_began = time.perf_counter()
        log.error("copy of chart %d failed", number, exc_info=None if number % 10 else exc)
        times.append(time.perf_counter() - call_began)
    given = time.perf_counter() - began
    handler.flush(60)
    took, used = time.perf_counter() - began, time.process_time() - used
    line(f"{count / given:,.0f} records/s given", times)
    print(f"  {handler.dropped} of {count} dropped; in the journal {took - given:.2f} s after the last;", end=" ")
    print(f"{used / took:.0%} of a core")
    handler.close()


async def measure(directory: Path, count: int) -> None:
    broker = Broker(directory / "broker").start()
    try:
        async with peer_kernel(broker) as peer:
            peer.deaf = True  # the stream keeps what comes: reading it is another machine's work
            credentials = broker.credentials(directory / "node.json")
            with BlockingKernel.from_file(credentials, journal=directory / "blocking") as kernel:
                await asyncio.to_thread(blocking, kernel, count)
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(cores)})  # and so of the threads that the kernel starts
            with BlockingKernel.from_file(credentials, journal=directory / "handler") as kernel:
                head("KernelHandler, on one core")
                await asyncio.to_thread(logged, kernel, 2000, 20_000)
                await asyncio.to_thread(logged, kernel, 0, 20_000)
            os.sched_setaffinity(0, cores)
            async with Kernel.from_file(credentials, journal=directory / "async") as other:
                await non_blocking(other, count)
    finally:
        broker.stop()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory), count))


if __name__ == "__main__":
    main()
