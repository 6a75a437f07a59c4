"""``KernelHandler``: a ``logging`` handler that reports log records as events, without risk for the program.

The caller drafts the event, which takes some ten microseconds, and puts it into a queue; a thread writes it to the
journal. Neither the disk nor the broker can block the caller, and nothing raises in it.

The queue is bounded. **Infos are dropped when half of it is full, errors when all of it is**: a flood of infos leaves
half of it to errors. Of a storm of errors the first, which are the most useful, are kept. Dropped events (also those
that the journal could not take) are counted, and the count is reported when there is room again.
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
from errorkernel.node.reporting.event_builder import EventDraft, describe

if TYPE_CHECKING:
    from errorkernel.node.reporting.context import Reporter

MAX_RECORDS = 10_000
MAX_CHARS = 32 * 1024 * 1024
FLUSH_S = 2.0
RETRY_S = 1.0
POOL_WAIT_S = 1.0
"""In a worker of a process pool, which is terminated without warning: how long a record may take to the journal."""
_IGNORED_LOGGERS = ("errorkernel", "nats")


@dataclass(frozen=True, slots=True)
class _QueuedEvent:
    kind: EventType
    process: str
    draft: EventDraft
    size: int


class _Queue:
    """The queued events of one program, and how many were dropped; a forked child has a queue of its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Unlike that of a queue.Queue, its put may interrupt itself (a signal handler or a finalizer that logs).
        self.items: queue.SimpleQueue[_QueuedEvent | threading.Event | None] = queue.SimpleQueue()
        self.put = self.put_chars = 0
        """Counted by the callers, under the handler's lock."""
        self.taken = self.taken_chars = 0
        """Counted by the writing thread."""
        self.dropped = {EventType.INFO: 0, EventType.ERROR: 0}
        self.failed = {EventType.INFO: 0, EventType.ERROR: 0}
        self.reported = self.reported_infos = 0
        self.thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        return sum(self.dropped.values()) + sum(self.failed.values())


class KernelHandler(logging.Handler):
    """``logging.getLogger().addHandler(KernelHandler(kernel))``, or in a ``dictConfig`` with ``credentials``.

    With ``kernel`` (a ``Kernel`` or a ``BlockingKernel``) it reports through that one, and must be closed before it.
    Without, it opens a kernel of its own: ``credentials`` and ``journal`` name the files (default: those of the
    environment, as ``Kernel.from_env``). Raises NodeError if that fails; later, nothing raises. ``process``: of records
    that name none; default: that of the kernel.
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
        self._open_kernel = None if kernel else _make_opener(credentials, journal)
        self._closed = False
        self._kernel = self._open_kernel() if self._open_kernel else kernel
        self._inherited: list[Reporter | None] = []
        self._queue = _Queue()
        # At the end of the program this runs before the kernel closes, and the exit handler of logging after that.
        atexit.register(self.flush)

    @property
    def dropped(self) -> int:
        """How many records this program has lost so far."""
        return self._queue.lost

    def filter(self, record: logging.LogRecord) -> Any:
        """Called by ``logging`` before it takes the handler's lock, which a caller may hold while our threads work."""
        if str(record.name).split(".", 1)[0] in _IGNORED_LOGGERS or threads.is_current_marked():
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``logging``, under the handler's lock."""
        if self._closed:
            return
        kind = log_records.type_of(record)
        try:
            events = self._own_queue()
            if events is None:
                return
            record = log_records.normalize(record)
            exc = log_records.exception_of(record)
            if kind is EventType.ERROR and exc is not None and once.is_marked(exc):
                return
            if self._is_full(events, kind):
                events.dropped[kind] += 1
                return
            draft = log_records.draft_of(record)
            size = len(draft.text) + len(draft.stack) + (len(draft.message.data) if draft.message else 0)
            events.put += 1
            events.put_chars += size
            events.items.put(_QueuedEvent(kind, log_records.process_of(record) or self.process, draft, size))
            if kind is EventType.ERROR:
                once.mark(exc)
            if _may_be_terminated():
                self.flush(POOL_WAIT_S)
        except Exception:
            self._queue.dropped[kind] += 1

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Return when all records so far are in the journal, or after that time."""
        events = self._queue
        if events.pid != os.getpid() or events.thread is None or events.thread is threading.current_thread():
            return
        done = threading.Event()
        events.items.put(done)
        done.wait(timeout_s)

    def close(self) -> None:
        """Flush and close, also a kernel of its own. ``logging.shutdown`` calls it at the end of the program."""
        if not self._closed:
            self.flush()
            self._closed = True
            atexit.unregister(self.flush)
            self._queue.items.put(None)
            if self._open_kernel and self._kernel is not None and self._queue.pid == os.getpid():
                with contextlib.suppress(Exception):
                    self._kernel.close()  # type: ignore[attr-defined]  # our own one is a BlockingKernel
        super().close()

    def _own_queue(self) -> _Queue | None:
        """The queue of this program; None in a forked child if the parent was given its kernel."""
        if self._queue.pid != os.getpid():
            if self._open_kernel is None:
                return None
            # The kernel of the parent is kept: its destructor would close what the parent still uses.
            self._inherited.append(self._kernel)
            self._queue, self._kernel = _Queue(), None
            if processes := sys.modules.get("multiprocessing.util"):
                # Children of multiprocessing run no other exit handlers.
                processes.Finalize(self, KernelHandler.flush, args=(self,), exitpriority=100)
        events = self._queue
        if events.thread is None:
            events.thread = threading.Thread(target=self._work, args=(events,), name="log records", daemon=True)
            events.thread.start()
        return events

    def _is_full(self, events: _Queue, kind: EventType) -> bool:
        part = 2 if kind is EventType.INFO else 1
        records, chars = events.put - events.taken, events.put_chars - events.taken_chars
        return records * part >= self._max_records or chars * part >= self._max_chars

    def _work(self, events: _Queue) -> None:
        threads.mark_current()
        while True:
            try:
                item = events.items.get(timeout=RETRY_S if events.lost > events.reported else None)
            except queue.Empty:
                self._report_lost(events)
                continue
            if item is None:
                return
            if isinstance(item, threading.Event):
                self._report_lost(events)
                item.set()
                continue
            written = self._write(item.kind, item.process, item.draft)
            if not written:
                events.failed[item.kind] += 1
            events.taken += 1
            events.taken_chars += item.size
            if written and not self._is_full(events, EventType.INFO):
                self._report_lost(events)

    def _write(self, kind: EventType, process: str, draft: EventDraft) -> bool:
        try:
            if self._kernel is None and self._open_kernel:  # in a forked child
                self._kernel = self._open_kernel()
            if self._kernel is None:
                return False
            self._kernel.report_now(kind, process, draft)
        except Exception:
            return False
        return True

    def _report_lost(self, events: _Queue) -> None:
        """Report how many records were lost since the last time; the next record retries."""
        lost = events.lost
        if lost == events.reported:
            return
        infos = events.dropped[EventType.INFO] + events.failed[EventType.INFO]
        tags = {
            "infos": infos - events.reported_infos,
            "errors": lost - infos - (events.reported - events.reported_infos),
        }
        text = (
            f"{lost - events.reported} log records were lost: the queue was full, or the journal could not be written."
        )
        details = {"kind": "LogRecordsLost", "level": Level.WARNING, "tags": tags, "fingerprint": ["LogRecordsLost"]}
        if self._write(EventType.ERROR, self.process, describe(text, details)):
            events.reported, events.reported_infos = lost, infos


def _may_be_terminated() -> bool:
    """Whether this is a daemon of ``multiprocessing``: a pool terminates its workers when it has their results."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and bool(processes.current_process().daemon)


def _make_opener(
    credentials: str | os.PathLike[str] | None, journal: str | os.PathLike[str] | None
) -> "Callable[[], Reporter]":
    from errorkernel.node.blocking import BlockingKernel

    options: dict[str, Any] = {} if journal is None else {"journal": journal}

    def open_kernel() -> "Reporter":
        opened = (
            BlockingKernel.from_env(**options)
            if credentials is None
            else BlockingKernel.from_file(credentials, **options)
        )
        # Closed by ``KernelHandler.close``: its own exit handler would run before the last records.
        atexit.unregister(opened.close)
        return opened

    return open_kernel
