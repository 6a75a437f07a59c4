"""The demo fleet: four nodes as real processes, started and ended with the program that shows them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from errorkernel.broker.embedded import die_with_parent

NODES = {"demo-ship1": "copy", "demo-ship7": "fetch", "demo-relay1": "command", "demo-central": "tail"}
"""Node → what it does."""
STOP_S = 2.0


class DemoFleet:
    """``credentials``: of each node what ``steward node add --json`` prints."""

    def __init__(self, directory: Path, credentials: list[dict[str, str]]) -> None:
        self._directory = directory
        self._credentials = credentials
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start one process per node. Raises OSError."""
        for one in self._credentials:
            directory = self._directory / one["node"]
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = directory / "credentials.json"
            file.touch(mode=0o600)
            file.write_text(json.dumps(one))
            command = [sys.executable, "-m", "errorkernel.demo.node", str(file), str(directory), NODES[one["node"]]]
            self._nodes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
            )

    def stop(self) -> None:
        """End all of them; their workers die with them."""
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
