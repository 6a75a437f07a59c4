"""Workers that are operating-system processes, so that kill is real: SIGTERM, a grace, SIGKILL, with all children.

The process reports and asks over a socket that it inherits (``errorkernel.node.process.child``); it needs no broker.
When it ends badly by itself, that is reported with its status and the end of its standard error, which is also passed
through.
"""

import asyncio
import contextlib
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from errorkernel.domain.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.process import pipe, spawn
from errorkernel.node.process.stderr_tail import LastWords
from errorkernel.node.reporting.event_builder import Report, describe
from errorkernel.node.supervision.interfaces import Host
from errorkernel.node.supervision.worker import Life, Supervised

log = logging.getLogger("errorkernel.node")

STDERR_LINES = 30
FORCED_S = 3.0
"""After SIGKILL only a process that hangs in the operating system is still there."""
LAST_WORDS_S = 5.0
"""So long a reader of our standard error may take for nothing at all before what a process said last is given up."""
LINE_END_S = 10.0 if sys.platform == "linux" else 0.5
"""For the reports that an ended process had sent. Elsewhere its children may hold the line open for ever."""
_ROOT = str(Path(__file__).resolve().parents[3])


class ProcessWorker(Supervised):
    """``command`` (an argument list), or a Python function that can be imported, in a process of its own, supervised.

    ``env``: added to ours. ``ties``: what it has in common with us. ``stderr_lines``: how many of the last are told.
    For other ``options`` see ``Supervised``.
    """

    def __init__(
        self,
        kernel: Host,
        name: str,
        command: Sequence[str] | Callable[..., object],
        arguments: Sequence[object] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        ties: spawn.Ties = spawn.ALONE,
        stderr_lines: int = STDERR_LINES,
        **options: object,
    ) -> None:
        super().__init__(kernel, name, **options)  # type: ignore[arg-type]
        self.ties = ties
        self.stderr_lines = stderr_lines
        self.end_with: int = signal.SIGTERM
        """The signal that asks it to end."""
        self.status: int | None = None
        """Of the last incarnation that has ended; negative: the signal that ended it."""
        self._latest: _ProcessLife | None = None
        self._env = dict(env or {})
        self._cwd = cwd
        self._work: pipe.Work | None = None
        if callable(command):
            self._work = _work(command, arguments, self.on_exception)
            self._argv = [sys.executable, "-m", "errorkernel.node.process.child_main", self.name]
            paths = [_ROOT, *filter(None, [self._env.get("PYTHONPATH", os.environ.get("PYTHONPATH"))])]
            self._env["PYTHONPATH"] = os.pathsep.join(paths)
        else:
            self._argv = [os.fspath(one) for one in command]

    def new_mark(self) -> str:
        return uuid.uuid4().hex

    def send(self, number: int) -> None:
        """Pass a signal on to the process and its children, if it runs."""
        if self._latest:
            self._latest.send(number)

    def force(self) -> None:
        """Do not wait for the end of the grace."""
        if self._latest:
            self._latest.force()

    @property
    def runs(self) -> bool:
        """Whether there is a process of it that has not been reaped yet."""
        return self._latest is not None and not self._latest.reaped

    def waits_for(self, pid: int) -> bool:
        """Whether this is that process."""
        return self.runs and self._latest is not None and self._latest.pid == pid

    def spares(self, status: int) -> bool:
        """Whether the children of a process that ended by itself may live on. Called in another thread."""
        return False

    def was_told(self, status: int) -> bool:
        """Whether somebody had told the process to end so, which is then no failure."""
        return False

    def describe_failure(self, status: int, last_words: list[str]) -> Report:
        """What is reported of a process that ended badly."""
        how = status_name(status)
        last = next((line for line in reversed(last_words) if line.strip()), "")
        text = f"{self.name} ended with {how}" + (f": {last.strip()}" if last else "")
        return describe(text, {"kind": how, "stack": "\n".join(last_words)})

    async def clear_away(self, former_life: str) -> None:
        killed = await asyncio.to_thread(spawn.sweep, former_life)
        if killed:
            log.warning("Ended %d processes that a former incarnation of %s had left behind", killed, self.name)

    async def bring_to_life(self, life_mark: str) -> Life:
        ours, theirs = socket.socketpair()
        environ = {
            **os.environ,
            **self._env,
            pipe.FD: str(theirs.fileno()),
            pipe.NODE: self.kernel.node,
            pipe.PROCESS: self.name,
            pipe.INCARNATION: str(self.incarnation),
            pipe.LIFE: life_mark,
        }
        try:
            with theirs:
                # Here, in the event loop's thread, because it dies with the thread that starts it.
                process = spawn.start(self._argv, env=environ, cwd=self._cwd, line_fd=theirs.fileno(), ties=self.ties)
        except BaseException:
            ours.close()
            raise
        life = self._latest = _ProcessLife(self, process, life_mark)
        try:
            await life.connect(ours, self._work)
        except BaseException:
            life.send(signal.SIGKILL)
            raise
        return life


class _ProcessLife:
    def __init__(self, worker: ProcessWorker, process: "subprocess.Popen[bytes]", mark: str) -> None:
        self.pid: int | None = process.pid
        self.failure: Report | None = None
        self._worker = worker
        self._process = process
        self._told = False
        self._said: Report | None = None
        self._ordered = False
        self._asking: set[asyncio.Task[None]] = set()
        self._going_on: dict[int, Decision] = {}
        self._last_words: LastWords | None = None
        if process.stderr is not None:
            with process.stderr as stream:
                self._last_words = LastWords(os.dup(stream.fileno()), lines=worker.stderr_lines)
        self._ours: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._forced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exit = spawn.when_ended(process, mark, worker.ties, self._spared)
        self.ended: asyncio.Future[bool] = asyncio.ensure_future(self._finish())

    @property
    def reaped(self) -> bool:
        return self._exit.done()

    async def connect(self, ours: socket.socket, work: pipe.Work | None) -> None:
        self._ours = ours
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=pipe.LINE_MAX_BYTES)
        if work:
            writer.write(pipe.encode(work))
        self._reading = asyncio.create_task(self._listen(reader, writer), name=f"line of {self._worker.name}")

    def send(self, number: int) -> None:
        if not self._exit.done():
            spawn.send(self._process, number, self._worker.ties)

    def force(self) -> None:
        if not self._forced.done():
            self._forced.set_result(None)

    async def end(self, grace_s: float) -> bool:
        self._ordered = True
        self.send(self._worker.end_with)
        self.send(signal.SIGCONT)  # one that is stopped would take no other signal
        happenings: set[asyncio.Future[Any]] = {self._exit, self._forced}
        await asyncio.wait(happenings, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        if not self._exit.done():
            self.send(signal.SIGKILL)
            await asyncio.wait({self._exit}, timeout=FORCED_S)
        if self._exit.done():
            await asyncio.wait({self.ended})
        return self._exit.done()

    def _spared(self, status: int) -> bool:
        return not self._ordered and self._worker.spares(status)

    async def _finish(self) -> bool:
        status = await asyncio.shield(self._exit)
        self._worker.status = status
        await self._hear_the_end()
        for decision in self._going_on.values():
            await self._worker.kernel.give_up(decision.incident, "The process ended before it went on.")
        if self._worker.was_told(status):
            return False
        if status and not self._told and not self._ordered:
            last_words = self._last_words.told() if self._last_words else []
            self.failure = self._worker.describe_failure(status, last_words)
        return status != 0

    async def _hear_the_end(self) -> None:
        """What it said before it ended is still in the socket and the pipe."""
        if self._reading and self._ours and not self._reading.done():
            if sys.platform == "linux":
                # Reads on to the end of what it has sent, even if its children hold the line open.
                with contextlib.suppress(OSError):
                    self._ours.shutdown(socket.SHUT_RD)
            await asyncio.wait({self._reading}, timeout=LINE_END_S)
            self._reading.cancel()
        if self._last_words:
            self._last_words.finish()
            passed, since = -1, time.monotonic()
            while not self._last_words.over and time.monotonic() - since < LAST_WORDS_S:
                if self._last_words.passed != passed:
                    passed, since = self._last_words.passed, time.monotonic()
                await asyncio.sleep(0.005)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what the child asks for, one line after the other, until it has nothing more to say."""
        try:
            while line := await reader.readline():
                await self._heard(pipe.decode_from_child(line), writer)
        except (pipe.Nonsense, ValueError) as exc:
            log.error("What the worker %s says cannot be understood; its line is closed: %s", self._worker.name, exc)
        except OSError as exc:
            log.debug("The line of the worker %s has broken: %s", self._worker.name, exc)
        finally:
            for asking in self._asking:
                asking.cancel()
            writer.close()

    async def _heard(self, message: pipe.FromChild, writer: asyncio.StreamWriter) -> None:
        kernel, name = self._worker.kernel, self._worker.name
        if isinstance(message, pipe.Told):
            self._told = True
            self._worker.last_failure = self._said or self._worker.last_failure
        elif isinstance(message, pipe.WentOn):
            decision = self._going_on.pop(message.number, None)
            if decision:
                await kernel.settle(decision, OutcomeState.APPLIED)
        elif message.type is EventType.ACTION:
            task = asyncio.create_task(self._ask(message, writer))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            try:
                self._said = message.report
                event_id = await kernel.report(message.type, name, message.report)
                writer.write(pipe.encode(pipe.Noted(message.number, event_id)))
            except JournalError as exc:
                writer.write(pipe.encode(pipe.Refused(message.number, str(exc))))
            await writer.drain()

    async def _ask(self, message: pipe.Say, writer: asyncio.StreamWriter) -> None:
        self._worker.last_failure = message.report
        try:
            decision = await self._worker.kernel.put(self._worker.name, message.report)
        except JournalError as exc:
            writer.write(pipe.encode(pipe.Refused(message.number, str(exc))))
            return
        except Exception as exc:
            log.exception("A question of the worker %s cannot be asked", self._worker.name)
            writer.write(pipe.encode(pipe.Refused(message.number, f"The supervisor failed: {exc!r}")))
            return
        if decision.action is not Action.CONTINUE:
            self._worker.obey(decision)
            return
        self._going_on[message.number] = decision
        writer.write(pipe.encode(pipe.Answer(message.number, decision.action)))


def _work(function: Callable[..., object], arguments: Sequence[object], on_exception: str) -> pipe.Work:
    """Raises pickle.PicklingError (or AttributeError, TypeError) for what a fresh interpreter could not import."""
    call = pickle.dumps((function, tuple(arguments)))
    preparation = multiprocessing.spawn.get_preparation_data("worker")
    # Not for our child: a secret that it has no use for, and the directory, which is ours to choose.
    preparation.pop("authkey", None)
    preparation.pop("dir", None)
    if b"__main__" not in call:
        # Our main module is not needed there, and may be large: running it again would cost every start of a worker.
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
    return pipe.Work(
        call=call,
        preparation=pickle.dumps(preparation),
        on_exception=on_exception,
        python_path=os.environ.get("PYTHONPATH"),
    )


def status_name(status: int) -> str:
    """``exit status 3``, ``SIGSEGV``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
