"""Workers that can be told: continue, or be killed and replaced by the next incarnation.

A ``TaskWorker`` is an asyncio task of this program: it can be cancelled, not killed, and a task that will not end is
reported as *failed*. A ``ProcessWorker`` is an operating-system process in a session of its own: SIGTERM, a grace,
then SIGKILL for it and all of its children.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from errorkernel.broker.embedded import die_with_parent
from errorkernel.core.values import Action, Decision, EventType, OutcomeState
from errorkernel.node.child import FD_VARIABLE
from errorkernel.node.client import Kernel
from errorkernel.node.restart import Backoff, Restart, starts_again

log = logging.getLogger("errorkernel.node")

GRACE_S = 5.0
STDERR_LINES = 20
_LINE_LIMIT = 1024 * 1024


class _Supervised:
    """What both kinds share: incarnations, restarts, obeying."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        *,
        restart: Restart | str = Restart.TRANSIENT,
        grace_s: float = GRACE_S,
        backoff: Backoff | None = None,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.incarnation = 0
        self._restart = Restart(restart)
        self._grace_s = grace_s
        self._backoff = backoff or Backoff()
        self._killed: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Any:
        self._task = asyncio.create_task(self._supervise(), name=f"worker {self.name}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def wait(self) -> None:
        """Return when the worker has ended and will not be started again."""
        if self._task:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """End the worker for good."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def obey(self, decision: Decision) -> None:
        """The answer to this worker's question was kill or stop."""
        if not self._killed.done():
            self._killed.set_result(decision)

    async def _supervise(self) -> None:
        failures, killed_by = 0, None
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._killed = loop.create_future()
            await self._begin()
            if killed_by:
                self.kernel.settle(killed_by, OutcomeState.APPLIED, new_incarnation=self.incarnation)
                killed_by = None
            ending = asyncio.ensure_future(self._run_to_end())
            either: list[asyncio.Future[Any]] = [ending, self._killed]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await self._end(ending)
                raise
            if self._killed.done():
                killed_by = self._killed.result()
                if not await self._end(ending):
                    detail = f"The worker did not end within {self._grace_s:g} s."
                    self.kernel.settle(killed_by, OutcomeState.FAILED, detail=detail)
                    return
                if killed_by.action is Action.STOP:
                    self._gone()
                    self.kernel.settle(killed_by, OutcomeState.APPLIED)
                    return
                continue
            failed = ending.result()
            failures = failures + 1 if failed and loop.time() - started < self._backoff.healthy_s else int(failed)
            if not starts_again(self._restart, failed=failed):
                self._gone()
                return
            await asyncio.sleep(self._backoff.delay_s(failures, random.random()))  # noqa: S311 - spreads restarts

    def _gone(self) -> None:
        self.kernel.standings.pop(self.name, None)

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _run_to_end(self) -> bool:
        """Return whether it ended by a failure."""
        raise NotImplementedError

    async def _end(self, ending: asyncio.Future[bool]) -> bool:
        """Make it end; False where it would not."""
        raise NotImplementedError


class Context:
    """What a task worker's function is given: to report and to ask in the worker's name."""

    def __init__(self, worker: "TaskWorker") -> None:
        self._worker = worker
        self.incarnation = worker.incarnation

    async def error(self, error: BaseException | str, **details: Any) -> UUID:
        return await self._worker.kernel.error(error, process=self._worker.name, **details)

    async def info(self, text: str, **details: Any) -> UUID:
        return await self._worker.kernel.info(text, process=self._worker.name, **details)

    async def ask(self, error: BaseException | str, **details: Any) -> Action:
        """Block for the answer. Returns only for ``continue``: otherwise this worker is ended while it waits here."""
        decision = await self._worker.kernel.question(error, process=self._worker.name, **details)
        if decision.action is not Action.CONTINUE:
            self._worker.obey(decision)
            await asyncio.get_running_loop().create_future()
        self._worker.kernel.settle(decision, OutcomeState.APPLIED)
        return decision.action


class TaskWorker(_Supervised):
    """``function(ctx)`` as a task. ``on_exception``: ``report`` and restart, or ``ask`` first."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        function: Callable[[Context], Awaitable[None]],
        *,
        on_exception: str = "report",
        **options: Any,
    ) -> None:
        super().__init__(kernel, name, **options)
        self._function = function
        self._asks = on_exception == "ask"

    async def _begin(self) -> None:
        self.incarnation = self.kernel.start(self.name, pid=os.getpid())

    async def _run_to_end(self) -> bool:
        context = Context(self)
        try:
            await self._function(context)
        except Exception as exc:
            if self._asks:
                await context.ask(exc)
            else:
                await context.error(exc)
            return True
        return False

    async def _end(self, ending: asyncio.Future[bool]) -> bool:
        ending.cancel()
        await asyncio.wait({ending}, timeout=self._grace_s)
        return ending.done()


class ProcessWorker(_Supervised):
    """``command`` as a process of its own; inside, ``errorkernel.node.child.worker()`` reports and asks."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(kernel, name, **options)
        self._command = list(command)
        self._env = dict(env or {})
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stderr: list[str] = []

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def _begin(self) -> None:
        self.incarnation = self.kernel.start(self.name)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                pass_fds=[theirs.fileno()],
                env={
                    **os.environ,
                    **self._env,
                    FD_VARIABLE: str(theirs.fileno()),
                    "STEWARD_WORKER_INCARNATION": str(self.incarnation),
                },
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                preexec_fn=die_with_parent,
                limit=_LINE_LIMIT,
            )
        self.kernel.standing(self.name).pid = self._process.pid
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        self._reading = asyncio.create_task(self._listen(reader, writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do what the child asks for, one line after the other, until it is gone."""
        try:
            while line := await reader.readline():
                said = json.loads(line)
                details = {**said["details"], "process": self.name}
                if said["do"] != "ask":
                    kind = EventType.INFO if said["do"] == "info" else EventType.ERROR
                    self.kernel.report(kind, said["text"], **details)
                    continue
                decision = await self.kernel.question(said["text"], **details)
                if decision.action is not Action.CONTINUE:
                    self.obey(decision)
                    return
                writer.write(json.dumps({"action": decision.action.value}).encode() + b"\n")
                await writer.drain()
                self.kernel.settle(decision, OutcomeState.APPLIED)
        except (ValueError, LookupError, TypeError, OSError):
            log.exception("What the worker %s says cannot be understood", self.name)
        finally:
            writer.close()

    async def _run_to_end(self) -> bool:
        assert self._process  # noqa: S101 - narrows the type
        assert self._process.stderr  # noqa: S101 - narrows the type
        self._stderr = []
        while line := await self._process.stderr.readline():
            self._stderr = [*self._stderr[1 - STDERR_LINES :], line.decode(errors="replace").rstrip()]
        status = await self._process.wait()
        if not self._killed.done():
            # A question of a process that is gone needs no answer.
            await self._stop_listening()
        if status != 0 and not self._killed.done():
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            await self.kernel.error(
                f"{self.name} ended with {how}: {(self._stderr or [''])[-1]}",
                process=self.name,
                error_kind="ProcessEnded",
                stack="\n".join(self._stderr),
            )
        return status != 0

    async def _end(self, ending: asyncio.Future[bool]) -> bool:
        assert self._process  # noqa: S101 - narrows the type
        self._signal(signal.SIGTERM)
        await asyncio.wait({ending}, timeout=self._grace_s)
        # Even where it ended in time: its children may not have.
        self._signal(signal.SIGKILL)
        await asyncio.wait({ending}, timeout=2)
        gone = self._process.returncode is not None
        ending.cancel()
        await self._stop_listening()
        return gone

    async def _stop_listening(self) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _signal(self, number: int) -> None:
        assert self._process  # noqa: S101 - narrows the type
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
