"""Which programs that share a journal are alive: each holds a lock on one byte of a file beside the journal.

The operating system releases the lock when its program ends, however it ends. So a killed program is seen as dead at
once, without clocks or process numbers, which are wrong in containers. These are POSIX record locks: a forked child
does not inherit them, and a program never sees its own as taken, hence the set of own numbers. A program loses them
when *any* descriptor of the file is closed, hence one descriptor that stays open.
"""

import contextlib
import fcntl
import os
import threading
from pathlib import Path

from errorkernel.node.errors import JournalError


class _File:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.held: set[int] = set()


_files: dict[str, _File] = {}
_guard = threading.Lock()


def _forget() -> None:
    global _guard
    _guard = threading.Lock()
    for file in _files.values():
        os.close(file.descriptor)
    _files.clear()


os.register_at_fork(after_in_child=_forget)


class Presence:
    """The lock file of one journal. ``number`` is a program's number in that journal, from 1."""

    def __init__(self, path: Path) -> None:
        self._key = os.path.realpath(path)
        with _guard:
            if self._key not in _files:
                try:
                    _files[self._key] = _File(os.open(self._key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                except OSError as exc:
                    raise JournalError(f"The file {path} cannot be used: {exc.strerror}.") from exc

    def hold(self, number: int) -> None:
        """Mark ``number`` as alive. Raises JournalError where the file system has no locks."""
        with _guard:
            try:
                fcntl.lockf(_files[self._key].descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError as exc:
                raise JournalError(f"The file {self._key} cannot be locked: {exc.strerror}.") from exc
            _files[self._key].held.add(number)

    def release(self, number: int) -> None:
        with _guard, contextlib.suppress(OSError, KeyError):
            _files[self._key].held.discard(number)
            fcntl.lockf(_files[self._key].descriptor, fcntl.LOCK_UN, 1, number)

    def is_alive(self, number: int) -> bool:
        """Whether the program with this number runs."""
        with _guard:
            file = _files[self._key]
            if number in file.held:
                return True
            try:
                fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                return True
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, number)
            return False
