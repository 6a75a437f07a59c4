"""A supervised worker's side: plain blocking code in a process of its own, which speaks to its supervisor.

``with worker() as me: me.info("started")``. The supervisor reports and asks for it; a worker needs no broker
connection. Lines of JSON go over a socket that the worker inherits (``STEWARD_WORKER_FD``).
"""

import json
import os
import socket
import traceback
from typing import Any

FD_VARIABLE = "STEWARD_WORKER_FD"


class Worker:
    """``incarnation``: which one of this process it is."""

    def __init__(self) -> None:
        self.incarnation = int(os.environ.get("STEWARD_WORKER_INCARNATION", "0"))
        self._socket = socket.socket(fileno=int(os.environ[FD_VARIABLE]))
        self._lines = self._socket.makefile("r", encoding="utf-8")

    def error(self, error: BaseException | str, **details: Any) -> None:
        """Report an error; ``details`` as for ``Kernel.event``."""
        self._say("error", error, details)

    def info(self, text: str, **details: Any) -> None:
        self._say("info", text, details)

    def ask(self, error: BaseException | str, **details: Any) -> str:
        """Block until the answer is ``continue``. Any other answer ends this process before it returns."""
        self._say("ask", error, details)
        line = self._lines.readline()
        if not line:
            # The supervisor is gone, and nobody will ever answer.
            os._exit(1)
        return str(json.loads(line)["action"])

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _say(self, what: str, error: BaseException | str, details: dict[str, Any]) -> None:
        if isinstance(error, BaseException):
            details.setdefault("error_kind", type(error).__name__)
            details.setdefault("stack", "".join(traceback.format_exception(error)))
        line = json.dumps({"do": what, "text": str(error), "details": details})
        self._socket.sendall(line.encode() + b"\n")


def worker() -> Worker:
    """This process's line to its supervisor. Raises KeyError where it has none."""
    return Worker()
