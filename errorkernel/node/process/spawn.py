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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from errorkernel.node.process import pipe

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Ties:
    """What a process has in common with the program that starts it; by default no more than standard output."""

    stdin: bool = False
    """It reads our standard input. Otherwise it finds nothing to read."""
    stderr: bool = False
    """It has our standard error itself. Otherwise a pipe, which we read."""
    session: bool = False
    """It stays in our session and process group, where the keys of a terminal reach it. Otherwise it has its own."""
    descriptors: bool = False
    """It inherits what we have inherited. Otherwise nothing beyond the three standard ones and its line to us."""
    mask: Collection[int] | None = None
    """The signals that it begins with blocked. None: the same as the thread that starts it."""


ALONE = Ties()


def start(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | os.PathLike[str] | None, line_fd: int, ties: Ties
) -> subprocess.Popen[bytes]:
    """Start it; it inherits ``line_fd``. Raises OSError, ValueError for what cannot be started."""
    parent = os.getpid()

    def prepare() -> None:
        # Between fork and exec: nothing here may take a lock, so only what is one system call.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the call above could take effect
                os._exit(1)
        if ties.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, ties.mask)

    if ties.descriptors:
        # Ours are all closed on exec (PEP 446): what is left to be inherited is what we were given.
        os.set_inheritable(line_fd, True)
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=None if ties.stdin else subprocess.DEVNULL,
        stderr=None if ties.stderr else subprocess.PIPE,
        close_fds=not ties.descriptors,
        pass_fds=[] if ties.descriptors else [line_fd],
        start_new_session=not ties.session,
        preexec_fn=prepare,
    )


def when_ended(
    process: subprocess.Popen[bytes], life: str, ties: Ties, spared: Callable[[int], bool]
) -> asyncio.Future[int]:
    """Its exit status (negative: the signal), once it and everything that it left behind has ended.

    ``spared(status)``, called in another thread: what it left behind may go on.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def tell(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def wait() -> None:
        # Not reaped yet, so its number, which is its group's too, cannot have been given to others meanwhile.
        status = _peek(process)
        if not spared(status):
            if not ties.session:
                signal_group(process.pid, signal.SIGKILL)
            sweep(life)
        process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, status)

    threading.Thread(target=wait, name=f"end of process {process.pid}", daemon=True).start()
    return ended


def _peek(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end and return its status, without reaping it where the system can do that."""
    if not hasattr(os, "waitid"):
        return process.wait()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert found is not None  # noqa: S101 - without WNOHANG it waits
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def send(process: subprocess.Popen[bytes], number: int, ties: Ties) -> None:
    """A signal to it and its children; to it alone where its process group is ours. Not after its end."""
    if not ties.session:
        signal_group(process.pid, number)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process.pid, number)


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
