"""``Kernel``: a program's side of the error kernel.

``error`` and ``info`` return once the report is in the journal; a task sends it, however long the link is away. ``ask``
blocks until the one answer is there. Everything that runs in the background here survives its own faults: a program
that wanted to report an error must not be ended by whoever was to carry the report.
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
from errorkernel.node.delivery.decisions import Answers
from errorkernel.node.delivery.heartbeat import Greeter
from errorkernel.node.delivery.isolation import GRACE_S, Isolation
from errorkernel.node.delivery.message_handlers import Taker, Takers
from errorkernel.node.delivery.sender import Sender
from errorkernel.node.errors import CredentialsError, JournalError
from errorkernel.node.journal.backlog import Outgoing
from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.incidents import Questions
from errorkernel.node.journal.processes import Roster
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.journal.writer import Writing
from errorkernel.node.process.worker import ProcessWorker
from errorkernel.node.reporting import once
from errorkernel.node.reporting.context import Reporter
from errorkernel.node.reporting.event_builder import AskDetails, Details, Report, describe, event_of, process_name
from errorkernel.node.reporting.fit import fit
from errorkernel.node.supervision.restart_policy import INTENSITY, PERIOD_S
from errorkernel.node.supervision.strategy import Strategy
from errorkernel.node.supervision.task_worker import Context, TaskWorker
from errorkernel.node.supervisor import Supervisor
from errorkernel.node.tasks import AGAIN_S, end_all, survive
from errorkernel.node.threads import OwnThread
from errorkernel.protocol import subjects

log = logging.getLogger("errorkernel.node")

P = ParamSpec("P")
R = TypeVar("R")

JOURNAL_VARIABLE = "STEWARD_NODE_JOURNAL"
HOUSEKEEPING_S = 1.0
ADOPT_EVERY = 5
"""Rounds of housekeeping between two looks for programs that have died."""
CLOSE_S = 1.0


class Kernel(Reporter):
    """``async with Kernel.from_file("ship1.json") as kernel:``

    ``journal``: path of the journal file (default: ``<node>.journal`` in the working directory); programs of one node
    may share it. ``process``: the name that reports get which do not say one. ``max_reports``, ``max_bytes``: what may
    wait in the journal. ``when_isolated``: the answer (continue or kill) to a question with a deadline, where the
    kernel was not heard from since before it, ``isolated_grace_s`` after it; default: none is given.

    Raises JournalError where the journal cannot be used; the broker need not be there.
    """

    waits_in_thread = False

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
    ) -> None:
        super().__init__()
        if not subjects.is_node_name(node):
            raise CredentialsError(f"{node!r} is no name of a node: 1 to 64 letters, digits, _ or -.")
        self.node = node
        self.process = process_name(process)
        self.journal = Journal(Path(journal or f"{node}.journal"))
        self.outgoing = Outgoing(self.journal, max_rows=max_reports, max_bytes=max_bytes)
        self.questions = Questions(self.journal, node)
        self.roster = Roster(self.journal, node)
        self._thread = OwnThread(f"journal of {node}")
        self._connection = Connection(nats_url, name=node, seed=nkey_seed, inbox_prefix=subjects.inbox_prefix(node))
        self._sender = Sender(self._connection, self.outgoing, self._thread)
        self._greeter = Greeter(node, self._connection, self.roster, self.outgoing, self._thread)
        self._takers = Takers(
            node,
            self._connection,
            Requeues(self.journal, node),
            self._thread,
            report=self.report,
            more_to_send=self._sender.wake,
        )
        self._answers = Answers(
            node,
            self._connection,
            self.questions,
            self._thread,
            obey=self._obey,
            more_to_send=self._sender.wake,
            command=self._takers.take,
        )
        self._isolation = Isolation(
            when_isolated,
            isolated_grace_s,
            answers=self._answers,
            questions=self.questions,
            thread=self._thread,
            obey=self._obey,
        )
        self.supervised: set[str] = set()
        """Names of the workers of this program."""
        self._incarnations: dict[str, int] = {}
        self._starting = threading.RLock()
        self._waiting: dict[UUID, asyncio.Future[Decision]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._writing = Writing(
            subjects.event(node), self.outgoing, self._thread, incarnation=self.incarnation, known=self._incarnations
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> "Kernel":
        """From the JSON that ``steward node add NAME --json`` prints. Raises CredentialsError, JournalError."""
        return cls.from_credentials(credentials.read(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> "Kernel":
        """``STEWARD_NODE_CREDENTIALS`` names the file (or ``STEWARD_NODE_CREDENTIALS_JSON`` holds what would be in
        it), ``STEWARD_NODE_JOURNAL`` the journal; as ``from_file``."""
        if os.environ.get(JOURNAL_VARIABLE):
            options.setdefault("journal", os.environ[JOURNAL_VARIABLE])
        return cls.from_credentials(credentials.find(os.environ), **options)

    @classmethod
    def from_credentials(cls, given: credentials.Credentials, **options: Any) -> "Kernel":
        """From credentials that were read already. Raises CredentialsError, JournalError."""
        return cls(given.node, given.nats_url, nkey_seed=given.nkey_seed, **options)

    @property
    def connected(self) -> bool:
        """Whether the broker is there just now. Nothing needs to wait for it."""
        return self._connection.connected

    async def __aenter__(self) -> "Kernel":
        self._loop = asyncio.get_running_loop()
        await self.call(self.journal.enter)
        await self.call(self.roster.adopt)
        self._connection.on_connected(self._connected)
        self._connection.start()
        parts: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self._sender.run,
            self._answers.receive,
            self._answers.keep_in_sync,
            self._answers.look,
            self._isolation.run,
            self._takers.receive,
            self._takers.run,
            self._greeter.run,
            self._keep_house,
        ]
        self._tasks = [asyncio.create_task(survive(part), name=f"{self.node}: {part.__name__}") for part in parts]
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, frames: object) -> None:
        self.failing(exc)
        if self._background:
            await asyncio.wait(self._background, timeout=CLOSE_S)
        with contextlib.suppress(JournalError):
            await self.call(self.roster.leave)
        if self._connection.connected:
            await self._greeter.say()
            with contextlib.suppress(TimeoutError, JournalError):
                await self.flush(CLOSE_S)
        await end_all(self._tasks)
        await end_all([asyncio.create_task(self._connection.close())], first_s=AGAIN_S)
        await self.call(self.journal.close)
        self._thread.close()

    async def error(self, error: BaseException | str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """Report an error; returns its id once it is in the journal. Raises JournalError."""
        event_id = await self.report(EventType.ERROR, process, describe(error, details))
        once.mark(error)
        return event_id

    async def info(self, text: str, *, process: str = "", **details: Unpack[Details]) -> UUID:
        """Report something worth knowing; returns its id once it is in the journal. Raises JournalError."""
        return await self.report(EventType.INFO, process, describe(text, details))

    async def ask(self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]) -> Action:
        """Report an error, block, and return the one answer, after hours if need be. Raises JournalError.

        ``continue`` has been reported as applied when this returns. ``kill`` and ``stop`` are yours to obey: end what
        asked. They are reported as applied when this program closes the kernel, or, if it cannot, when the process
        starts again; so nobody reads *applied* while it still runs. Cancelling the call withdraws the question.
        """
        decision = await self.put(process, describe(error, details), goes_on=True)
        once.mark(error)
        return decision.action

    async def question(
        self, error: BaseException | str, *, process: str = "", **details: Unpack[AskDetails]
    ) -> Decision:
        """As ``ask``, returning the whole decision; what became of it is yours to ``settle``."""
        decision = await self.put(process, describe(error, details))
        once.mark(error)
        return decision

    async def settle(
        self, decision: Decision, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> None:
        """Report what became of a decision. The first word counts. Raises JournalError."""
        await self.call(self.questions.settle, decision.incident, state, new_incarnation=new_incarnation, detail=detail)
        self._sender.wake()
        self._greeter.soon()

    def on_requeue(self, process: str, taker: Taker) -> None:
        """Messages of ``process`` that an operator sends again go to ``taker(message)``, one at a time.

        ``taker`` is an async function, or a plain one, which gets a thread. When it returns, the message is reported as
        taken; what it raises is reported as an error of the process, and the message as failed. Each message is handed
        over at most once. One that nobody takes yet waits in the journal. From the event loop's thread.
        """
        self._takers.add(process_name(process), taker)

    async def flush(self, timeout_s: float) -> None:
        """Return when the broker has everything that this program reported. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while await self.call(self.outgoing.mine):
                self._sender.wake()
                await asyncio.sleep(0.02)

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

    async def report(self, kind: EventType, process: str, report: Report) -> UUID:
        """Write a report down that has been described already. Raises JournalError."""
        name = process_name(process) if process else self.process
        event_id, too_many = await self._writing.write(kind, name, report)
        self._sender.wake()
        if too_many:
            with contextlib.suppress(JournalError):  # this one is kept, and the next one makes room
                await self.call(self.outgoing.make_room)
        return event_id

    def report_now(self, kind: EventType, process: str, report: Report) -> UUID:
        """As ``report``, from any thread, blocking. Raises JournalError."""
        name = process_name(process) if process else self.process
        event_id, too_many = self._writing.write_now(kind, name, report)
        self._poke()
        if too_many:
            with contextlib.suppress(JournalError):  # this one is kept, and the next one makes room
                self.outgoing.make_room()
        return event_id

    def incarnation(self, name: str) -> int:
        """Of a process of this program; its first mention starts it. From any thread, blocking. Raises JournalError."""
        if name in self._incarnations:  # and never leaves it again: no lock, which a first mention may hold for long
            return self._incarnations[name]
        with self._starting:
            if name not in self._incarnations:
                self._incarnations[name] = self.roster.begin(name, worker=False, pid=os.getpid()).incarnation
                self._wake_threadsafe()
            return self._incarnations[name]

    def began(self, name: str, incarnation: int) -> None:
        """A supervisor has started ``name`` anew: its reports bear this number from now on."""
        self._incarnations[name] = incarnation
        self.wake()

    async def put(self, process: str, report: Report, *, goes_on: bool = False) -> Decision:
        """Ask what has been described already, and wait. ``goes_on``: *continue* is reported as applied when this
        returns; any other answer is the caller's to ``settle``. Raises JournalError."""
        name = process_name(process) if process else self.process
        incident = uuid7()
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting[incident] = answer
        self._answers.waiting += 1
        if goes_on:
            self._answers.go_on.add(incident)
        try:
            await self.call(self._ask_now, incident, name, report)
            self._isolation.asked(incident, report.deadline_s)
            self.wake()
            decision = await answer
            if decision.action is Action.CONTINUE and incident in self._answers.go_on:
                # Another program has taken it over, or the node has answered by itself: it is not reported yet.
                await self.settle(decision, OutcomeState.APPLIED)
            else:
                self.wake()
            return decision
        except asyncio.CancelledError:
            # Asked for by whoever waited: nobody does any longer. (A worker that is being replaced is told "applied"
            # or "withdrawn" by its supervisor, which knows more; this comes second then, and changes nothing.)
            self._in_background(self.give_up(incident, "Nobody waits for the answer any longer."))
            raise
        finally:
            self._isolation.over(incident)
            self._answers.go_on.discard(incident)
            self._answers.waiting -= 1
            self._waiting.pop(incident, None)

    def wake(self) -> None:
        """Something was written down. From the event loop's thread."""
        self._sender.wake()
        self._greeter.soon()

    def _poke(self) -> None:
        # There is something to send; from any thread.
        if self._loop is not None and not self._sender.awake:
            with contextlib.suppress(RuntimeError):  # closed: the journal keeps it
                self._loop.call_soon_threadsafe(self._sender.wake)

    def _wake_threadsafe(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the journal keeps it
                self._loop.call_soon_threadsafe(self.wake)

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something that blocks on the journal in the journal's thread."""
        return await self._thread.run(function, *args, **kwargs)

    async def give_up(self, incident: UUID, detail: str) -> None:
        """Nobody waits for this answer: the question is withdrawn, or its answer stale."""
        try:
            await self.call(self.questions.give_up, incident, detail)
        except JournalError as exc:
            log.error("A question cannot be withdrawn now; it will be when its process starts again: %s", exc)
        self.wake()

    def _ask_now(self, incident: UUID, name: str, report: Report) -> None:
        incarnation = self.incarnation(name)
        event = event_of(report, incident, EventType.ACTION, name, incarnation)
        self.questions.ask(incident, name, incarnation, fit(event))

    def _obey(self, decision: Decision) -> None:
        answer = self._waiting.get(decision.incident)
        if answer and not answer.done():
            answer.set_result(decision)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _connected(self) -> None:
        self._sender.connected()
        await self._answers.connected()
        await self._takers.connected()
        self._greeter.soon()

    async def _keep_house(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await self.call(self.journal.settle)
            rounds += 1
            if rounds % ADOPT_EVERY == 0 and await self.call(self.roster.adopt):
                log.warning("Took over what another program of %s has left behind", self.node)
                self._answers.doubt()
                self.wake()
