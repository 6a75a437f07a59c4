"""The signals that ``steward run`` receives, in order and with their origin, and its own end by a signal.

They are blocked and waited for, instead of handled, for three reasons. Process 1 of a container gets no signal that it
neither handles nor blocks. None is lost between the start and the event loop. And only so is it known whether a signal
came from the terminal, whose keys reach the whole process group.
"""

import asyncio
import contextlib
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

_PASSED_ON = (
    "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT",
    "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGURG", "SIGPWR",
)  # fmt: skip


class Signals:
    """Blocks the signals in the calling thread and in those that it starts; a started program gets ``mask``.

    A signal that was ignored before (``nohup``) stays ignored, by the program as well. With ``job_control`` a shell
    stops and continues us and the program together, and SIGTSTP is left to the system.
    """

    def __init__(self, *, job_control: bool) -> None:
        wanted = {int(getattr(signal, name)) for name in _PASSED_ON if hasattr(signal, name)}
        if hasattr(signal, "SIGRTMIN"):
            wanted |= set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
        if not job_control:
            wanted.add(signal.SIGTSTP)
        wanted = {number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN}
        self._handled = wanted | {int(signal.SIGCHLD)}
        self.mask = {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, self._handled)}

    def start(self, handle: Callable[[int, bool], None]) -> None:
        """Call ``handle(number, from_terminal)`` in this event loop from now on."""
        loop = asyncio.get_running_loop()

        def listen() -> None:
            while True:
                number, by_system = _wait(self._handled)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(handle, number, by_system)

        threading.Thread(target=listen, name="signals", daemon=True).start()


def _wait(numbers: set[int]) -> tuple[int, bool]:
    if not hasattr(signal, "sigwaitinfo"):
        number = int(signal.sigwait(numbers))
        return number, number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
    info = signal.sigwaitinfo(numbers)
    # SI_KERNEL; a signal of a process has a code of 0 or less.
    return info.si_signo, info.si_code > 0


def stop_this_process() -> None:
    """Stop until SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def end_as(status: int) -> NoReturn:
    """End this program at once as another one has ended: with its exit status, or by its signal.

    Process 1 cannot be ended by a signal. There, and if the signal ends nothing, the status is 128 + its number.
    """
    if status < 0:
        # The program has written its core file, if any.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            if -status not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(-status, signal.SIG_DFL)
            # To this thread: the listening one would take a signal for the whole process.
            signal.pthread_kill(threading.get_ident(), -status)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        status = 128 - status
    os._exit(status)
