"""Reaps orphans: as process 1 of a container we inherit children that we did not start."""

import contextlib
import os
from collections.abc import Callable


def reap(ours: Callable[[int], bool]) -> bool:
    """Reap all children that have ended, except those with ``ours(pid)``: their own threads wait for these.

    False if one of ours came first, and others may follow: call again when it has been reaped.
    """
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            if ours(found.si_pid):
                return False
            os.waitpid(found.si_pid, 0)
    return True
