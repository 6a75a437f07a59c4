"""A demo node: a process with two workers. ``python -m errorkernel.demo.node CREDENTIALS DIRECTORY ROLE``."""

import asyncio
import http.server
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from errorkernel.node import Kernel
from errorkernel.node.restart import Restart

PROCESS_NAMES = {"copy": "copy-files", "fetch": "http-get", "command": "run-commands", "tail": "tail-log"}


class _Weather(http.server.BaseHTTPRequestHandler):
    """A server that fails every third request, and says so."""

    def do_GET(self) -> None:
        number = int(self.path.rsplit("/", 1)[-1])
        self.send_response(503 if number % 3 == 0 else 200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet: this is a demo in somebody's terminal."""


def _serve_weather(url_file: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Weather)
    url_file.write_text(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()


async def run(credentials: Path, directory: Path, role: str) -> None:
    """Supervise until told to end."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    url_file = directory / "http-url"
    if role == "fetch":
        _serve_weather(url_file)
    name, env = PROCESS_NAMES[role], {"DEMO_HTTP_URL_FILE": str(url_file)}
    jobs = [sys.executable, "-m", "errorkernel.demo.jobs", role]
    asking = [*jobs, str(directory), "asks"]
    # It never blocks, so that there is something to see while all questions wait.
    reporting = [*jobs, str(directory / "second"), "reports"]
    async with (
        Kernel.from_file(credentials, journal=directory / "journal.sqlite3") as kernel,
        kernel.process_worker(name, asking, restart=Restart.PERMANENT, grace_s=2, env=env),
        kernel.process_worker(f"{name}-2", reporting, restart=Restart.PERMANENT, grace_s=2, env=env),
    ):
        await ended.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
