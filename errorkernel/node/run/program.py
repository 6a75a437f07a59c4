"""The program that ``steward run`` supervises: a worker that is bound to us as a shell binds it, and starts whatever
happens to the journal."""

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
from errorkernel.node.journal.processes import Begun
from errorkernel.node.process import spawn
from errorkernel.node.process.worker import ProcessWorker, status_name
from errorkernel.node.reporting.event_builder import Report, describe
from errorkernel.node.run import command_line
from errorkernel.node.run.options import Options
from errorkernel.node.run.systemd import Notifier
from errorkernel.node.supervision.interfaces import Ended
from errorkernel.node.supervision.restart_policy import Restart
from errorkernel.node.supervision.worker import Life

log = logging.getLogger("errorkernel.node")


class Program(ProcessWorker):
    """``on_told_end``: it has ended as a signal from outside had told it to; nobody wants it again."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        options: Options,
        *,
        terminal: bool,
        mask: Collection[int],
        notifier: Notifier,
        on_told_end: Callable[[], None],
    ) -> None:
        super().__init__(
            kernel,
            name,
            options.command,
            ties=spawn.Ties(stdin=True, stderr=not options.stderr_lines, session=terminal, descriptors=True, mask=mask),
            stderr_lines=options.stderr_lines,
            restart=options.restart,
            grace_s=options.grace_s,
            on_exception="ask" if options.ask else "report",
        )
        self._options = options
        self._notifier = notifier
        self._on_told_end = on_told_end
        self._told: tuple[int, float] | None = None
        self._began = time.monotonic()

    @property
    def has_lived(self) -> bool:
        return self._latest is not None

    def told(self, number: int) -> None:
        """A signal that may be meant to end it has reached it."""
        self._told = (number, time.monotonic())

    async def begin(self, life_mark: str | None, order: Decision | None) -> Begun:
        try:
            return await super().begin(life_mark, order)
        except JournalError as exc:
            log.error("%s The program is started all the same.", exc)
            return Begun(self.incarnation + 1, None)

    async def bring_to_life(self, life_mark: str) -> Life:
        self._told = None
        self._began = time.monotonic()
        try:
            life = await super().bring_to_life(life_mark)
        except OSError as exc:
            if exc.errno != errno.ENOEXEC:
                raise
            # A script without a first line that says what reads it: for execvp(3), and so for shells, sh does.
            first, *rest = self._argv
            self._argv = ["/bin/sh", shutil.which(first) or first, *rest]
            life = await super().bring_to_life(life_mark)
        self._notifier.say(READY="1", STATUS=f"Runs as process {life.pid}, incarnation {self.incarnation}")
        return life

    def spares(self, status: int) -> bool:
        # A shell leaves what runs in the background, and so do we, unless another incarnation is to follow.
        restart = self._options.restart
        return restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and not status)

    def was_told(self, status: int) -> bool:
        told = self._told_so(status)
        if told:
            self._on_told_end()
        return told

    def _told_so(self, status: int) -> bool:
        if self.ties.session and -status in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            return True  # by the keys of the terminal, or its end; we may hear of it a moment later
        number, at = self._told or (0, 0.0)
        if not number or time.monotonic() - at > self.grace_s:
            return False
        # An interrupt from the keyboard is often handled, and answered with any status. Others that a program handles
        # are requests (reload, rotate): a failure that follows is one.
        return number == signal.SIGINT or status in (-number, 128 + number)

    def describe_failure(self, status: int, last_words: list[str]) -> Report:
        found = super().describe_failure(status, last_words)
        return self._report_of(found.text, kind=status_name(status), stack=found.stack)

    def describe_no_start(self, exc: OSError | ValueError) -> Report:
        """The command cannot be run at all."""
        return self._report_of(f"{self.name} cannot be started: {exc}", kind=type(exc).__name__, stack="")

    async def _ask_about(self, failure: Report) -> Ended | None:
        self._notifier.say(STATUS=f"{failure.text.splitlines()[0]}; waits for an answer")
        return await super()._ask_about(failure)

    def _report_of(self, text: str, *, kind: str, stack: str) -> Report:
        options = self._options
        tags = {
            "command": command_line.shown(options.command, arguments=not options.hide_arguments),
            "duration": f"{time.monotonic() - self._began:.1f} s",
            "directory": _directory(),
            "host": socket.gethostname(),
            **options.tags,
        }
        details = {"kind": kind, "stack": stack, "tags": tags}
        return describe(text, {**details, "deadline_s": options.deadline_s, "on_deadline": options.on_deadline})


def status_of_no_start(exc: OSError | ValueError) -> int:
    """As env(1) and shells have it: 127 for a command that is not there, 126 for one that cannot be run."""
    return 127 if isinstance(exc, FileNotFoundError) else 126


def _directory() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()
    return ""
