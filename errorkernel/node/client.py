"""``Kernel``: the client of a program on a node.

``error`` and ``info`` return when the event is in the journal; a background task sends it, however long the connection
is away. ``ask`` blocks until the decision is there. Background tasks survive their own faults: the client must never
end the program that uses it.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, Unpack
from uuid import UUID

from errorkernel.broker.connection import Connection
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Action, Decision, EventType, OutcomeState
from errorkernel.node import credentials
from errorkernel.node.delivery.isolation import GRACE_S
from errorkernel.node.delivery.lifecycle import Delivery
from errorkernel.node.delivery.message_handlers import MessageHandler
from errorkernel.node.errors import CredentialsError, JournalError, NodeError
from errorkernel.node.journal.backlog import Backlog
from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.event_writer import EventWriter
from errorkernel.node.journal.incidents import Incidents
from errorkernel.node.journal.processes import Processes
from errorkernel.node.process.worker import ProcessWorker
from errorkernel.node.reporting import once
from errorkernel.node.reporting.context import Reporter
from errorkernel.node.reporting.event_builder import (
    AskDetails,
    Details,
    EventDraft,
    build_event,
    describe,
    process_name,
)
from errorkernel.node.reporting.fit import fit
from errorkernel.node.supervision.restart_policy import INTENSITY, PERIOD_S
from errorkernel.node.supervision.strategy import Strategy
from errorkernel.node.supervision.task_worker import Context, TaskWorker
from errorkernel.node.supervisor import Supervisor
from errorkernel.node.threads import SerialThread
from errorkernel.protocol import subjects

log = logging.getLogger("errorkernel.node")

P = ParamSpec("P")
R = TypeVar("R")

CLOSE_S = 1.0
"""For withdrawals that run in the background."""
CLOSE_WAIT_S = 5.0


class Kernel(Reporter):
    """``async with Kernel.from_file("ship1.json") as kernel:``

    ``journal``: path of the journal file (default: ``<node>.journal`` in the working directory); programs of one node
    may share it. ``process``: the process name of events that name none. ``max_reports``, ``max_bytes``: bounds of the
    backlog in the journal. ``when_isolated``: the decision (continue or kill) on an incident with a deadline if the
    kernel was not heard from since before the deadline, ``isolated_grace_s`` after it; default: none. ``close_wait_s``:
    how long closing waits for the first connection if something is unsent: a short program ends before it is there.
    ``bandwidth``: send the backlog with at most so many bytes a second.

    Raises JournalError if the journal cannot be used; the broker need not be there.
    """

    blocks_thread = False

    def __init__(
        self,
        node: str,
        nats_url: str,
        *,
        nkey_seed: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        process: str = "main",
        max_reports: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        when_isolated: Action | str | None = None,
        isolated_grace_s: float = GRACE_S,
        close_wait_s: float = CLOSE_WAIT_S,
        bandwidth: float | None = None,
    ) -> None:
        super().__init__()
        if not subjects.is_node_name(node):
            raise CredentialsError(f"{node!r} is not a node name: use 1 to 64 letters, digits, _ or -.")
        self.node = node
        self.process = process_name(process)
        self.close_wait_s = close_wait_s
        self.journal = Journal(Path(journal or f"{node}.journal"))
        self.backlog = Backlog(self.journal, max_rows=max_reports, max_bytes=max_bytes)
        self.incidents = Incidents(self.journal, node)
        self.processes = Processes(self.journal, node)
        self._thread = SerialThread(f"journal of {node}")
        self._delivery = Delivery(
            Connection(nats_url, name=node, seed=nkey_seed, inbox_prefix=subjects.inbox_prefix(node)),
            self.journal,
            self.backlog,
            self.incidents,
            self.processes,
            self._thread,
            report=self.report,
            obey=self._obey,
            when_isolated=when_isolated,
            isolated_grace_s=isolated_grace_s,
            bandwidth=bandwidth,
        )
        self.supervised_names: set[str] = set()
        """Names of the workers and supervisors of this program."""
        self._incarnations: dict[str, int] = {}
        self._incarnations_lock = threading.RLock()
        self._waiting: dict[UUID, asyncio.Future[Decision]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._writer = EventWriter(
            subjects.event(node),
            self.backlog,
            self._thread,
            incarnation_of=self.incarnation_of,
            known=self._incarnations,
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> "Kernel":
        """From the JSON that ``steward node add NAME --json`` prints. Raises CredentialsError, JournalError."""
        return cls.from_credentials(credentials.read(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> "Kernel":
        """``STEWARD_NODE_CREDENTIALS`` names the file, or ``STEWARD_NODE_CREDENTIALS_JSON`` holds its contents;
        ``STEWARD_NODE_JOURNAL`` names the journal, ``STEWARD_NODE_BANDWIDTH`` is the bandwidth. As ``from_file``."""
        if os.environ.get(credentials.JOURNAL_VARIABLE):
            options.setdefault("journal", os.environ[credentials.JOURNAL_VARIABLE])
        options.setdefault("bandwidth", credentials.bandwidth(os.environ))
        return cls.from_credentials(credentials.find(os.environ), **options)

    @classmethod
    def from_credentials(cls, given: credentials.Credentials, **options: Any) -> "Kernel":
        """From credentials that have been read. Raises CredentialsError, JournalError."""
        return cls(given.node, given.nats_url, nkey_seed=given.nkey_seed, **options)

    @property
    def connected(self) -> bool:
        """Whether the broker is connected now. Nothing needs to wait for it."""
        return self._delivery.connection.connected

    async def __aenter__(self) -> "Kernel":
        self._loop = asyncio.get_running_loop()
        await self.call(self.journal.register)
        await self.call(self.processes.adopt)
        self._delivery.start()
        if self.journal.corrupt:
            await self._report_corrupt_journal(self.journal.corrupt)
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, frames: object) -> None:
        self.notify_failure(exc)
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_S)
        with contextlib.suppress(JournalError):
            await self.call(self.processes.leave)
        await self._delivery.close(self.close_wait_s)
        await self.call(self.journal.close)
        self._thread.close()

    async def error(self, error: BaseException | str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """Report an error; returns its id once it is in the journal. Raises JournalError."""
        event_id = await self.report(EventType.ERROR, process, describe(error, details))
        once.mark(error)
        return event_id

    async def info(self, text: str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """Report an info; returns its id once it is in the journal. Raises JournalError."""
        return await self.report(EventType.INFO, process, describe(text, details))

    async def ask(self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]) -> Action:
        """Report an error as an incident, and block until its decision is there, for hours if need be.

        ``continue`` has been reported as applied when this returns. You obey ``kill`` and ``stop``: end the process
        that asked. They are reported as applied when this program closes the kernel or, if it cannot, when the process
        starts again. So nobody reads *applied* while it still runs. Cancelling the call withdraws the incident.
        Raises JournalError.
        """
        decision = await self.request_decision(process, describe(error, details), applies_continue=True)
        once.mark(error)
        return decision.action

    async def ask_for_decision(
        self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]
    ) -> Decision:
        """As ``ask``, but returns the whole decision; report its outcome with ``report_outcome``."""
        decision = await self.request_decision(process, describe(error, details))
        once.mark(error)
        return decision

    async def report_outcome(
        self, decision: Decision, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> None:
        """Report the outcome of a decision. Only the first one counts. Raises JournalError."""
        await self.call(self.incidents.end, decision.incident, state, new_incarnation=new_incarnation, detail=detail)
        self.wake()

    def on_requeue(self, process: str, handler: MessageHandler) -> None:
        """Give messages of ``process`` that an operator sends again to ``handler(message)``, one at a time.

        ``handler`` is an async function, or a plain one, which runs in a thread. When it returns, the message is
        reported as taken; an exception is reported as an error of the process, and the message as failed. Each message
        is handed over at most once. A message without a handler waits in the journal. From the event loop's thread.
        """
        self._delivery.handlers.add(process_name(process), handler)

    async def flush(self, timeout_s: float) -> None:
        """Return when the broker has everything that this program reported. Raises TimeoutError."""
        await self._delivery.flush(timeout_s)

    def worker(self, name: str, function: Callable[[Context], Awaitable[None]], **options: Any) -> TaskWorker:
        """``async with kernel.worker(name, fn):`` runs ``fn(ctx)`` as a supervised task; see ``TaskWorker``."""
        return TaskWorker(self, name, function, **options)

    def process_worker(
        self,
        name: str,
        command: Sequence[str] | Callable[..., object],
        *arguments: object,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> ProcessWorker:
        """``async with kernel.process_worker(name, argv):`` or ``(name, function, *arguments)``: ``ProcessWorker``."""
        return ProcessWorker(self, name, command, arguments, env=env, cwd=cwd, **options)

    def supervisor(
        self,
        name: str,
        *,
        strategy: Strategy | str = Strategy.ONE_FOR_ONE,
        intensity: int = INTENSITY,
        period_s: float = PERIOD_S,
    ) -> Supervisor:
        """``async with kernel.supervisor(name) as sup:`` workers that belong together; see ``Supervisor``."""
        return Supervisor(self, name, strategy=strategy, intensity=intensity, period_s=period_s)

    async def report(self, kind: EventType, process: str, draft: EventDraft) -> UUID:
        """Write an event that has been described; returns its id. Raises JournalError."""
        name = process_name(process) if process else self.process
        event_id, is_over_bound = await self._writer.write(kind, name, draft)
        self._delivery.sender.wake()
        if is_over_bound:
            with contextlib.suppress(JournalError):  # this event is kept, and the next one makes room
                await self.call(self.backlog.make_room)
        return event_id

    def report_now(self, kind: EventType, process: str, draft: EventDraft) -> UUID:
        """As ``report``, from any thread, blocking. Raises JournalError."""
        name = process_name(process) if process else self.process
        event_id, is_over_bound = self._writer.write_now(kind, name, draft)
        if not self._delivery.sender.is_awake:
            self._call_in_loop(self._delivery.sender.wake)
        if is_over_bound:
            with contextlib.suppress(JournalError):  # this event is kept, and the next one makes room
                self.backlog.make_room()
        return event_id

    def incarnation_of(self, name: str) -> int:
        """The incarnation of a process of this program; the first call starts it. From any thread, blocking.

        Raises JournalError.
        """
        if name in self._incarnations:  # names are never removed: no lock, which a first call may hold for long
            return self._incarnations[name]
        with self._incarnations_lock:
            if name not in self._incarnations:
                self._incarnations[name] = self.processes.start(name, worker=False, pid=os.getpid()).incarnation
                self._call_in_loop(self.wake)
            return self._incarnations[name]

    def set_incarnation(self, name: str, incarnation: int) -> None:
        """A supervisor has started ``name`` again: its events carry this number from now on."""
        self._incarnations[name] = incarnation
        self.wake()

    async def request_decision(self, process: str, draft: EventDraft, *, applies_continue: bool = False) -> Decision:
        """Open an incident with an event that has been described, and wait for its decision.

        ``applies_continue``: *continue* is reported as applied when this returns. Any other outcome is for the caller
        to report. Raises JournalError.
        """
        name = process_name(process) if process else self.process
        incident = uuid7()
        waiter: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting[incident] = waiter
        self._delivery.receiver.waiting += 1
        if applies_continue:
            self._delivery.receiver.continuing.add(incident)
        try:
            await self.call(self._open_incident, incident, name, draft)
            self._delivery.isolation.add(incident, draft.deadline_s)
            self.wake()
            decision = await waiter
            if decision.action is Action.CONTINUE and incident in self._delivery.receiver.continuing:
                # Another program has accepted it, or the node has decided itself: it is not reported yet.
                await self.report_outcome(decision, OutcomeState.APPLIED)
            else:
                self.wake()
            return decision
        except asyncio.CancelledError:
            # For a worker that is being replaced, its supervisor reports "applied" or "withdrawn"; then this comes
            # second, and changes nothing.
            self._in_background(self.withdraw(incident, "Nobody waits for the decision any longer."))
            raise
        finally:
            self._delivery.isolation.remove(incident)
            self._delivery.receiver.continuing.discard(incident)
            self._delivery.receiver.waiting -= 1
            self._waiting.pop(incident, None)

    def wake(self) -> None:
        """Something was written. From the event loop's thread."""
        self._delivery.wake()

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something that blocks on the journal in the thread of the journal."""
        return await self._thread.run(function, *args, **kwargs)

    async def withdraw(self, incident: UUID, detail: str) -> None:
        """Nobody waits for this decision: the incident is withdrawn, or its decision stale."""
        try:
            await self.call(self.incidents.withdraw, incident, detail)
        except JournalError as exc:
            log.error("An incident cannot be withdrawn now; the next start of its process withdraws it: %s", exc)
        self.wake()

    async def _report_corrupt_journal(self, aside: Path) -> None:
        text = f"The journal {self.journal.path} was corrupt. It was set aside as {aside.name}; a new one was begun."
        log.error("%s Its messages are not sent.", text)
        with contextlib.suppress(NodeError):
            await self.report(EventType.ERROR, "", describe(text, {"kind": "CorruptJournal"}))

    def _open_incident(self, incident: UUID, name: str, draft: EventDraft) -> None:
        incarnation = self.incarnation_of(name)
        event = build_event(draft, incident, EventType.ACTION, name, incarnation)
        self.incidents.open(incident, name, incarnation, fit(event))

    def _obey(self, decision: Decision) -> None:
        waiter = self._waiting.get(decision.incident)
        if waiter and not waiter.done():
            waiter.set_result(decision)

    def _call_in_loop(self, function: Callable[[], None]) -> None:
        """From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the journal keeps the messages
                self._loop.call_soon_threadsafe(function)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
