"""The standard error of a process: forwarded at once, byte for byte, with the last lines kept.

Nothing waits for a complete line, and the kept tail is bounded in bytes: a program may write megabytes in one line.
"""

import array
import contextlib
import fcntl
import os
import select
import signal
import stat
import subprocess
import termios
import threading

KEPT_BYTES = 64 * 1024
LINE_CHARS = 2000
_CHUNK_BYTES = 64 * 1024
_STDERR = 2


class StderrTail:
    """Reads the pipe ``source``, which it owns, in a thread of its own. ``lines``: how many of the last to keep."""

    def __init__(self, source: int, *, lines: int) -> None:
        self._source = source
        self._lines = lines
        self._kept = bytearray()
        self._cut = False
        self._is_forwarding = True
        self._keeps_writers = False
        self._wake_read, self._wake_write = os.pipe()
        self._lock = threading.Lock()
        self._closed = False
        self.passed_bytes = 0
        """Bytes forwarded so far: shows a waiting caller that the reading makes progress."""
        self._thread = threading.Thread(target=self._run, name=f"standard error {source}", daemon=True)
        self._thread.start()

    @property
    def is_finished(self) -> bool:
        return not self._thread.is_alive()

    def finish(self, *, keeps_writers: bool = False) -> None:
        """The process has ended: finish when the bytes in the pipe have been forwarded.

        Not at the end of the file: children that go on may hold the pipe open, and write more. ``keeps_writers``: they
        may, and another process reads the pipe from then on; without a reader the first line would end them.
        """
        self._keeps_writers = keeps_writers
        with self._lock:
            if not self._closed:
                os.write(self._wake_write, b"x")

    def last_lines(self) -> list[str]:
        """The last lines; of a line longer than ``LINE_CHARS`` only its end."""
        found = self.text().splitlines()
        return [line[-LINE_CHARS:] for line in found[-self._lines :]]

    def text(self) -> str:
        """The last ``KEPT_BYTES``, from the beginning of a line if there is one."""
        data = bytes(self._kept[-KEPT_BYTES:])
        if self._cut:
            data = data.partition(b"\n")[2] or data  # the first line is incomplete
        return data.decode(errors="replace")

    def _run(self) -> None:
        try:
            self._forward_all()
            if self._keeps_writers and _has_writers(self._source):
                _start_reader(self._source)
        finally:
            with self._lock:
                # The numbers may be reused from now on.
                self._closed = True
                for descriptor in (self._source, self._wake_read, self._wake_write):
                    os.close(descriptor)

    def _forward_all(self) -> None:
        poll = select.poll()
        for descriptor in (self._source, self._wake_read):
            poll.register(descriptor, select.POLLIN)
        left: int | None = None
        while left is None or left > 0:
            if left is None and any(descriptor == self._wake_read for descriptor, _ in poll.poll()):
                left = _count_unread_bytes(self._source)
                continue
            data = os.read(self._source, _CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not data:
                return
            if left is not None:
                left -= len(data)
            self._keep(data)
            self._forward(data)
            self.passed_bytes += len(data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]
        self._cut = self._cut or len(self._kept) > KEPT_BYTES

    def _forward(self, data: bytes) -> None:
        view = memoryview(data)
        while self._is_forwarding and view:
            try:
                view = view[os.write(_STDERR, view) :]
            except BlockingIOError:  # another program has made the shared descriptor non-blocking
                select.select([], [_STDERR], [])
            except OSError:
                # Nobody reads it any longer. The process goes on, and its last lines are still wanted.
                self._is_forwarding = False


def _count_unread_bytes(descriptor: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def _has_writers(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return not any(event & select.POLLHUP for _, event in poll.poll(0))


def _start_reader(pipe: int) -> None:
    """A process that reads the pipe until all of its writers have ended.

    It passes on what it reads, except to a pipe: who reads our standard error to its end does not wait for what runs in
    the background.
    """
    to_pipe = stat.S_ISFIFO(os.fstat(_STDERR).st_mode)

    def unblock_signals() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    with contextlib.suppress(OSError):
        subprocess.Popen(
            ["cat"],
            stdin=pipe,
            stdout=subprocess.DEVNULL if to_pipe else _STDERR,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            preexec_fn=unblock_signals,
        )
