"""The program of ``steward run``: a worker that shares the files a shell shares, and starts even without journal."""

import contextlib
import errno
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Collection

from errorkernel.domain.values import Decision
from errorkernel.node.client import Kernel
from errorkernel.node.errors import JournalError
from errorkernel.node.journal.processes import Started
from errorkernel.node.process import spawn
from errorkernel.node.process.stderr_tail import StderrTail
from errorkernel.node.process.worker import ProcessWorker
from errorkernel.node.reporting.event_builder import EventDraft, describe
from errorkernel.node.run import command_line
from errorkernel.node.run.options import Options
from errorkernel.node.run.systemd import Notifier
from errorkernel.node.supervision.interfaces import Ended
from errorkernel.node.supervision.restart_policy import Restart
from errorkernel.node.supervision.worker import Incarnation

log = logging.getLogger("errorkernel.node")


class Program(ProcessWorker):
    """``on_end_by_signal``: called when it has ended by a signal from outside, and is not to be started again."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        options: Options,
        *,
        terminal: bool,
        mask: Collection[int],
        notifier: Notifier,
        on_end_by_signal: Callable[[], None],
    ) -> None:
        super().__init__(
            kernel,
            name,
            options.command,
            inheritance=spawn.Inheritance(
                stdin=True, stderr=not options.stderr_lines, session=terminal, descriptors=True, mask=mask
            ),
            stderr_lines=options.stderr_lines,
            restart=options.restart,
            grace_s=options.grace_s,
            on_exception="ask" if options.ask else "report",
        )
        self._options = options
        self._notifier = notifier
        self._on_end_by_signal = on_end_by_signal
        self._end_signal: tuple[int, float] | None = None
        self._launched_at = time.monotonic()

    @property
    def has_started(self) -> bool:
        return self._latest is not None

    def signal_sent(self, number: int) -> None:
        """A signal that may end it was sent to it."""
        self._end_signal = (number, time.monotonic())

    async def write_start(self, mark: str | None, decision: Decision | None) -> Started:
        try:
            return await super().write_start(mark, decision)
        except JournalError as exc:
            log.error("%s The program starts all the same.", exc)
            return Started(self.incarnation + 1, None)

    async def start_incarnation(self, mark: str) -> Incarnation:
        self._end_signal = None
        self._launched_at = time.monotonic()
        try:
            current = await super().start_incarnation(mark)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script without interpreter line: execvp(3), and so every shell, runs it with sh.
            first, *rest = self._argv
            self._argv = ["/bin/sh", shutil.which(first) or first, *rest]
            current = await super().start_incarnation(mark)
        self._notifier.notify(READY="1", STATUS=f"Runs as process {current.pid}, incarnation {self.incarnation}")
        return current

    def keeps_leftovers(self, status: int) -> bool:
        # As in a shell, what runs in the background goes on, unless another incarnation follows.
        restart = self._options.restart
        return restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and not status)

    def was_signalled_to_end(self, status: int) -> bool:
        signal_sent = self._is_end_by_signal(status)
        if signal_sent:
            self._on_end_by_signal()
        return signal_sent

    def _is_end_by_signal(self, status: int) -> bool:
        if self.inheritance.session and -status in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            return True  # by a key of the terminal, or by its end; the signal may reach us a moment later
        number, at = self._end_signal or (0, 0.0)
        if not number or time.monotonic() - at > self.grace_s:
            return False
        # Programs often handle an interrupt from the keyboard and exit with any status. Other signals that they handle
        # are requests (reload, rotate): a failure after one of those is a failure.
        return number == signal.SIGINT or status in (-number, 128 + number)

    def describe_failure(self, status: int, stderr: StderrTail | None) -> EventDraft:
        found = super().describe_failure(status, stderr)
        return self._draft(found.text, kind=found.kind, stack=found.stack, tags=found.tags)

    def describe_start_failure(self, exc: OSError | ValueError) -> EventDraft:
        """The event for a command that cannot be started."""
        return self._draft(f"{self.name} cannot be started: {exc}", kind=type(exc).__name__, stack="", tags={})

    async def _ask_about(self, failure: EventDraft) -> Ended | None:
        self._notifier.notify(STATUS=f"{failure.text.splitlines()[0]}; waits for a decision")
        return await super()._ask_about(failure)

    def _draft(self, text: str, *, kind: str, stack: str, tags: dict[str, str]) -> EventDraft:
        options = self._options
        tags = {
            "command": command_line.show(options.command, arguments=not options.hide_arguments),
            "duration": f"{time.monotonic() - self._launched_at:.1f} s",
            "directory": _directory(),
            "host": socket.gethostname(),
            **tags,
            **options.tags,
        }
        details = {"kind": kind, "stack": stack, "tags": tags}
        return describe(text, {**details, "deadline_s": options.deadline_s, "on_deadline": options.on_deadline})


def status_of_start_failure(exc: OSError | ValueError) -> int:
    """As in env(1) and shells: 127 for a command that does not exist, 126 for one that cannot be run."""
    return 127 if isinstance(exc, FileNotFoundError) else 126


def _directory() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()
    return ""
