"""A supervised process's side: plain blocking code, which speaks to its supervisor and needs no broker connection.

    from errorkernel.node.process.child import worker

    me = worker()
    me.info("started")
    me.ask(exc)        # returns when somebody answered continue; any other answer ends this process here

``error`` and ``info`` return once the report is in the node's journal. May be used from several threads.
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
from errorkernel.node.process import pipe
from errorkernel.node.reporting.event_builder import AskDetails, Details, describe


class Worker:
    """This process as its supervisor sees it: ``node``, ``process``, and ``incarnation``, which one of it this is."""

    def __init__(self) -> None:
        if pipe.FD not in os.environ:
            raise Disconnected("This program was not started by a supervisor (kernel.process_worker).")
        self.node = os.environ.get(pipe.NODE, "")
        self.process = os.environ.get(pipe.PROCESS, "")
        self.incarnation = int(os.environ.get(pipe.INCARNATION, "0"))
        self._pid = os.getpid()
        try:
            self._socket = socket.socket(fileno=int(os.environ[pipe.FD]))
        except OSError as exc:
            raise Disconnected("The line to the supervisor was not inherited.") from exc
        # What we start in turn must not hold the line open: its end is how a supervisor's death is seen.
        self._socket.set_inheritable(False)
        self._stream = self._socket.makefile("rb")
        self._numbers = itertools.count(1)
        self._writing = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[pipe.ToChild | None]] = {}
        self._work: queue.SimpleQueue[pipe.Work | None] = queue.SimpleQueue()
        self._gone = False
        threading.Thread(target=self._listen, name="supervisor's answers", daemon=True).start()

    def error(self, error: BaseException | str, **details: Unpack[Details]) -> UUID:
        """Report an error; returns its id. Raises Disconnected, JournalError."""
        return self._report(EventType.ERROR, error, details)

    def info(self, text: str, **details: Unpack[Details]) -> UUID:
        """Report something worth knowing; returns its id. Raises Disconnected, JournalError."""
        return self._report(EventType.INFO, text, details)

    def ask(self, error: BaseException | str, **details: Unpack[AskDetails]) -> Action:
        """Block until somebody answers *continue*; *kill* and *stop* end this process while it waits here.

        Raises Disconnected when the supervisor is gone: nobody will ever answer then.
        """
        number = next(self._numbers)
        try:
            answer = self._exchange(number, pipe.Say(number, EventType.ACTION, describe(error, details)))
            if not isinstance(answer, pipe.Answer):
                raise Disconnected("The supervisor's answer is none.")
            if answer.action is Action.CONTINUE:
                self._send(pipe.WentOn(number))
            return answer.action
        finally:
            self._waiting.pop(number, None)

    def told(self) -> None:
        """This process ends now, and has reported why: the supervisor need not."""
        self._send(pipe.Told())

    def work(self) -> pipe.Work:
        """What to do, for a child that is a function. Raises Disconnected."""
        work = self._work.get()
        if work is None:
            raise Disconnected("The supervisor is gone.")
        return work

    def close(self) -> None:
        """Nothing will be reported any more. Ending the process does the same."""
        with self._writing:
            self._gone = True
        self._socket.shutdown(socket.SHUT_WR)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _report(self, kind: EventType, error: BaseException | str, details: Details) -> UUID:
        number = next(self._numbers)
        try:
            answer = self._exchange(number, pipe.Say(number, kind, describe(error, details)))
        finally:
            self._waiting.pop(number, None)
        if not isinstance(answer, pipe.Noted):
            raise Disconnected("The supervisor's answer is none.")
        return answer.id

    def _exchange(self, number: int, message: pipe.Say) -> pipe.ToChild:
        answers: queue.SimpleQueue[pipe.ToChild | None] = queue.SimpleQueue()
        self._waiting[number] = answers
        self._send(message)
        answer = answers.get()
        if answer is None:
            raise Disconnected("The supervisor is gone.")
        if isinstance(answer, pipe.Refused):
            raise JournalError(answer.reason)
        return answer

    def _send(self, message: pipe.FromChild) -> None:
        if os.getpid() != self._pid:
            raise Disconnected("The line to the supervisor belongs to the process that forked this one.")
        with self._writing:
            if self._gone:
                raise Disconnected("The line to the supervisor is closed.")
            try:
                self._socket.sendall(pipe.encode(message))
            except OSError as exc:
                raise Disconnected("The supervisor is gone.") from exc

    def _listen(self) -> None:
        for line in self._stream:
            message = pipe.decode_to_child(line)
            if isinstance(message, pipe.Work):
                self._work.put(message)
            elif waiting := self._waiting.get(message.number):
                waiting.put(message)
        closed, self._gone = self._gone, True
        self._work.put(None)
        for waiting in list(self._waiting.values()):
            waiting.put(None)
        if not closed:
            # Unsupervised work must not go on. Linux ends us with the supervisor anyway; elsewhere, this does.
            os.kill(os.getpid(), signal.SIGTERM)


_worker: Worker | None = None
_making = threading.Lock()


def worker() -> Worker:
    """This process's line to its supervisor, the same at every call. Raises Disconnected where it has none."""
    global _worker
    with _making:
        if _worker is None:
            _worker = Worker()
        return _worker
