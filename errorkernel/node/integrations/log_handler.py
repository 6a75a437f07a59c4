"""``KernelHandler``: what a program logs becomes reports, at no risk for the program.

A record is turned into a report where it was logged, which takes some ten microseconds, and put into a queue; a thread
writes it to the journal. Neither the disk nor the broker can hold the caller up, and nothing raises into it.

The queue is bounded. **Infos are dropped when half of it is taken, errors when all of it is**: so a flood of infos
leaves the other half to errors, and of a storm of errors the first are kept, which tell most. What was dropped (also
because the journal could not be written) is counted, and reported when there is room again.
"""

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from errorkernel.domain.values import EventType, Level
from errorkernel.node import threads
from errorkernel.node.integrations import log_records
from errorkernel.node.reporting import once
from errorkernel.node.reporting.event_builder import Report, describe

if TYPE_CHECKING:
    from errorkernel.node.reporting.context import Reporter

MAX_RECORDS = 10_000
MAX_CHARS = 32 * 1024 * 1024
FLUSH_S = 2.0
TRY_AGAIN_S = 1.0
_OURS = ("errorkernel", "nats")


@dataclass(frozen=True, slots=True)
class _Item:
    kind: EventType
    process: str
    report: Report
    size: int


class _Queue:
    """What waits in one program, and what was dropped there; a forked child has one of its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Its put may interrupt itself (a signal handler or a finalizer that logs), which a queue.Queue's may not.
        self.items: queue.SimpleQueue[_Item | threading.Event | None] = queue.SimpleQueue()
        self.put = self.put_chars = 0
        """Counted by those who log, under the handler's lock."""
        self.taken = self.taken_chars = 0
        """Counted by the thread that writes."""
        self.dropped = {EventType.INFO: 0, EventType.ERROR: 0}
        self.failed = {EventType.INFO: 0, EventType.ERROR: 0}
        self.told = self.told_infos = 0
        self.thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        return sum(self.dropped.values()) + sum(self.failed.values())


class KernelHandler(logging.Handler):
    """``logging.getLogger().addHandler(KernelHandler(kernel))``, or in a ``dictConfig`` with ``credentials``.

    With ``kernel`` (a ``Kernel`` or a ``BlockingKernel``) it reports by that one, and is to be closed before it.
    Without, it opens one of its own: ``credentials`` and ``journal`` name the files (default: those of the
    environment, as ``Kernel.from_env``). Raises NodeError where that cannot be done; later, nothing raises.
    ``process``: of records that do not name theirs; default: the kernel's.
    """

    def __init__(
        self,
        kernel: "Reporter | None" = None,
        *,
        credentials: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        process: str = "",
        level: int | str = logging.NOTSET,
        max_records: int = MAX_RECORDS,
        max_chars: int = MAX_CHARS,
    ) -> None:
        super().__init__(level)
        self.process = process
        self._max_records = max_records
        self._max_chars = max_chars
        self._open = None if kernel else _opener(credentials, journal)
        self._closed = False
        self._kernel = self._open() if self._open else kernel
        self._inherited: list[Reporter | None] = []
        self._queue = _Queue()
        # At the end of the program this comes before the kernel closes, and logging's own end after.
        atexit.register(self.flush)

    @property
    def dropped(self) -> int:
        """How many records this program has lost so far."""
        return self._queue.lost

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``logging``, under the handler's lock."""
        if self._closed or str(record.name).split(".", 1)[0] in _OURS or threads.is_current_marked():
            return
        kind = log_records.type_of(record)
        try:
            waiting = self._here()
            if waiting is None:
                return
            exc = log_records.exception_of(record)
            if kind is EventType.ERROR and exc is not None and once.is_marked(exc):
                return
            if self._is_full(waiting, kind):
                waiting.dropped[kind] += 1
                return
            report = log_records.report_of(record)
            size = len(report.text) + len(report.stack) + (len(report.message.data) if report.message else 0)
            waiting.put += 1
            waiting.put_chars += size
            waiting.items.put(_Item(kind, log_records.process_of(record) or self.process, report, size))
            if kind is EventType.ERROR:
                once.mark(exc)
        except Exception:
            self._queue.dropped[kind] += 1

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Return when what was logged so far is in the journal, or after that time."""
        waiting = self._queue
        if waiting.pid != os.getpid() or waiting.thread is None or waiting.thread is threading.current_thread():
            return
        done = threading.Event()
        waiting.items.put(done)
        done.wait(timeout_s)

    def close(self) -> None:
        """Flush, and end; a kernel of its own is closed, too. ``logging.shutdown`` calls it at the program's end."""
        if not self._closed:
            self.flush()
            self._closed = True
            atexit.unregister(self.flush)
            self._queue.items.put(None)
            if self._open and self._kernel is not None and self._queue.pid == os.getpid():
                with contextlib.suppress(Exception):
                    self._kernel.close()  # type: ignore[attr-defined]  # our own one is a BlockingKernel
        super().close()

    def _here(self) -> _Queue | None:
        """This program's queue; None in a forked child whose parent was given its kernel."""
        if self._queue.pid != os.getpid():
            if self._open is None:
                return None
            # The parent's is kept, not dropped: dropping it would close what the parent still uses.
            self._inherited.append(self._kernel)
            self._queue, self._kernel = _Queue(), None
            if processes := sys.modules.get("multiprocessing.util"):
                # Its children run no exit handlers but these.
                processes.Finalize(self, KernelHandler.flush, args=(self,), exitpriority=100)
        waiting = self._queue
        if waiting.thread is None:
            waiting.thread = threading.Thread(target=self._work, args=(waiting,), name="log records", daemon=True)
            waiting.thread.start()
        return waiting

    def _is_full(self, waiting: _Queue, kind: EventType) -> bool:
        part = 2 if kind is EventType.INFO else 1
        records, chars = waiting.put - waiting.taken, waiting.put_chars - waiting.taken_chars
        return records * part >= self._max_records or chars * part >= self._max_chars

    def _work(self, waiting: _Queue) -> None:
        threads.mark_current()
        while True:
            try:
                item = waiting.items.get(timeout=TRY_AGAIN_S if waiting.lost > waiting.told else None)
            except queue.Empty:
                self._tell_lost(waiting)
                continue
            if item is None:
                return
            if isinstance(item, threading.Event):
                self._tell_lost(waiting)
                item.set()
                continue
            written = self._write(item.kind, item.process, item.report)
            if not written:
                waiting.failed[item.kind] += 1
            waiting.taken += 1
            waiting.taken_chars += item.size
            if written and not self._is_full(waiting, EventType.INFO):
                self._tell_lost(waiting)

    def _write(self, kind: EventType, process: str, report: Report) -> bool:
        try:
            if self._kernel is None and self._open:  # in a forked child
                self._kernel = self._open()
            if self._kernel is None:
                return False
            self._kernel.report_now(kind, process, report)
        except Exception:
            return False
        return True

    def _tell_lost(self, waiting: _Queue) -> None:
        """Report what was lost since the last time; tried again with the next record where that fails, too."""
        lost = waiting.lost
        if lost == waiting.told:
            return
        infos = waiting.dropped[EventType.INFO] + waiting.failed[EventType.INFO]
        tags = {"infos": infos - waiting.told_infos, "errors": lost - infos - (waiting.told - waiting.told_infos)}
        text = f"{lost - waiting.told} log records were lost: the queue was full, or the journal could not be written."
        details = {"kind": "LogRecordsLost", "level": Level.WARNING, "tags": tags, "fingerprint": ["LogRecordsLost"]}
        if self._write(EventType.ERROR, self.process, describe(text, details)):
            waiting.told, waiting.told_infos = lost, infos


def _opener(
    credentials: str | os.PathLike[str] | None, journal: str | os.PathLike[str] | None
) -> "Callable[[], Reporter]":
    from errorkernel.node.blocking import BlockingKernel

    options: dict[str, Any] = {} if journal is None else {"journal": journal}

    def open_one() -> "Reporter":
        opened = (
            BlockingKernel.from_env(**options)
            if credentials is None
            else BlockingKernel.from_file(credentials, **options)
        )
        # Not by its own exit handler, which would come before the last records: by ``KernelHandler.close``.
        atexit.unregister(opened.close)
        return opened

    return open_one
