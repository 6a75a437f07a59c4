"""The client: a program's side of the error kernel.

``error`` and ``info`` return once the report is in the journal; a task sends it, however long the link is away.
``ask`` blocks until the one answer is there. Decisions come by the node's durable consumer and, whatever got lost on
the way, by the periodic sync; taking one over twice is harmless.
"""

import asyncio
import contextlib
import json
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import UUID

from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.broker.link import Link
from errorkernel.broker.pull import Delivery, PullSource
from errorkernel.core import values
from errorkernel.core.ids import uuid7
from errorkernel.core.limits import Limits
from errorkernel.core.values import Action, Decision, EventType, Level, Message, OnDeadline, Outcome, OutcomeState
from errorkernel.node import journal as journals
from errorkernel.node.journal import Journal, Report
from errorkernel.wire import json as wire
from errorkernel.wire import subjects
from errorkernel.wire.errors import WireError

log = logging.getLogger("errorkernel.node")

SYNC_INTERVAL_S = 15.0
HELLO_INTERVAL_S = 30.0
LEASE_INTERVAL_S = 2.0
ANSWER_POLL_S = 0.3
SEND_BATCH = 500
UNKNOWN_DELIVERIES = 5
_LIMITS = Limits()


@dataclass(slots=True)
class Standing:
    """What a hello says of a process."""

    incarnation: int
    state: str = "running"
    pid: int | None = None
    since: datetime | None = None


class Kernel:
    """``journal``: path of the journal file (default: ``<node>.journal`` in the working directory)."""

    def __init__(
        self,
        node: str,
        nats_url: str,
        *,
        nkey_seed: str | None = None,
        journal: str | Path | None = None,
        process: str = "main",
        max_reports: int = 100_000,
    ) -> None:
        self.node = node
        self.process = process
        self.journal = Journal(journal or f"{node}.journal", node, max_reports=max_reports)
        self.standings: dict[str, Standing] = {}
        self._link = Link(nats_url, name=node, seed=nkey_seed, inbox_prefix=subjects.inbox_prefix(node))
        self._source = PullSource(self._link, subjects.DECISIONS_STREAM, subjects.durable_of(node), batch=50)
        self._holder = f"{os.getpid()}-{uuid7()}"
        self._leads = False
        self._wake = asyncio.Event()
        self._sync_now = asyncio.Event()
        self._hello_now = asyncio.Event()
        self._answers: dict[UUID, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._started_at = datetime.now(UTC)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> "Kernel":
        """From the JSON that ``steward node add NAME --json`` printed."""
        given = json.loads(Path(path).read_text())
        return cls(given["node"], given["nats_url"], nkey_seed=given["nkey_seed"], **options)

    @classmethod
    def from_env(cls, **options: Any) -> "Kernel":
        """``STEWARD_NODE_CREDENTIALS`` names the file, ``STEWARD_NODE_JOURNAL`` the journal."""
        options.setdefault("journal", os.environ.get("STEWARD_NODE_JOURNAL"))
        return cls.from_file(os.environ["STEWARD_NODE_CREDENTIALS"], **options)

    async def __aenter__(self) -> "Kernel":
        self._link.on_up(self._connected)
        self._link.start()
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self._lead, self._send, self._receive, self._sync, self._say_hello,
        ]  # fmt: skip
        self._tasks = [asyncio.create_task(self._forever(loop), name=f"{self.node} {loop.__name__}") for loop in loops]
        return self

    async def __aexit__(self, *exc: object) -> None:
        with contextlib.suppress(TimeoutError):
            await self.flush(1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()
        self.journal.give_lease(self._holder)
        self.journal.close()

    async def error(self, error: BaseException | str, **details: Any) -> UUID:
        """Report an error; returns its id once it is in the journal. For ``details`` see ``event``."""
        return self.report(EventType.ERROR, error, **details)

    async def info(self, text: str, **details: Any) -> UUID:
        """Report something worth knowing."""
        return self.report(EventType.INFO, text, **details)

    async def ask(self, error: BaseException | str, **details: Any) -> Action:
        """Report an error, block, and return the one answer.

        Without an answer it waits for ever: nothing goes on by itself. ``continue`` is reported as applied when this
        returns. ``kill`` and ``stop`` are the caller's to obey; they are reported as applied when the process starts
        its next incarnation; ``question`` and ``settle`` say it earlier. Inside a worker, the worker obeys.
        """
        decision = await self.question(error, **details)
        if decision.action is Action.CONTINUE:
            self.settle(decision, OutcomeState.APPLIED)
        return decision.action

    async def question(self, error: BaseException | str, **details: Any) -> Decision:
        """As ``ask``, returning the decision; what became of it is the caller's to ``settle``."""
        event = self.event(EventType.ACTION, error, **details)
        standing = self.standing(event.process)
        self.journal.ask(event.id, event.process, standing.incarnation, wire.encode_event(event))
        answered = self._answers[event.id] = asyncio.Event()
        standing.state = "blocked"
        self._wake.set()
        self._hello_now.set()
        try:
            while (decision := self.journal.decision(event.id)) is None:
                # Another program of this node may be the one that takes decisions: look into the journal as well.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), ANSWER_POLL_S if not self._leads else 5.0)
            return decision
        except asyncio.CancelledError:
            if self.journal.decision(event.id) is None:
                detail = "The worker ended before there was an answer."
                gone = Outcome(event.id, OutcomeState.WITHDRAWN, None, standing.incarnation, None, detail)
                self.journal.end(gone, now=journals.now())
                self._wake.set()
            raise
        finally:
            del self._answers[event.id]
            standing.state = "running"

    def settle(
        self, decision: Decision, state: OutcomeState, *, new_incarnation: int | None = None, detail: str = ""
    ) -> None:
        """Report what became of a decision, once it has."""
        outcome = Outcome(
            incident=decision.incident,
            state=state,
            decision_id=decision.decision_id,
            incarnation=decision.incarnation,
            new_incarnation=new_incarnation,
            detail=detail,
            at=datetime.now(UTC),
        )
        self.journal.end(outcome, now=journals.now())
        self._wake.set()

    def report(self, kind: EventType, error: BaseException | str, **details: Any) -> UUID:
        """Write a report into the journal; returns its id."""
        event = self.event(kind, error, **details)
        self.journal.add(str(event.id), subjects.event(self.node), event.process, kind.value, wire.encode_event(event))
        self._wake.set()
        return event.id

    def event(
        self,
        kind: EventType,
        error: BaseException | str,
        *,
        process: str | None = None,
        level: str | None = None,
        message: Message | dict[str, Any] | None = None,
        error_kind: str = "",
        stack: str = "",
        tags: dict[str, Any] | None = None,
        fingerprint: Sequence[str] = (),
        occurred_at: datetime | None = None,
        relay_from_node: str = "",
        deadline_s: float | None = None,
        on_deadline: str = "escalate",
    ) -> values.Event:
        """The event as it will be sent. Of an exception, kind, text and stack are taken; over-long texts are cut."""
        name = process or self.process
        if isinstance(error, BaseException):
            error_kind = error_kind or type(error).__name__
            stack = stack or "".join(traceback.format_exception(error))
        return values.Event(
            id=uuid7(),
            type=kind,
            level=Level(level or ("info" if kind is EventType.INFO else "error")),
            process=name,
            text=_cut(str(error) or error_kind or "no text", _LIMITS.text_bytes // 2),
            kind=error_kind[:200],
            stack=_cut(stack, _LIMITS.stack_bytes // 2),
            incarnation=self.standing(name).incarnation,
            message=_message(message),
            relay_from_node=relay_from_node,
            occurred_at=occurred_at or datetime.now(UTC),
            fingerprint=tuple(fingerprint),
            tags={str(key)[:200]: str(value)[:200] for key, value in list((tags or {}).items())[: _LIMITS.tags]},
            deadline_s=deadline_s,
            on_deadline=OnDeadline(on_deadline),
        )

    def standing(self, process: str) -> Standing:
        """What this program knows of ``process``; the first mention starts an incarnation."""
        if process not in self.standings:
            self.start(process, pid=os.getpid())
        return self.standings[process]

    def start(self, process: str, *, pid: int | None = None) -> int:
        """Begin a new incarnation of ``process``; returns its number."""
        incarnation = self.journal.start(process, now=journals.now())
        self.standings[process] = Standing(incarnation, pid=pid, since=datetime.now(UTC))
        self._wake.set()
        self._hello_now.set()
        return incarnation

    async def flush(self, timeout_s: float) -> None:
        """Return when the broker has everything that was reported. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.journal.backlog():
                self._wake.set()
                await asyncio.sleep(0.02)

    def worker(self, name: str, function: Callable[[Any], Awaitable[None]], **options: Any) -> Any:
        """``async with kernel.worker(name, fn)``: see ``errorkernel.node.workers.TaskWorker``."""
        from errorkernel.node.workers import TaskWorker

        return TaskWorker(self, name, function, **options)

    def process_worker(self, name: str, command: Sequence[str], **options: Any) -> Any:
        """``async with kernel.process_worker(name, argv)``: see ``errorkernel.node.workers.ProcessWorker``."""
        from errorkernel.node.workers import ProcessWorker

        return ProcessWorker(self, name, command, **options)

    async def _forever(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A fault in one of the loops must not end the program that wanted to report a fault."""
        while True:
            try:
                await loop()
            except Exception:
                log.exception("The error kernel's client met an error and goes on")
                await asyncio.sleep(1)

    async def _connected(self) -> None:
        if self._leads:
            await self._source.open()
        self._wake.set()
        self._sync_now.set()
        self._hello_now.set()

    async def _lead(self) -> None:
        while True:
            led, self._leads = self._leads, self.journal.hold_lease(self._holder, now=journals.now())
            if self._leads and not led and self._link.connected:
                with contextlib.suppress(BrokerAway):
                    await self._connected()
            await asyncio.sleep(LEASE_INTERVAL_S)

    async def _send(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
            self._wake.clear()
            while self._leads and self._link.connected and (waiting := self.journal.unsent(SEND_BATCH)):
                chains: dict[str, list[Report]] = {}
                for one in waiting:
                    chains.setdefault(one.process, []).append(one)
                # Processes beside each other, the reports of one process after each other: their order is kept.
                if not all(await asyncio.gather(*(self._send_chain(chain) for chain in chains.values()))):
                    await asyncio.sleep(0.5)
                    break

    async def _send_chain(self, chain: list[Report]) -> bool:
        for one in chain:
            try:
                await self._link.store(one.subject, one.payload, msg_id=one.key)
            except BrokerAway as exc:
                log.info("A report of %s is sent again later: %s", one.process, exc)
                return False
            except BrokerRefused as exc:
                log.error("The broker refuses a report of %s, it is set aside: %s", one.process, exc)
                self.journal.refused(one.number, str(exc))
            else:
                self.journal.sent(one.number)
        return True

    async def _receive(self) -> None:
        while True:
            for delivery in await self._source.get(50):
                await self._take_delivery(delivery)

    async def _take_delivery(self, delivery: Delivery) -> None:
        try:
            decision = wire.decode_decision(delivery.data)
        except WireError:
            log.exception("A decision cannot be read")
            await delivery.term()
            return
        known = self._take(decision) != "unknown"
        if known or delivery.deliveries >= UNKNOWN_DELIVERIES:
            await delivery.ack()
        else:
            # It may be meant for a program of this node that keeps a journal of its own.
            await delivery.nak(2.0)

    def _take(self, decision: Decision) -> str:
        result = self.journal.take(decision, now=journals.now())
        if answered := self._answers.get(decision.incident):
            answered.set()
        if result == "stale":
            self._wake.set()
        return result

    async def _sync(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sync_now.wait(), SYNC_INTERVAL_S)
            self._sync_now.clear()
            if not self._leads or not self._link.connected:
                continue
            if self._source.trouble.is_set():
                # The broker has lost our consumer; the kernel makes it again, and a new connection asks it anew.
                self._source.trouble.clear()
            mine = values.Sync(tuple(self.journal.blocked()), tuple(self.journal.outcomes()))
            with contextlib.suppress(BrokerAway, BrokerRefused, WireError):
                answer = await self._link.request(subjects.sync(self.node), wire.encode_sync(mine))
                decisions, unknown = wire.decode_sync_reply(answer)
                for decision in decisions:
                    self._take(decision)
                for incident in unknown:
                    self.journal.publish_again(incident)
                if unknown:
                    self._wake.set()

    async def _say_hello(self) -> None:
        while True:
            if self._link.connected:
                with contextlib.suppress(BrokerAway):
                    await self._link.send(subjects.hello(self.node), wire.encode_hello(self._hello()))
            self._hello_now.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hello_now.wait(), HELLO_INTERVAL_S)
            await asyncio.sleep(0.2)

    def _hello(self) -> values.Hello:
        return values.Hello(
            version=_VERSION,
            started_at=self._started_at,
            at=datetime.now(UTC),
            processes=tuple(
                values.ProcessReport(name, one.state, one.incarnation, one.pid, one.since)
                for name, one in self.standings.items()
            ),
            backlog=self.journal.backlog(),
            dropped=self.journal.dropped(),
        )


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:limit_bytes].decode(errors="ignore")


def _message(given: Message | dict[str, Any] | None) -> Message | None:
    if not isinstance(given, dict):
        return given
    fields = {key: str(given.get(key, "")) for key in ("id", "method", "from_node", "to_node", "data")}
    return Message(**{**fields, "data": _cut(fields["data"], _LIMITS.data_bytes // 2)})


try:
    _VERSION = "steward-error-kernel " + version("steward-error-kernel")
except PackageNotFoundError:
    _VERSION = "steward-error-kernel"
