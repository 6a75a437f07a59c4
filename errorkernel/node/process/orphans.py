"""Children that we did not start: as process 1 of a container we inherit them, and somebody must reap them."""

import contextlib
import os
from collections.abc import Callable


def reap(ours: Callable[[int], bool]) -> bool:
    """Reap all that have ended, except those of which ``ours(pid)`` is true: somebody waits for these.

    False where one of ours stood first in the line, and others may be behind it: look again when it has been reaped.
    """
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if ours(found.si_pid):
                return False
            os.waitpid(found.si_pid, 0)
    return True
