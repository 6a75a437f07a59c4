"""The client of a supervised process: synchronous code that reports to its supervisor, without a broker connection.

    from errorkernel.node import worker

    me = worker()
    me.info("started")
    me.ask(exc)        # returns after the decision continue; any other decision ends this process here

``error`` and ``info`` return when the event is in the node's journal. May be used from several threads.
"""

import itertools
import os
import queue
import signal
import socket
import threading
from typing import Unpack
from uuid import UUID

from errorkernel.domain.values import Action, EventType
from errorkernel.node.errors import Disconnected, JournalError
from errorkernel.node.process import messages
from errorkernel.node.reporting.event_builder import AskDetails, Details, describe


class Worker:
    """This process as its supervisor sees it: ``node``, ``process``, and the number of its ``incarnation``."""

    def __init__(self) -> None:
        if messages.FD not in os.environ:
            raise Disconnected("This program was not started by a supervisor (kernel.process_worker).")
        self.node = os.environ.get(messages.NODE, "")
        self.process = os.environ.get(messages.PROCESS, "")
        self.incarnation = int(os.environ.get(messages.INCARNATION, "0"))
        self._pid = os.getpid()
        try:
            self._socket = socket.socket(fileno=int(os.environ[messages.FD]))
        except OSError as exc:
            raise Disconnected("The socket to the supervisor was not inherited.") from exc
        # Our own children must not hold the socket open: its end tells that the supervisor has died.
        self._socket.set_inheritable(False)
        self._stream = self._socket.makefile("rb")
        self._numbers = itertools.count(1)
        self._send_lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[messages.ToChild | None]] = {}
        self._calls: queue.SimpleQueue[messages.FunctionCall | None] = queue.SimpleQueue()
        self._is_closed = False
        threading.Thread(target=self._receive, name="supervisor's replies", daemon=True).start()

    def error(self, error: BaseException | str, **details: Unpack[Details]) -> UUID:
        """Report an error; returns its id. Raises Disconnected, JournalError."""
        return self._report(EventType.ERROR, error, details)

    def info(self, text: str, **details: Unpack[Details]) -> UUID:
        """Report an info; returns its id. Raises Disconnected, JournalError."""
        return self._report(EventType.INFO, text, details)

    def ask(self, error: BaseException | str, **details: Unpack[AskDetails]) -> Action:
        """Open an incident, and block until the decision *continue*; *kill* and *stop* end this process meanwhile.

        Raises Disconnected when the supervisor is gone: no decision can come then. Raises JournalError.
        """
        reply, number = self._exchange(EventType.ACTION, error, details)
        if not isinstance(reply, messages.DecisionReply):
            raise Disconnected("The reply of the supervisor is not a decision.")
        if reply.action is Action.CONTINUE:
            self._send(messages.Continued(number))
        return reply.action

    def mark_failure_reported(self) -> None:
        """Tell the supervisor that this process ends now, and has reported why."""
        self._send(messages.FailureReported())

    def receive_call(self) -> messages.FunctionCall:
        """What to call, for a child that is a function. Raises Disconnected."""
        call = self._calls.get()
        if call is None:
            raise Disconnected("The supervisor is gone.")
        return call

    def close(self) -> None:
        """Close the socket: nothing can be reported any more. The end of the process does the same."""
        with self._send_lock:
            self._is_closed = True
        self._socket.shutdown(socket.SHUT_WR)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _report(self, kind: EventType, error: BaseException | str, details: Details) -> UUID:
        reply, _ = self._exchange(kind, error, details)
        if not isinstance(reply, messages.EventAccepted):
            raise Disconnected("The reply of the supervisor is not a confirmation.")
        return reply.id

    def _exchange(self, kind: EventType, error: BaseException | str, details: Details) -> tuple[messages.ToChild, int]:
        """Send an event; returns the reply to it, and its number."""
        number = next(self._numbers)
        request = messages.ReportEvent(number, kind, describe(error, details))
        replies: queue.SimpleQueue[messages.ToChild | None] = queue.SimpleQueue()
        self._waiting[number] = replies
        try:
            self._send(request)
            reply = replies.get()
        finally:
            self._waiting.pop(number, None)
        if reply is None:
            raise Disconnected("The supervisor is gone.")
        if isinstance(reply, messages.EventRejected):
            raise JournalError(reply.reason)
        return reply, number

    def _send(self, message: messages.FromChild) -> None:
        if os.getpid() != self._pid:
            raise Disconnected("The socket to the supervisor belongs to the process that forked this one.")
        with self._send_lock:
            if self._is_closed:
                raise Disconnected("The socket to the supervisor is closed.")
            try:
                self._socket.sendall(messages.encode(message))
            except OSError as exc:
                raise Disconnected("The supervisor is gone.") from exc

    def _receive(self) -> None:
        for line in self._stream:
            message = messages.decode_to_child(line)
            if isinstance(message, messages.FunctionCall):
                self._calls.put(message)
            elif replies := self._waiting.get(message.number):
                replies.put(message)
        was_closed, self._is_closed = self._is_closed, True
        self._calls.put(None)
        for replies in list(self._waiting.values()):
            replies.put(None)
        if not was_closed:
            # Without supervisor the work must not go on. Linux ends this process with it anyway; elsewhere, this does.
            os.kill(os.getpid(), signal.SIGTERM)


_worker: Worker | None = None
_worker_lock = threading.Lock()


def worker() -> Worker:
    """The client of this process, the same at every call. Raises Disconnected if it is not supervised."""
    global _worker
    with _worker_lock:
        if _worker is None:
            _worker = Worker()
        return _worker
