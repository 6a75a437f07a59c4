"""Workers that are operating-system processes, so that *kill* is certain: SIGTERM, grace, SIGKILL, with all children.

The process reports and asks over a socket that it inherits (``errorkernel.node.process.child``); it needs no broker. If
it fails, its exit status and the end of its standard error are reported; standard error is also passed through.
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

from errorkernel.domain import crash_text
from errorkernel.domain.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.errors import JournalError
from errorkernel.node.process import messages, spawn
from errorkernel.node.process.stderr_tail import StderrTail
from errorkernel.node.reporting.event_builder import EventDraft, describe
from errorkernel.node.supervision.interfaces import Host
from errorkernel.node.supervision.worker import Incarnation, SupervisedWorker

log = logging.getLogger("errorkernel.node")

STDERR_LINES = 30
KILL_WAIT_S = 3.0
"""After SIGKILL only a process that hangs in the operating system is still there."""
STDERR_STALL_S = 5.0
"""The rest of standard error is given up when its reader takes nothing for so long."""
SOCKET_DRAIN_S = 10.0 if sys.platform == "linux" else 0.5
"""For events that an ended process had sent. Elsewhere its children may hold the socket open for ever."""
_ROOT = str(Path(__file__).resolve().parents[3])


class ProcessWorker(SupervisedWorker):
    """``command`` (an argument list), or a Python function that can be imported, as a supervised process.

    ``env``: added to the environment. ``inheritance``: files it shares with this program. ``stderr_lines``: the number
    of last lines that are reported. For other ``options`` see ``SupervisedWorker``.
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
        inheritance: spawn.Inheritance = spawn.NOTHING,
        stderr_lines: int = STDERR_LINES,
        **options: object,
    ) -> None:
        super().__init__(kernel, name, **options)  # type: ignore[arg-type]
        self.inheritance = inheritance
        self.stderr_lines = stderr_lines
        self.stop_signal: int = signal.SIGTERM
        """The signal that asks it to end."""
        self.status: int | None = None
        """Of the last incarnation that has ended; negative: the signal that ended it."""
        self._latest: _ProcessIncarnation | None = None
        self._env = dict(env or {})
        self._cwd = cwd
        self._call: messages.FunctionCall | None = None
        if callable(command):
            self._call = _make_call(command, arguments, self.on_exception)
            self._argv = [sys.executable, "-m", "errorkernel.node.process.child_main", self.name]
            paths = [_ROOT, *filter(None, [self._env.get("PYTHONPATH", os.environ.get("PYTHONPATH"))])]
            self._env["PYTHONPATH"] = os.pathsep.join(paths)
        else:
            self._argv = [os.fspath(part) for part in command]

    def make_mark(self) -> str:
        return uuid.uuid4().hex

    def send_signal(self, number: int) -> None:
        """Send a signal to the process and its children, if it runs."""
        if self._latest:
            self._latest.send_signal(number)

    def end_grace(self) -> None:
        """Kill the ending process now, without waiting for the grace period."""
        if self._latest:
            self._latest.end_grace()

    @property
    def is_running(self) -> bool:
        """Whether it has a process that has not been reaped yet."""
        return self._latest is not None and not self._latest.is_reaped

    def waits_for(self, pid: int) -> bool:
        """Whether this is the process that it waits for."""
        return self.is_running and self._latest is not None and self._latest.pid == pid

    def keeps_leftovers(self, status: int) -> bool:
        """Whether the children of a process that ended by itself may go on. Called in another thread."""
        return False

    def was_signalled_to_end(self, status: int) -> bool:
        """Whether a signal from outside has ended the process; then its end is not a failure."""
        return False

    def describe_failure(self, status: int, stderr: StderrTail | None) -> EventDraft:
        """The event that reports a failed process: the error that it wrote, where its runtime is known."""
        how = status_name(status)
        crash = crash_text.read(stderr.text() if stderr else "")
        text = crash.text
        if not crash.kind:
            text = f"{self.name} ended with {how}" + (f": {text}" if text else "")
        stack = crash.stack or "\n".join(stderr.last_lines() if stderr else [])
        return describe(text, {"kind": crash.kind or how, "stack": stack, "tags": {"exit": how}})

    async def kill_leftovers(self, former_mark: str) -> None:
        killed = await asyncio.to_thread(spawn.kill_marked, former_mark)
        if killed:
            log.warning("Ended %d processes that a former incarnation of %s had left behind", killed, self.name)

    async def start_incarnation(self, mark: str) -> Incarnation:
        ours, theirs = socket.socketpair()
        environ = {
            **os.environ,
            **self._env,
            messages.FD: str(theirs.fileno()),
            messages.NODE: self.kernel.node,
            messages.PROCESS: self.name,
            messages.INCARNATION: str(self.incarnation),
            messages.MARK: mark,
        }
        try:
            with theirs:
                # Here, in the event loop's thread, because it dies with the thread that starts it.
                process = spawn.start(
                    self._argv, env=environ, cwd=self._cwd, socket_fd=theirs.fileno(), inheritance=self.inheritance
                )
        except BaseException:
            ours.close()
            raise
        current = self._latest = _ProcessIncarnation(self, process, mark)
        try:
            await current.connect(ours, self._call)
        except BaseException:
            current.send_signal(signal.SIGKILL)
            raise
        return current


class _ProcessIncarnation:
    def __init__(self, worker: ProcessWorker, process: "subprocess.Popen[bytes]", mark: str) -> None:
        self.pid: int | None = process.pid
        self.failure: EventDraft | None = None
        self._worker = worker
        self._process = process
        self._has_reported_failure = False
        self._last_reported: EventDraft | None = None
        self._is_ending = False
        self._asking: set[asyncio.Task[None]] = set()
        self._continuing: dict[int, Decision] = {}
        self._stderr: StderrTail | None = None
        if process.stderr is not None:
            with process.stderr as stream:
                self._stderr = StderrTail(os.dup(stream.fileno()), lines=worker.stderr_lines)
        self._socket: socket.socket | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._grace_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exit = spawn.watch_exit(process, mark, worker.inheritance, self._keeps_leftovers)
        self.ended: asyncio.Future[bool] = asyncio.ensure_future(self._finish())

    @property
    def is_reaped(self) -> bool:
        return self._exit.done()

    async def connect(self, ours: socket.socket, call: messages.FunctionCall | None) -> None:
        self._socket = ours
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=messages.LINE_MAX_BYTES)
        if call:
            writer.write(messages.encode(call))
        self._receiving = asyncio.create_task(self._receive(reader, writer), name=f"socket of {self._worker.name}")

    def send_signal(self, number: int) -> None:
        if not self._exit.done():
            spawn.send_signal(self._process, number, self._worker.inheritance)

    def end_grace(self) -> None:
        if not self._grace_over.done():
            self._grace_over.set_result(None)

    async def end(self, grace_s: float) -> bool:
        self._is_ending = True
        self.send_signal(self._worker.stop_signal)
        self.send_signal(signal.SIGCONT)  # a stopped process takes no other signal
        either: set[asyncio.Future[Any]] = {self._exit, self._grace_over}
        await asyncio.wait(either, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        if not self._exit.done():
            self.send_signal(signal.SIGKILL)
            await asyncio.wait({self._exit}, timeout=KILL_WAIT_S)
        if self._exit.done():
            await asyncio.wait({self.ended})
        return self._exit.done()

    def _keeps_leftovers(self, status: int) -> bool:
        return not self._is_ending and self._worker.keeps_leftovers(status)

    async def _finish(self) -> bool:
        status = await asyncio.shield(self._exit)
        self._worker.status = status
        await self._drain(status)
        for decision in self._continuing.values():
            await self._worker.kernel.withdraw(decision.incident, "The process ended before it went on.")
        if self._worker.was_signalled_to_end(status):
            return False
        if status and not self._has_reported_failure and not self._is_ending:
            self.failure = self._worker.describe_failure(status, self._stderr)
        return status != 0

    async def _drain(self, status: int) -> None:
        """Read the last messages of the ended process, which are still in the socket and the pipe."""
        if self._receiving and self._socket and not self._receiving.done():
            if sys.platform == "linux":
                # Ends the reading after its last message, even if its children hold the socket open.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RD)
            await asyncio.wait({self._receiving}, timeout=SOCKET_DRAIN_S)
            self._receiving.cancel()
        if self._stderr:
            self._stderr.finish(keeps_writers=self._keeps_leftovers(status))
            passed, since = -1, time.monotonic()
            while not self._stderr.is_finished and time.monotonic() - since < STDERR_STALL_S:
                if self._stderr.passed_bytes != passed:
                    passed, since = self._stderr.passed_bytes, time.monotonic()
                await asyncio.sleep(0.005)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle the messages of the child, one after the other, until it closes the socket."""
        try:
            while line := await reader.readline():
                await self._handle(messages.decode_from_child(line), writer)
        except (messages.InvalidLine, ValueError) as exc:
            log.error("The worker %s sent an invalid message; its socket is closed: %s", self._worker.name, exc)
        except OSError as exc:
            log.debug("The socket of the worker %s has failed: %s", self._worker.name, exc)
        finally:
            for asking in self._asking:
                asking.cancel()
            writer.close()

    async def _handle(self, message: messages.FromChild, writer: asyncio.StreamWriter) -> None:
        kernel, name = self._worker.kernel, self._worker.name
        if isinstance(message, messages.FailureReported):
            self._has_reported_failure = True
            self._worker.last_failure = self._last_reported or self._worker.last_failure
        elif isinstance(message, messages.Continued):
            decision = self._continuing.pop(message.number, None)
            if decision:
                await kernel.report_outcome(decision, OutcomeState.APPLIED)
        elif message.type is EventType.ACTION:
            task = asyncio.create_task(self._ask(message, writer))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            try:
                self._last_reported = message.draft
                event_id = await kernel.report(message.type, name, message.draft)
                writer.write(messages.encode(messages.EventAccepted(message.number, event_id)))
            except JournalError as exc:
                writer.write(messages.encode(messages.EventRejected(message.number, str(exc))))
            await writer.drain()

    async def _ask(self, message: messages.ReportEvent, writer: asyncio.StreamWriter) -> None:
        self._worker.last_failure = message.draft
        try:
            decision = await self._worker.kernel.request_decision(self._worker.name, message.draft)
        except JournalError as exc:
            writer.write(messages.encode(messages.EventRejected(message.number, str(exc))))
            return
        except Exception as exc:
            log.exception("An incident of the worker %s cannot be opened", self._worker.name)
            writer.write(messages.encode(messages.EventRejected(message.number, f"The supervisor failed: {exc!r}")))
            return
        if decision.action is not Action.CONTINUE:
            self._worker.obey(decision)
            return
        self._continuing[message.number] = decision
        writer.write(messages.encode(messages.DecisionReply(message.number, decision.action)))


def _make_call(
    function: Callable[..., object], arguments: Sequence[object], on_exception: str
) -> messages.FunctionCall:
    """Raises pickle.PicklingError (or AttributeError, TypeError) for what a fresh interpreter cannot import."""
    call = pickle.dumps((function, tuple(arguments)))
    preparation = multiprocessing.spawn.get_preparation_data("worker")
    # Not for our child: a secret that it has no use for, and the directory, which the caller chooses.
    preparation.pop("authkey", None)
    preparation.pop("dir", None)
    if b"__main__" not in call:
        # The child does not need our main module, which may be large: importing it would slow every start down.
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
    return messages.FunctionCall(
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
