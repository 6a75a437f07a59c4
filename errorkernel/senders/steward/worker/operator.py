"""Carries out actions on Steward/ctrl nodes, each in its own task, so that a silent node delays no other.

``protocol.process_control`` decides the messages; this module sends them, receives the replies, and stores both.
Replies are messages of the nodes to the operator's name. They are matched by the correlation of the request (action and
line) and by their sender. A repeated or late reply changes nothing: a list follows.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from datetime import UTC, datetime

from errorkernel.broker.connection import Connection, CoreMessage
from errorkernel.broker.errors import BrokerAway
from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult
from errorkernel.domain.sender_names import without_suffix
from errorkernel.kernel.intake import DATABASE_AWAY
from errorkernel.models import ProcessAction, ProcessActionRequest
from errorkernel.platform import metrics
from errorkernel.platform.conf import Conf, ConfError
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import event_mapping, operator_messages, process_control, signing_key
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.event_mapping import Incoming
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.operator_messages import OPERATOR_NAME, Listed, Operator
from errorkernel.senders.steward.protocol.process_control import Ended, Line
from errorkernel.senders.steward.store import actions

log = logging.getLogger("errorkernel.kernel")

POLL_INTERVAL_S = 0.5
AT_ONCE = 20
"""Actions that one kernel carries out at the same time."""
HELD_LONGER_S = 5.0
"""Added to two timeouts, for the database."""
ANOTHER_WAIT_SHARE = 0.05
"""Share of the reply time-out for which a second program of the same name is waited for, once per action."""
_REPLIES = (f"{OPERATOR_NAME}.*", f"{OPERATOR_NAME}.*.EventACK", f"{OPERATOR_NAME}.*.EventNACK")
_MAKE = {RequestKind.STOP: operator_messages.stop_process, RequestKind.START: operator_messages.start_process}


class _Replies:
    """The reply to one request. A node sends one reply, and repeats it byte for byte until it is acknowledged, so
    another one is that of another program."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.first = self.renew()
        self._digests: set[bytes] = set()
        self._another = asyncio.Event()

    def renew(self) -> asyncio.Future[StewardMessage]:
        """Start another wait for the first reply."""
        self.first = asyncio.get_running_loop().create_future()
        return self.first

    def add(self, incoming: Incoming) -> None:
        self._digests.add(incoming.digest)
        if self.are_several:
            self._another.set()
        if not self.first.done():
            self.first.set_result(incoming.message)

    @property
    def are_several(self) -> bool:
        return len(self._digests) > 1

    async def wait_for_another(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._another.wait()


class StewardOperator:
    def __init__(self, conf: Conf, connection: Connection, threads: DatabaseThreads) -> None:
        self._conf = conf
        self._connection = connection
        self._threads = threads
        # A unique name: actions of an earlier kernel are not its own, also if its process id is used again.
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._holder = actions.LeaseHolder(name, for_s=2 * conf.legacy_reply_timeout_s + HELD_LONGER_S)
        self._waiting: dict[str, _Replies] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self) -> None:
        """Subscribe to replies. Every kernel receives all of them; one acknowledges."""
        for subject in _REPLIES:
            await self._connection.subscribe(subject, self._heard)
            await self._connection.subscribe(subject, self._acknowledge, queue=OPERATOR_NAME)

    async def run(self) -> None:
        """Carry out due actions until cancelled. Raises the errors of its tasks."""
        try:
            while True:
                await asyncio.sleep(POLL_INTERVAL_S)
                for task in [task for task in self._tasks if task.done()]:
                    self._tasks.discard(task)
                    task.result()
                # Without a connection nothing can be sent, so no action is claimed.
                if self._connection.is_ready and (free_slots := AT_ONCE - len(self._tasks)) > 0:
                    for action in await self._threads.run(
                        actions.claim, self._holder, now=datetime.now(UTC), limit=free_slots
                    ):
                        self._tasks.add(asyncio.create_task(self._carry_out(action)))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()

    async def _carry_out(self, action: ProcessAction) -> None:
        """Carry out all steps of one action. If the database or broker is away, another kernel continues it."""
        try:
            with contextlib.suppress(*DATABASE_AWAY):
                await self._steps(action)
        finally:
            self._forget(action)

    async def _steps(self, action: ProcessAction) -> None:
        lines: list[Line] = await self._threads.run(actions.lines, action)
        while True:
            step = process_control.next_step(ActionKind(action.plan), lines)
            if isinstance(step, Ended):
                await self._end(action, step)
                return
            await asyncio.sleep(step.pause_s * self._conf.legacy_reply_timeout_s / process_control.STEP_TIMEOUT_S)
            line = await self._line(action, step.ask)
            if line is None:
                return
            lines.append(line)

    async def _end(self, action: ProcessAction, ended: Ended) -> None:
        if ended.outcome is ActionOutcome.DONE and any(replies.are_several for replies in self._replies_to(action)):
            ended = Ended(
                ActionOutcome.UNCLEAR,
                f"{ended.summary} But more than one program replied under this node's name, and each may have done it.",
            )
        stored = await self._threads.run(actions.end, action, self._holder, ended, now=datetime.now(UTC))
        if stored:
            metrics.count_steward_action(action.plan, stored.outcome.value, action.actor.partition(":")[0])

    def _replies_to(self, action: ProcessAction) -> list[_Replies]:
        return [replies for correlation, replies in self._waiting.items() if correlation.startswith(f"{action.token}:")]

    def _forget(self, action: ProcessAction) -> None:
        for correlation in [known for known in self._waiting if known.startswith(f"{action.token}:")]:
            del self._waiting[correlation]

    async def _line(self, action: ProcessAction, ask: RequestKind) -> Line | None:
        """Store, send, receive, store. None if the action has ended or has another kernel."""
        try:
            operator = Operator(OPERATOR_NAME, signing_key.seed(self._conf))
            begun = await self._threads.run(actions.begin, action, self._holder, ask, now=datetime.now(UTC))
        except (ConfError, actions.ActionRefused) as exc:
            ended = Ended(ActionOutcome.UNCLEAR, f"{exc} Nothing more was sent.")
            await self._end(action, ended)
            return None
        if begun is None:
            return None
        row, dialect = begun
        result, detail, listed = await self._ask(action, row, ask, dialect, operator)
        kept = await self._threads.run(
            actions.record_result, action, row, self._holder, result, detail, listed=listed, now=datetime.now(UTC)
        )
        return Line(ask, result, tuple(row.numbers)) if kept else None

    async def _ask(
        self, action: ProcessAction, row: ProcessActionRequest, ask: RequestKind, dialect: Dialect, operator: Operator
    ) -> tuple[RequestResult, str, tuple[Listed, ...] | None]:
        """Send one message; returns its result, the text and the listed processes."""
        correlation = f"{action.token}:{row.number}"
        node = without_suffix(action.node.name)
        if ask is RequestKind.LIST:
            request = operator_messages.list_processes(operator, node, dialect, correlation)
        else:
            request = _MAKE[ask](operator, node, dialect, action.method, correlation)
        replies = _Replies(node)
        try:
            message = await self._request(correlation, dialect, request, replies)
        except _NobodyThere:
            return RequestResult.ABSENT, "Nobody listens: the node is not connected to the broker.", None
        except TimeoutError:
            return RequestResult.SILENT, f"No reply within {self._conf.legacy_reply_timeout_s} s.", None
        if row.number == 1:
            # Before anything is changed: a program of the same name replies at about the same time.
            await replies.wait_for_another(self._conf.legacy_reply_timeout_s * ANOTHER_WAIT_SHARE)
        if replies.are_several:
            return RequestResult.SEVERAL, _text(message), None
        return _understood(ask, message)

    async def _request(
        self, correlation: str, dialect: Dialect, request: StewardMessage, replies: _Replies
    ) -> StewardMessage:
        """The reply from where the node listens. Raises _NobodyThere or TimeoutError."""
        self._waiting[correlation] = replies
        *others, last = dialect.subjects(replies.node, request.method)
        for subject in others:
            try:
                return await self._exchange(subject, dialect, request, replies.renew())
            except _NobodyThere:
                continue
        return await self._exchange(last, dialect, request, replies.renew())

    async def _exchange(
        self, subject: str, dialect: Dialect, request: StewardMessage, reply: asyncio.Future[StewardMessage]
    ) -> StewardMessage:
        """Raises _NobodyThere or TimeoutError."""
        payload, headers = dialect.pack(request)
        async with asyncio.timeout(self._conf.legacy_reply_timeout_s):
            knocking = asyncio.create_task(
                self._connection.publish_with_shared_reply(
                    subject,
                    payload,
                    reply=subject + ".reply",
                    headers=headers,
                    timeout_s=self._conf.legacy_reply_timeout_s,
                )
            )
            knocking.add_done_callback(lambda done: _report_absence(done, reply))
            try:
                return await reply
            finally:
                knocking.cancel()
                await asyncio.gather(knocking, return_exceptions=True)

    async def _heard(self, received: CoreMessage) -> None:
        try:
            incoming = event_mapping.read(received.subject, received.headers, received.data)
        except ProtocolError as exc:
            log.info("A message on %s cannot be read: %s", received.subject, exc)
            return
        message = incoming.message
        correlation = operator_messages.reply_correlation(message)
        replies = self._waiting.get(correlation)
        if replies and message.from_node == replies.node:
            replies.add(incoming)

    async def _acknowledge(self, received: CoreMessage) -> None:
        """So that the node does not repeat its reply. Only if it waits, because all nodes share the reply subject."""
        with contextlib.suppress(ProtocolError, BrokerAway):
            if event_mapping.read(received.subject, received.headers, received.data).wants_ack:
                await received.respond(b"")


class _NobodyThere(Exception):
    """The broker reports that the subject has no subscriber."""


def _report_absence(knocking: asyncio.Task[bool], reply: asyncio.Future[StewardMessage]) -> None:
    """No subscriber, so no reply will follow. (An unavailable broker shows nothing about the node.)"""
    if not knocking.cancelled() and not knocking.exception() and not knocking.result() and not reply.done():
        reply.set_exception(_NobodyThere())


def _understood(ask: RequestKind, message: StewardMessage) -> tuple[RequestResult, str, tuple[Listed, ...] | None]:
    if ask is RequestKind.LIST:
        listed = operator_messages.parse_list(message)
        if not listed:
            return RequestResult.GARBLED, _text(message), None
        return RequestResult.LISTED, f"{len(listed)} processes", listed
    return process_control.understand(ask, _text(message)), _text(message), None


def _text(message: StewardMessage) -> str:
    return message.data.decode("utf-8", "replace").replace("\0", "�").strip()
