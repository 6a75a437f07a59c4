"""Reports uncaught exceptions, over the hooks that Python calls for them.

Each hook reports, and then calls the former hook, so that the output of the program does not change. No hook raises.
The ending thread itself writes the event to the journal; unsent messages are sent at the next start.
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

_IGNORED = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


def install_hooks(
    kernel: Reporter, *, process: str = "", loop: asyncio.AbstractEventLoop | None = None, unraisable: bool = True
) -> "Hooks":
    """Report exceptions that end the program (level critical), a thread or a task, or cannot be raised.

    ``loop``: the event loop whose handler is set as well; default: the running one, if there is one. An exception that
    leaves the ``with`` of ``kernel`` is reported there, since the kernel is closed when Python calls its hook. The
    result removes the hooks: with ``uninstall()``, or at the end of its ``with``.
    """
    if loop is None:
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
    return Hooks(kernel, process, loop, unraisable)


class Hooks:
    """Created by ``install_hooks``. If another hook was set later, ours stays below it, inactive."""

    def __init__(
        self, kernel: Reporter, process: str, loop: asyncio.AbstractEventLoop | None, unraisable: bool
    ) -> None:
        self._kernel = kernel
        self._process = process
        self._loop = loop
        self._active = True
        self._local = threading.local()
        self._former_on_failure, self._on_failure = kernel.on_failure, self._on_kernel_exit
        self._former_program_hook, self._program_hook = sys.excepthook, self._on_program_end
        self._former_thread_hook, self._thread_hook = threading.excepthook, self._on_thread_end
        self._former_unraisable_hook, self._unraisable_hook = sys.unraisablehook, self._on_unraisable
        kernel.on_failure, sys.excepthook, threading.excepthook = (
            self._on_failure,
            self._program_hook,
            self._thread_hook,
        )
        if unraisable:
            sys.unraisablehook = self._unraisable_hook
        self._former_task_hook, self._task_hook = loop.get_exception_handler() if loop else None, self._on_task_end
        if loop:
            loop.set_exception_handler(self._task_hook)

    def uninstall(self) -> None:
        self._active = False
        if self._kernel.on_failure is self._on_failure:
            self._kernel.on_failure = self._former_on_failure
        if sys.excepthook is self._program_hook:
            sys.excepthook = self._former_program_hook
        if threading.excepthook is self._thread_hook:
            threading.excepthook = self._former_thread_hook
        if sys.unraisablehook is self._unraisable_hook:
            sys.unraisablehook = self._former_unraisable_hook
        if self._loop and self._loop.get_exception_handler() is self._task_hook:
            self._loop.set_exception_handler(self._former_task_hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, frames: object) -> None:
        self.uninstall()

    def _on_kernel_exit(self, exc: BaseException) -> None:
        self._report(exc, "", Level.CRITICAL, {})
        if self._former_on_failure:
            self._former_on_failure(exc)

    def _on_program_end(self, kind: type[BaseException], exc: BaseException, frames: TracebackType | None) -> None:
        self._report(exc, "", Level.CRITICAL, {})
        self._former_program_hook(kind, exc, frames)

    def _on_thread_end(self, args: threading.ExceptHookArgs) -> None:
        self._report(args.exc_value, "", Level.ERROR, {"thread": args.thread.name if args.thread else ""})
        self._former_thread_hook(args)

    def _on_unraisable(self, unraisable: "UnraisableHookArgs") -> None:
        text = unraisable.err_msg or "Exception ignored"
        self._report(unraisable.exc_value, text, Level.ERROR, {"in": _name(unraisable.object)})
        self._former_unraisable_hook(unraisable)

    def _on_task_end(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        text = str(context.get("message", ""))
        exc = context.get("exception")
        task = context.get("task") or context.get("future")
        tags = {"task": task.get_name()} if isinstance(task, asyncio.Task) else {}
        self._report(exc if exc is not None else text, text, Level.ERROR, tags)
        if self._former_task_hook:
            self._former_task_hook(loop, context)
        else:
            loop.default_exception_handler(context)

    def _report(self, error: BaseException | str | None, text: str, level: Level, tags: dict[str, str]) -> None:
        """``text``: the message of Python about the exception."""
        # Faults of the reporting itself are not reported.
        if not self._active or error is None or isinstance(error, _IGNORED) or getattr(self._local, "yes", False):
            return
        self._local.yes = True
        try:
            if isinstance(error, BaseException) and once.is_marked(error):
                return
            draft = describe(error, {"level": level, "tags": tags | ({"python": text} if text else {})})
            self._kernel.report_now(EventType.ERROR, self._process, draft)
            once.mark(error)
        except NodeError as failure:
            log.error("An uncaught exception could not be reported: %s", failure)
        except Exception:
            log.exception("An uncaught exception could not be reported")
        finally:
            self._local.yes = False


def _name(found: object) -> str:
    try:
        return str(getattr(found, "__qualname__", None) or type(found).__qualname__)
    except Exception:
        return ""
