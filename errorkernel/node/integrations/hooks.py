"""What nobody caught is reported, too: by the hooks that Python calls for it.

Each reports, and then calls the hook that was there before, so that what a program prints does not change. None of them
raises. The report is written to the journal by the dying thread itself, before it goes on to die; what the program has
no time to send is sent at its next start.
"""

import asyncio
import contextlib
import logging
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from errorkernel.domain.values import EventType, Level
from errorkernel.node.errors import NodeError
from errorkernel.node.reporting import once
from errorkernel.node.reporting.context import Reporter
from errorkernel.node.reporting.event_builder import describe

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

log = logging.getLogger("errorkernel.node")

_NO_ERRORS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


def install_hooks(
    kernel: Reporter, *, process: str = "", loop: asyncio.AbstractEventLoop | None = None, unraisable: bool = True
) -> "Hooks":
    """Report what ends the program (level critical), a thread, or a task, and what Python cannot raise.

    ``loop``: the event loop whose handler is set, too; default: the running one, if there is one. An exception that
    leaves the ``with`` of ``kernel`` is reported there, since the kernel is closed when Python calls its hook.
    Returns what takes the hooks out again: ``uninstall()``, or the end of a ``with``.
    """
    if loop is None:
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
    return Hooks(kernel, process, loop, unraisable)


class Hooks:
    """Made by ``install_hooks``. Where another hook was set later, ours stays below it, and does nothing any more."""

    def __init__(
        self, kernel: Reporter, process: str, loop: asyncio.AbstractEventLoop | None, unraisable: bool
    ) -> None:
        self._kernel = kernel
        self._process = process
        self._loop = loop
        self._active = True
        self._inside = threading.local()
        self._former_failure, self._on_failure = kernel.on_failure, self._leaving
        self._former_main, self._main = sys.excepthook, self._program_ends
        self._former_thread, self._thread = threading.excepthook, self._thread_ends
        self._former_unraisable, self._unraised = sys.unraisablehook, self._unraisable
        kernel.on_failure, sys.excepthook, threading.excepthook = self._on_failure, self._main, self._thread
        if unraisable:
            sys.unraisablehook = self._unraised
        self._former_task, self._task = loop.get_exception_handler() if loop else None, self._task_ends
        if loop:
            loop.set_exception_handler(self._task)

    def uninstall(self) -> None:
        self._active = False
        if self._kernel.on_failure is self._on_failure:
            self._kernel.on_failure = self._former_failure
        if sys.excepthook is self._main:
            sys.excepthook = self._former_main
        if threading.excepthook is self._thread:
            threading.excepthook = self._former_thread
        if sys.unraisablehook is self._unraised:
            sys.unraisablehook = self._former_unraisable
        if self._loop and self._loop.get_exception_handler() is self._task:
            self._loop.set_exception_handler(self._former_task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, frames: object) -> None:
        self.uninstall()

    def _leaving(self, exc: BaseException) -> None:
        self._report(exc, "", Level.CRITICAL, {})
        if self._former_failure:
            self._former_failure(exc)

    def _program_ends(self, kind: type[BaseException], exc: BaseException, frames: TracebackType | None) -> None:
        self._report(exc, "", Level.CRITICAL, {})
        self._former_main(kind, exc, frames)

    def _thread_ends(self, args: threading.ExceptHookArgs) -> None:
        self._report(args.exc_value, "", Level.ERROR, {"thread": args.thread.name if args.thread else ""})
        self._former_thread(args)

    def _unraisable(self, unraisable: "UnraisableHookArgs") -> None:
        text = unraisable.err_msg or "Exception ignored"
        self._report(unraisable.exc_value, text, Level.ERROR, {"in": _name(unraisable.object)})
        self._former_unraisable(unraisable)

    def _task_ends(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        text = str(context.get("message", ""))
        exc = context.get("exception")
        task = context.get("task") or context.get("future")
        tags = {"task": task.get_name()} if isinstance(task, asyncio.Task) else {}
        self._report(exc if exc is not None else text, text, Level.ERROR, tags)
        if self._former_task:
            self._former_task(loop, context)
        else:
            loop.default_exception_handler(context)

    def _report(self, error: BaseException | str | None, text: str, level: Level, tags: dict[str, str]) -> None:
        """``text``: what Python says of it, told in front of the exception's own."""
        # While one is being reported, nothing that goes wrong with that is.
        if not self._active or error is None or isinstance(error, _NO_ERRORS) or getattr(self._inside, "yes", False):
            return
        self._inside.yes = True
        try:
            if isinstance(error, BaseException) and once.is_marked(error):
                return
            report = describe(error, {"level": level, "tags": tags | ({"python": text} if text else {})})
            self._kernel.report_now(EventType.ERROR, self._process, report)
            once.mark(error)
        except NodeError as failed:
            log.error("What nobody caught could not be reported: %s", failed)
        except Exception:
            log.exception("What nobody caught could not be reported")
        finally:
            self._inside.yes = False


def _name(found: object) -> str:
    try:
        return str(getattr(found, "__qualname__", None) or type(found).__qualname__)
    except Exception:
        return ""
