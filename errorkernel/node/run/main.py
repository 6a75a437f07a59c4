"""``steward run``: supervises any program, in any language, transparently.

The caller sees the program: its output, its exit status, the signal that ended it. The program sees the caller. It runs
at once, whether or not the broker is connected and whatever happens to the journal: supervision must never keep a
program from running.
"""

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
import traceback
from collections.abc import Sequence
from typing import NoReturn

from errorkernel.domain.values import EventType
from errorkernel.node import credentials
from errorkernel.node.client import Kernel
from errorkernel.node.delivery import backlog_log
from errorkernel.node.errors import JournalError, NodeError, ProcessTaken
from errorkernel.node.process import orphans
from errorkernel.node.run import systemd
from errorkernel.node.run.options import OUR_FAULT, Options, parse
from errorkernel.node.run.program import Program, status_of_start_failure
from errorkernel.node.run.signals import Signals, end_as, stop_this_process
from errorkernel.node.run.systemd import Notifier

log = logging.getLogger("errorkernel.node")

FLUSH_S = 2.0
CLOSE_S = 3.0
REAP_AGAIN_S = 0.02
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MAY_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""A program may handle these in another way; while none runs, they are for us."""
NUMBERED_NAMES_MAX = 100


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command; ends this program, with the status of the command."""
    _open_standard_descriptors()
    terminal = _has_terminal()
    signals = Signals(job_control=terminal)  # as early as possible
    options = parse(argv, os.environ)
    notifier = Notifier.from_env({} if options.pass_notify else os.environ)
    # The program has a socket to us. Credentials in its environment could be read by others.
    for name in (credentials.JSON_VARIABLE, *(() if options.pass_notify else systemd.VARIABLES)):
        os.environ.pop(name, None)
    _log_to_stderr()
    run = _Run(options, signals, notifier, terminal=terminal)
    try:
        asyncio.run(run.run())
    except BaseException:
        traceback.print_exc()
        run.exec_program_unless_started()
    end_as(OUR_FAULT)


class _Run:
    def __init__(self, options: Options, signals: Signals, notifier: Notifier, *, terminal: bool) -> None:
        self._options = options
        self._signals = signals
        self._notifier = notifier
        self._terminal = terminal
        self._program: Program | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stop_with: int | None = None
        self._is_finished = False
        self._close_now = asyncio.Event()

    async def run(self) -> NoReturn:
        kernel, directory = await self._open_kernel()
        with directory:
            self._signals.start(self._handle_signal)
            watchdog = asyncio.create_task(self._notifier.keep_alive())
            status = await self._supervise(kernel)
            self._is_finished = True
            unsent = await self._unsent(kernel)
            self._notifier.notify(STOPPING="1", STATUS=f"Sends the backlog: {unsent} messages")
            await self._close(kernel, unsent)
            watchdog.cancel()
        # Here, since children in the background must not delay or change the end.
        end_as(status)

    async def _open_kernel(self) -> tuple[Kernel, contextlib.AbstractContextManager[object]]:
        options = self._options
        try:
            return await self._enter(options.journal), contextlib.nullcontext()
        except JournalError as exc:
            log.error("%s What is not sent before the program ends is lost.", exc)
        try:
            # In memory where possible: the usual reason is a disk that is full or read-only.
            in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a fresh directory in it
            directory = tempfile.TemporaryDirectory(prefix="steward-run-", dir=in_memory)
            return await self._enter(os.path.join(directory.name, "journal")), directory
        except (OSError, JournalError) as exc:
            log.error("No journal can be written: the program runs unsupervised. %s", exc)
            self._exec_program()

    async def _enter(self, journal: "os.PathLike[str] | str") -> Kernel:
        kernel = Kernel.from_credentials(
            self._options.credentials,
            journal=journal,
            process=self._options.process,
            when_isolated=self._options.when_isolated,
            isolated_grace_s=self._options.isolated_grace_s,
            close_wait_s=0,  # ``_close`` waits
            bandwidth=self._options.bandwidth,
        )
        return await kernel.__aenter__()

    def exec_program_unless_started(self) -> None:
        """Replace this process by the command, after an unforeseen error."""
        if self._program is None or not self._program.has_started:
            self._exec_program()

    def _exec_program(self) -> NoReturn:
        command = self._options.command
        self._notifier.notify(READY="1", STATUS="Runs unsupervised")
        signal.pthread_sigmask(signal.SIG_SETMASK, self._signals.mask)
        try:
            os.execvp(command[0], command)  # noqa: S606
        except (OSError, ValueError) as exc:
            log.error("%s", exc)
            os._exit(status_of_start_failure(exc))

    async def _supervise(self, kernel: Kernel) -> int:
        try:
            program = await self._start(kernel)
        except (OSError, ValueError) as exc:
            return await self._report_start_failure(kernel, exc)
        except NodeError as exc:
            log.error("The program runs unsupervised. %s", exc)
            self._exec_program()
        if self._stop_with is not None and not self._stopping:
            self._stop(self._stop_with)  # a signal that came while the program was being started
        await program.wait()
        if self._stopping:
            await asyncio.wait({self._stopping})
        if program.status is None:
            return OUR_FAULT
        if program.keeps_leftovers(program.status):
            with contextlib.suppress(JournalError):
                await kernel.call(kernel.processes.keep_leftovers, program.name)
        return program.status

    async def _start(self, kernel: Kernel) -> Program:
        for number in range(1, NUMBERED_NAMES_MAX):
            name = self._options.process if number == 1 else f"{self._options.process} #{number}"
            program = self._program = self._make_program(kernel, name)
            try:
                await program.start()
                return program
            except ProcessTaken:
                log.warning("%s already runs on this node; this one gets a number", name)
        raise NodeError(f"{NUMBERED_NAMES_MAX} programs named {self._options.process} already run on this node.")

    def _make_program(self, kernel: Kernel, name: str) -> Program:
        return Program(
            kernel,
            name,
            self._options,
            terminal=self._terminal,
            mask=self._signals.mask,
            notifier=self._notifier,
            on_end_by_signal=lambda: self._stop(signal.SIGTERM),
        )

    async def _report_start_failure(self, kernel: Kernel, exc: OSError | ValueError) -> int:
        program = self._program
        assert program is not None  # noqa: S101 - narrows the type
        draft = program.describe_start_failure(exc)
        log.error("%s", exc)
        with contextlib.suppress(JournalError):
            await kernel.report(EventType.ERROR, program.name, draft)
        return status_of_start_failure(exc)

    async def _unsent(self, kernel: Kernel) -> int:
        with contextlib.suppress(JournalError):
            return await kernel.call(kernel.backlog.count_own)
        return 0

    async def _close(self, kernel: Kernel, unsent: int) -> None:
        """Send as many messages as two seconds allow; a second signal ends the wait."""
        if unsent >= backlog_log.LONG:
            log.warning("%d messages are unsent; what is not sent now stays in %s", unsent, kernel.journal.path)
        close_now = asyncio.create_task(self._close_now.wait())
        for part, at_most_s in ((kernel.flush(FLUSH_S), FLUSH_S + 1), (kernel.__aexit__(None, None, None), CLOSE_S)):
            closing = asyncio.ensure_future(part)
            await asyncio.wait({closing, close_now}, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not closing.cancelled():
                closing.exception()  # the backlog stays in the journal

    def _handle_signal(self, number: int, from_terminal: bool) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        is_running = self._program is not None and self._program.is_running
        reached_it = is_running and self._terminal and from_terminal
        if (number in _END_SIGNALS and not reached_it) or (number in _MAY_END_SIGNALS and not is_running):
            self._stop(number)
            return
        if number == signal.SIGTSTP:
            # Alone in its session SIGTSTP would not stop it: nobody could continue it.
            self._send_signal(signal.SIGSTOP)
            stop_this_process()
            return
        if not reached_it:
            self._send_signal(number)
        if self._program and number in _MAY_END_SIGNALS:
            self._program.signal_sent(number)

    def _send_signal(self, number: int) -> None:
        if self._program:
            self._program.send_signal(number)

    def _stop(self, number: int) -> None:
        """End the program for good; at the second call, or if it has ended, at once."""
        if self._stopping and self._program:
            self._program.end_grace()
        if self._stopping or self._is_finished:
            self._close_now.set()
            return
        self._stop_with = number
        if self._program and self._program.is_started:
            self._notifier.notify(STOPPING="1", STATUS="Ends the program")
            self._program.stop_signal = number
            self._stopping = asyncio.ensure_future(self._program.stop())

    def _reap(self) -> None:
        program = self._program
        if not orphans.reap(lambda pid: program is not None and program.waits_for(pid)):
            asyncio.get_running_loop().call_later(REAP_AGAIN_S, self._reap)


def _open_standard_descriptors() -> None:
    """A closed one (``<&-``) would be reused by the next file that we open, and be written to by mistake."""
    for _ in range(3):
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def _has_terminal() -> bool:
    """Whether standard input is the terminal that controls us."""
    try:
        return os.tcgetpgrp(0) >= 0
    except OSError:
        return False


class _Deduplicate(logging.Filter):
    """Passes each message once: repetitions, for days, must not drown the output of the program.

    Those marked with ``backlog_log.REPEATS`` are few.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        new = str(record.msg) not in self._logged or getattr(record, "repeats", False)
        self._logged.add(str(record.msg))
        return new


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("steward run: %(message)s"))
    handler.addFilter(_Deduplicate())
    logger = logging.getLogger("errorkernel")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
