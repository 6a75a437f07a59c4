"""The signals that come to ``steward run``, heard in order and with their origin, and the end by a signal.

They are blocked and waited for, not handled: as process 1 of a container a program gets no signal that it neither
handles nor blocks; none is lost between the start and the loop that hears them; and only so is it known whether one
came from the terminal, whose keys reach the whole process group by themselves.
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
    """Blocks them in the calling thread, and so in those that it starts; a program that is started gets ``mask``.

    What was ignored before (``nohup``) is left alone: the program ignores it as well. With ``job_control`` a shell
    stops and continues us and the program together, and SIGTSTP is left to the system.
    """

    def __init__(self, *, job_control: bool) -> None:
        wanted = {int(getattr(signal, name)) for name in _PASSED_ON if hasattr(signal, name)}
        if hasattr(signal, "SIGRTMIN"):
            wanted |= set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
        if not job_control:
            wanted.add(signal.SIGTSTP)
        wanted = {one for one in wanted if signal.getsignal(one) is not signal.SIG_IGN}
        self._heard_of = wanted | {int(signal.SIGCHLD)}
        self.mask = {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, self._heard_of)}

    def start(self, hear: Callable[[int, bool], None]) -> None:
        """From now on call ``hear(number, from_the_terminal)`` in this event loop."""
        loop = asyncio.get_running_loop()

        def listen() -> None:
            while True:
                number, by_system = _wait(self._heard_of)
                with contextlib.suppress(RuntimeError):  # the loop is closed: it is over
                    loop.call_soon_threadsafe(hear, number, by_system)

        threading.Thread(target=listen, name="signals", daemon=True).start()


def _wait(numbers: set[int]) -> tuple[int, bool]:
    if not hasattr(signal, "sigwaitinfo"):
        number = int(signal.sigwait(numbers))
        return number, number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
    info = signal.sigwaitinfo(numbers)
    # SI_KERNEL; what a process sends has a code of 0 or less.
    return info.si_signo, info.si_code > 0


def stop_ourselves() -> None:
    """Until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def end_as(status: int) -> NoReturn:
    """End this program at once as another one has ended: with its status, or by the signal that ended it.

    Process 1 cannot be ended by a signal: there, and where the signal does not end anything, it is 128 + its number.
    """
    if status < 0:
        # Its core file is there already, if there is one.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            if -status not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(-status, signal.SIG_DFL)
            # To this thread: the one that listens would take what is for the whole process.
            signal.pthread_kill(threading.get_ident(), -status)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        status = 128 - status
    os._exit(status)
