"""Operating-system processes that can be ended for certain: with their process group and descendants that left it.

A worker gets a session of its own, so one signal reaches it and its children. On Linux it dies with the thread that
started it (``PR_SET_PDEATHSIG``), so that thread must run as long as the program. Children with sessions of their own
are found by a mark in their environment (Linux; elsewhere they are not found).
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

from errorkernel.node.process import messages

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The files a process shares with the program that starts it; by default only standard output."""

    stdin: bool = False
    """It reads our standard input. Otherwise its standard input is empty."""
    stderr: bool = False
    """It gets our standard error itself. Otherwise a pipe, which we read."""
    session: bool = False
    """It stays in our session and process group, where the keys of a terminal reach it. Otherwise it gets its own."""
    descriptors: bool = False
    """It inherits what we have inherited. Otherwise only the standard descriptors and its socket."""
    mask: Collection[int] | None = None
    """The signals that are blocked when it starts. None: those of the thread that starts it."""


NOTHING = Inheritance()


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None,
    socket_fd: int,
    inheritance: Inheritance,
) -> subprocess.Popen[bytes]:
    """Start a process, which inherits ``socket_fd``. Raises OSError, ValueError for what cannot be started."""
    parent = os.getpid()

    def prepare() -> None:
        # Between fork and exec: only system calls, since nothing here may take a lock.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the call above could take effect
                os._exit(1)
        if inheritance.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, inheritance.mask)

    if inheritance.descriptors:
        # Our own are all closed on exec (PEP 446): what remains is what we have inherited.
        os.set_inheritable(socket_fd, True)
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=None if inheritance.stdin else subprocess.DEVNULL,
        stderr=None if inheritance.stderr else subprocess.PIPE,
        close_fds=not inheritance.descriptors,
        pass_fds=[] if inheritance.descriptors else [socket_fd],
        start_new_session=not inheritance.session,
        preexec_fn=prepare,
    )


def watch_exit(
    process: subprocess.Popen[bytes], mark: str, inheritance: Inheritance, keeps_leftovers: Callable[[int], bool]
) -> asyncio.Future[int]:
    """The exit status (negative: the signal), once the process and everything that it left behind has ended.

    ``keeps_leftovers(status)``, called in another thread: whether the children it left behind may go on.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def set_status(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def wait() -> None:
        # Not reaped yet, so its number, which is that of its group, cannot have been reused.
        status = _wait_without_reaping(process)
        if not keeps_leftovers(status):
            if not inheritance.session:
                send_to_group(process.pid, signal.SIGKILL)
            kill_marked(mark)
        process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(set_status, status)

    threading.Thread(target=wait, name=f"end of process {process.pid}", daemon=True).start()
    return ended


def _wait_without_reaping(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end and return its status, without reaping it if the system supports that."""
    if not hasattr(os, "waitid"):
        return process.wait()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert found is not None  # noqa: S101 - without WNOHANG it waits
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def send_signal(process: subprocess.Popen[bytes], number: int, inheritance: Inheritance) -> None:
    """Send a signal to the process and its children; to it alone if its process group is ours. Not after its end."""
    if not inheritance.session:
        send_to_group(process.pid, number)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process.pid, number)


def send_to_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_marked(mark: str) -> int:
    """Kill every process that carries this mark; returns how many. Repeated, since they may be forking."""
    entry = f"{messages.MARK}={mark}".encode()
    killed = 0
    for _ in range(5):
        found = [pid for pid in _processes() if entry in _environment(pid)]
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
