"""The demo fleet: four nodes, each a real process with workers of its own, started and ended with the server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from errorkernel.broker.embedded import die_with_parent

NODES = {"demo-ship1": "copy", "demo-ship7": "tail", "demo-relay1": "fetch", "demo-central": "command"}
"""Node → its role."""
STOP_S = 2.0


class DemoFleet:
    """``credentials``: per node the output of ``steward node add NAME --json``. All files are below ``work_dir``.

    Start it from a thread that runs as long as the fleet: on Linux the nodes die with that thread.
    """

    def __init__(self, work_dir: Path, credentials: Sequence[dict[str, str]]) -> None:
        self._work_dir = work_dir
        self._credentials = list(credentials)
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The nodes' processes."""
        return [node.pid for node in self._nodes]

    def start(self) -> None:
        """Start one process per node. Raises OSError; then none is left running."""
        try:
            for credentials in self._credentials:
                self._nodes.append(self._start(credentials))
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of them within three seconds; their workers end with them."""
        for node in self._nodes:
            with contextlib.suppress(ProcessLookupError):
                node.terminate()
        deadline = time.monotonic() + STOP_S
        for node in self._nodes:
            try:
                node.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(node.pid, signal.SIGKILL)
                node.wait()
        self._nodes.clear()

    def _start(self, credentials: dict[str, str]) -> "subprocess.Popen[bytes]":
        name = credentials["node"]
        work = self._work_dir / name
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = work / "credentials.json"
        # A new file instead of an overwritten one: nobody else may have it open, or read it.
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(credentials, out)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "errorkernel.ops.demo.node"),
                *("--credentials", str(file), "--work", str(work), "--role", NODES[name]),
            ],
            env={**os.environ, "PYTHONPATH": _python_path()},
            stdin=subprocess.DEVNULL,
            # Ctrl-C in the terminal is for the server, which then stops the fleet.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def _python_path() -> str:
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
