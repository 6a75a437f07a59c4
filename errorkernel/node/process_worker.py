"""Workers that are operating-system processes, so that kill is real: SIGTERM, a grace, SIGKILL, with all children.

The process reports and asks over a socket that it inherits (``errorkernel.node.child``); it needs no broker. When it
ends badly by itself, that is reported with its status and the end of its standard error, which is also passed through.
"""

import asyncio
import collections
import contextlib
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from errorkernel.core.values import Action, Decision, EventType, OutcomeState
from errorkernel.node import pipe, spawn
from errorkernel.node.client import Kernel
from errorkernel.node.errors import JournalError
from errorkernel.node.reports import Report, describe
from errorkernel.node.supervision import Supervised

log = logging.getLogger("errorkernel.node")

STDERR_LINES = 30
STDERR_LINE_BYTES = 2000
FORCED_S = 3.0
"""After SIGKILL only a process that hangs in the operating system is still there."""
_ROOT = str(Path(__file__).resolve().parents[2])


class ProcessWorker(Supervised):
    """``command`` (an argument list), or a Python function that can be imported, in a process of its own, supervised.

    ``env``: added to ours. For other ``options`` see ``Supervised``.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        command: Sequence[str] | Callable[..., object],
        arguments: Sequence[object] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **options: object,
    ) -> None:
        super().__init__(kernel, name, **options)  # type: ignore[arg-type]
        self._env = dict(env or {})
        self._cwd = cwd
        self._work: pipe.Work | None = None
        if callable(command):
            self._work = _work(command, arguments, self.on_exception)
            self._argv = [sys.executable, "-m", "errorkernel.node.child_main", self.name]
            paths = [_ROOT, *filter(None, [self._env.get("PYTHONPATH", os.environ.get("PYTHONPATH"))])]
            self._env["PYTHONPATH"] = os.pathsep.join(paths)
        else:
            self._argv = [os.fspath(one) for one in command]

    def new_mark(self) -> str:
        return uuid.uuid4().hex

    async def clear_away(self, former_life: str) -> None:
        killed = await asyncio.to_thread(spawn.sweep, former_life)
        if killed:
            log.warning("Ended %d processes that a former incarnation of %s had left behind", killed, self.name)

    async def bring_to_life(self, life_mark: str) -> "_ProcessLife":
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
                process = spawn.start(self._argv, env=environ, cwd=self._cwd, pass_fd=theirs.fileno())
        except BaseException:
            ours.close()
            raise
        life = _ProcessLife(self, process, life_mark)
        try:
            await life.connect(ours, self._work)
        except BaseException:
            spawn.signal_group(process.pid, signal.SIGKILL)
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
        self._tail: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._stderr = threading.Thread(target=self._read_stderr, name=f"stderr of {process.pid}", daemon=True)
        self._stderr.start()
        self._reading: asyncio.Task[None] | None = None
        self._exit = spawn.when_ended(process, mark)
        self.ended: asyncio.Future[bool] = asyncio.ensure_future(self._finish())

    async def connect(self, ours: socket.socket, work: pipe.Work | None) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=pipe.LINE_MAX_BYTES)
        if work:
            writer.write(pipe.encode(work))
        self._reading = asyncio.create_task(self._listen(reader, writer), name=f"line of {self._worker.name}")

    async def end(self, grace_s: float) -> bool:
        self._ordered = True
        spawn.signal_group(self._process.pid, signal.SIGTERM)
        await asyncio.wait({self._exit}, timeout=grace_s)
        if not self._exit.done():
            spawn.signal_group(self._process.pid, signal.SIGKILL)
            await asyncio.wait({self._exit}, timeout=FORCED_S)
        if self._exit.done():
            await asyncio.wait({self.ended})
        return self._exit.done()

    async def _finish(self) -> bool:
        status = await asyncio.shield(self._exit)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                # What it said before it ended: still in the socket and the pipe.
                if self._reading:
                    await asyncio.wait({self._reading})
                while self._stderr.is_alive():
                    await asyncio.sleep(0.01)
        if self._reading:
            self._reading.cancel()
        for decision in self._going_on.values():
            await self._worker.kernel.give_up(decision.incident, "The process ended before it went on.")
        if status and not self._told and not self._ordered:
            self.failure = self._describe(status)
        return status != 0

    def _describe(self, status: int) -> Report:
        how = f"exit status {status}" if status > 0 else _signal_name(-status)
        lines = list(self._tail)
        last = next((line for line in reversed(lines) if line.strip()), "")
        text = f"{self._worker.name} ended with {how}" + (f": {last.strip()}" if last else "")
        return describe(text, {"kind": how, "stack": "\n".join(lines)})

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

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - narrows the type
        with self._process.stderr as stream, contextlib.suppress(OSError, ValueError):
            while line := stream.readline(STDERR_LINE_BYTES):
                self._tail.append(line.decode(errors="replace").rstrip("\r\n"))
                with contextlib.suppress(OSError):
                    os.write(2, line)


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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
