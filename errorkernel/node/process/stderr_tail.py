"""What a process writes to its standard error: passed on at once, byte for byte, and the end of it kept.

Nothing waits for a whole line, and what is kept is bounded in bytes, so a program may write megabytes without one.
"""

import array
import fcntl
import os
import select
import termios
import threading

KEPT_BYTES = 64 * 1024
LINE_CHARS = 2000
_CHUNK_BYTES = 64 * 1024
_OURS = 2


class LastWords:
    """Reads the pipe ``source``, which it owns, in a thread of its own. ``lines``: how many of the last to tell."""

    def __init__(self, source: int, *, lines: int) -> None:
        self._source = source
        self._lines = lines
        self._kept = bytearray()
        self._cut = False
        self._passing = True
        self._woken, self._wake = os.pipe()
        self._guard = threading.Lock()
        self._closed = False
        self.passed = 0
        """Bytes so far: whoever waits for the end sees that it goes on."""
        self._thread = threading.Thread(target=self._run, name=f"standard error {source}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def finish(self) -> None:
        """The process has ended: be over when what is in the pipe now has been passed on.

        Not at the end of the file: children that live on may hold the pipe open, and go on writing.
        """
        with self._guard:
            if not self._closed:
                os.write(self._wake, b"x")

    def told(self) -> list[str]:
        """The last lines, each with its end where it is longer than ``LINE_CHARS``."""
        data = bytes(self._kept[-KEPT_BYTES:])
        if self._cut:
            data = data.partition(b"\n")[2] or data  # the first line is not whole
        found = data.decode(errors="replace").splitlines()
        return [line[-LINE_CHARS:] for line in found[-self._lines :]]

    def _run(self) -> None:
        try:
            self._pass_all_on()
        finally:
            with self._guard:
                # Its number may be somebody else's from now on.
                self._closed = True
                for descriptor in (self._source, self._woken, self._wake):
                    os.close(descriptor)

    def _pass_all_on(self) -> None:
        poll = select.poll()
        for descriptor in (self._source, self._woken):
            poll.register(descriptor, select.POLLIN)
        left: int | None = None
        while left is None or left > 0:
            if left is None and any(descriptor == self._woken for descriptor, _ in poll.poll()):
                left = _waiting_bytes(self._source)
                continue
            data = os.read(self._source, _CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not data:
                return
            if left is not None:
                left -= len(data)
            self._keep(data)
            self._pass_on(data)
            self.passed += len(data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]
        self._cut = self._cut or len(self._kept) > KEPT_BYTES

    def _pass_on(self, data: bytes) -> None:
        view = memoryview(data)
        while self._passing and view:
            try:
                view = view[os.write(_OURS, view) :]
            except BlockingIOError:  # whoever gave it to us shares it with a program that does not want to wait
                select.select([], [_OURS], [])
            except OSError:
                # Nobody reads it any longer. The process goes on all the same, and its last words are still wanted.
                self._passing = False


def _waiting_bytes(descriptor: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]
