"""Operating-system processes whose end is certain: of the process, its group, and what ran away from its group.

A worker gets a session of its own, so one signal reaches it and its children. On Linux it dies with the thread that
started it (``PR_SET_PDEATHSIG``), so it must be started from one that lives as long as the node's program. Children
that made sessions of their own are found by a mark in their environment (Linux; elsewhere they are not found).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from errorkernel.node import pipe

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | os.PathLike[str] | None, pass_fd: int
) -> subprocess.Popen[bytes]:
    """Start it, its standard error readable by us. Raises OSError, ValueError for what cannot be started."""
    parent = os.getpid()

    def prepare() -> None:
        # Between fork and exec: nothing here may take a lock, so only what is one system call.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the call above could take effect
                os._exit(1)

    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[pass_fd],
        start_new_session=True,
        preexec_fn=prepare,
    )


def when_ended(process: subprocess.Popen[bytes], life: str) -> asyncio.Future[int]:
    """Its exit status (negative: the signal), once it and everything that it left behind has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def tell(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def wait() -> None:
        if hasattr(os, "waitid"):
            # Not reaped yet, so its number, which is its group's too, cannot have been given to others meanwhile.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        signal_group(process.pid, signal.SIGKILL)
        sweep(life)
        status = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, status)

    threading.Thread(target=wait, name=f"end of process {process.pid}", daemon=True).start()
    return ended


def signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def sweep(life: str) -> int:
    """Kill every process that carries this mark; returns how many. Twice over, since they may be forking."""
    mark = f"{pipe.LIFE}={life}".encode()
    killed = 0
    for _ in range(5):
        found = [pid for pid in _processes() if mark in _environment(pid)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if not found:
            break
    return killed


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return []


def _environment(pid: int) -> list[bytes]:
    # Empty for a process that has ended and was not reaped, and for those of other users.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []
