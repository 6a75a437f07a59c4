"""``steward run``: supervises any program, in any language, as if nobody did.

Whoever starts it sees the program: its output, its exit status, the signal that ended it; and the program sees whoever
started it. It runs at once, whether or not the broker can be reached, and whatever happens to the journal: a supervisor
must never be the reason why a program does not run.
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
from errorkernel.node.errors import JournalError, NodeError, ProcessTaken
from errorkernel.node.process import orphans
from errorkernel.node.run import systemd
from errorkernel.node.run.options import OUR_FAULT, Options, parse
from errorkernel.node.run.program import Program, status_of_no_start
from errorkernel.node.run.signals import Signals, end_as, stop_ourselves
from errorkernel.node.run.systemd import Notifier

log = logging.getLogger("errorkernel.node")

FLUSH_S = 2.0
CLOSE_S = 3.0
REAP_AGAIN_S = 0.02
_END = (signal.SIGTERM, signal.SIGINT)
_MAY_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""A program may do something else when it gets one of these; while none runs, they are for us."""
NAMES_MAX = 100


def main(argv: Sequence[str]) -> NoReturn:
    """Ends this program, with the status of the one that it has run."""
    _open_standard_descriptors()
    terminal = _has_terminal()
    signals = Signals(job_control=terminal)  # as early as can be
    options = parse(argv, os.environ)
    notifier = Notifier.from_env({} if options.pass_notify else os.environ)
    # The program has a line to us, and needs no credentials of its own that anybody could read in its environment.
    for name in (credentials.JSON_VARIABLE, *(() if options.pass_notify else systemd.VARIABLES)):
        os.environ.pop(name, None)
    _log_to_stderr()
    run = _Run(options, signals, notifier, terminal=terminal)
    try:
        asyncio.run(run.run())
    except BaseException:
        traceback.print_exc()
        run.become_the_program_unless_it_runs()
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
        self._over = False
        self._hurry = asyncio.Event()

    async def run(self) -> NoReturn:
        kernel, directory = await self._open_kernel()
        with directory:
            self._signals.start(self._hear)
            watchdog = asyncio.create_task(self._notifier.keep_alive())
            status = await self._supervise(kernel)
            self._over = True
            self._notifier.say(STOPPING="1", STATUS="Sends what is unsent")
            await self._close(kernel)
            watchdog.cancel()
        # From within, since whatever is still in the background here must not hold the end up or change it.
        end_as(status)

    async def _open_kernel(self) -> tuple[Kernel, contextlib.AbstractContextManager[object]]:
        options = self._options
        try:
            return await self._enter(options.journal), contextlib.nullcontext()
        except JournalError as exc:
            log.error("%s What cannot be sent until the program has ended is lost.", exc)
        try:
            # Where there is one, in memory: the usual reason is a disk that is full or read-only.
            in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a fresh directory in it
            directory = tempfile.TemporaryDirectory(prefix="steward-run-", dir=in_memory)
            return await self._enter(os.path.join(directory.name, "journal")), directory
        except (OSError, JournalError) as exc:
            log.error("Nothing can be written down anywhere: the program runs unsupervised. %s", exc)
            self._become_the_program()

    async def _enter(self, journal: "os.PathLike[str] | str") -> Kernel:
        kernel = Kernel.from_credentials(
            self._options.credentials,
            journal=journal,
            process=self._options.process,
            when_isolated=self._options.when_isolated,
            isolated_grace_s=self._options.isolated_grace_s,
        )
        return await kernel.__aenter__()

    def become_the_program_unless_it_runs(self) -> None:
        """For what nobody has foreseen."""
        if self._program is None or not self._program.has_lived:
            self._become_the_program()

    def _become_the_program(self) -> NoReturn:
        command = self._options.command
        self._notifier.say(READY="1", STATUS="Runs unsupervised")
        signal.pthread_sigmask(signal.SIG_SETMASK, self._signals.mask)
        try:
            os.execvp(command[0], command)  # noqa: S606
        except (OSError, ValueError) as exc:
            log.error("%s", exc)
            os._exit(status_of_no_start(exc))

    async def _supervise(self, kernel: Kernel) -> int:
        try:
            program = await self._start(kernel)
        except (OSError, ValueError) as exc:
            return await self._not_started(kernel, exc)
        except NodeError as exc:
            log.error("The program runs unsupervised. %s", exc)
            self._become_the_program()
        if self._stop_with is not None and not self._stopping:
            self._stop(self._stop_with)  # it came while the program was being started
        await program.wait()
        if self._stopping:
            await asyncio.wait({self._stopping})
        if program.status is None:
            return OUR_FAULT
        if program.spares(program.status):
            with contextlib.suppress(JournalError):
                await kernel.call(kernel.roster.let_live, program.name)
        return program.status

    async def _start(self, kernel: Kernel) -> Program:
        for number in range(1, NAMES_MAX):
            name = self._options.process if number == 1 else f"{self._options.process} #{number}"
            program = self._program = self._make_program(kernel, name)
            try:
                await program.start()
                return program
            except ProcessTaken:
                log.warning("%s runs already on this node; another one beside it gets a number", name)
        raise NodeError(f"{NAMES_MAX} programs of the name {self._options.process} run on this node.")

    def _make_program(self, kernel: Kernel, name: str) -> Program:
        return Program(
            kernel,
            name,
            self._options,
            terminal=self._terminal,
            mask=self._signals.mask,
            notifier=self._notifier,
            on_told_end=lambda: self._stop(signal.SIGTERM),
        )

    async def _not_started(self, kernel: Kernel, exc: OSError | ValueError) -> int:
        program = self._program
        assert program is not None  # noqa: S101 - narrows the type
        report = program.describe_no_start(exc)
        log.error("%s", exc)
        with contextlib.suppress(JournalError):
            await kernel.report(EventType.ERROR, program.name, report)
        return status_of_no_start(exc)

    async def _close(self, kernel: Kernel) -> None:
        """Send what can be sent in a moment; a second signal is in a hurry."""
        hurry = asyncio.create_task(self._hurry.wait())
        for part, at_most_s in ((kernel.flush(FLUSH_S), FLUSH_S + 1), (kernel.__aexit__(None, None, None), CLOSE_S)):
            closing = asyncio.ensure_future(part)
            await asyncio.wait({closing, hurry}, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not closing.cancelled():
                closing.exception()  # what could not be sent stays in the journal

    def _hear(self, number: int, from_the_terminal: bool) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        runs = self._program is not None and self._program.runs
        reached_it = runs and self._terminal and from_the_terminal
        if (number in _END and not reached_it) or (number in _MAY_END and not runs):
            self._stop(number)
            return
        if number == signal.SIGTSTP:
            # Alone in its session it could not be stopped by this one: nobody would be there to let it go on.
            self._send(signal.SIGSTOP)
            stop_ourselves()
            return
        if not reached_it:
            self._send(number)
        if self._program and number in _MAY_END:
            self._program.told(number)

    def _send(self, number: int) -> None:
        if self._program:
            self._program.send(number)

    def _stop(self, number: int) -> None:
        """End the program for good; the second time, or when it has ended already, at once."""
        if self._stopping and self._program:
            self._program.force()
        if self._stopping or self._over:
            self._hurry.set()
            return
        self._stop_with = number
        if self._program and self._program.started:
            self._notifier.say(STOPPING="1", STATUS="Ends the program")
            self._program.end_with = number
            self._stopping = asyncio.ensure_future(self._program.stop())

    def _reap(self) -> None:
        program = self._program
        if not orphans.reap(lambda pid: program is not None and program.waits_for(pid)):
            asyncio.get_running_loop().call_later(REAP_AGAIN_S, self._reap)


def _open_standard_descriptors() -> None:
    """One that was closed (``<&-``) would be taken by the next file that we open, and be written to by mistake."""
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


class _Once(logging.Filter):
    """The same complaint is heard once: what repeats it (every second, for days) must not drown the program's own."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        new = str(record.msg) not in self._said
        self._said.add(str(record.msg))
        return new


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("steward run: %(message)s"))
    handler.addFilter(_Once())
    logger = logging.getLogger("errorkernel")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
