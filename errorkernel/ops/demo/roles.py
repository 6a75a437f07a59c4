"""The tasks of the demo workers: small and real, so they fail as such tasks do. Each runs as a process of its own."""

import contextlib
import http.server
import itertools
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from errorkernel.node import worker
from errorkernel.ops.demo.work_items import DICE, TAGS, Counter, process_items

Job = Callable[[str, str, bool], None]
"""The function of a worker: the directory of the node, that of the worker, and whether it may open incidents."""


@dataclass(frozen=True, slots=True)
class Role:
    """``name`` and ``job``: of its main worker, which opens incidents, and of a second one that only reports, so that
    events arrive while all incidents are pending. ``companions``: name → function of other workers.
    ``first_incident_s``: how long after its start the node may open one."""

    name: str
    job: Job
    companions: Mapping[str, Callable[[str], None]]
    first_incident_s: float


# --- copy: charts arrive and are copied; another worker cleans up, also charts that are not copied yet ----------------


def copy_files(directory: str, own_directory: str, may_block: bool) -> None:
    """Copy arrived files one by one."""
    work = Path(own_directory)
    inbox, outbox = work / "inbox", work / "outbox"
    inbox.mkdir(exist_ok=True)
    outbox.mkdir(exist_ok=True)

    def chart(number: int) -> Path:
        return inbox / f"chart-{number:05d}.tif"

    arrived = Counter(work / "arrived")

    def work_item(number: int) -> str:
        while arrived.last() < number + 5:
            chart(arrived.take()).write_bytes(b"II*\0" + DICE.randbytes(DICE.randint(1000, 60_000)))
        target = outbox / chart(number).name
        shutil.copyfile(chart(number), target)
        size = target.stat().st_size
        chart(number).unlink(missing_ok=True)
        target.unlink()
        return f"copied {target.name} ({size:,} bytes)"

    process_items(work, "REQCopySrc", work_item, lambda number: f"{chart(number)} to {outbox}", may_block=may_block)


def clean_up(directory: str) -> None:
    """Remove a file from an inbox now and then; at first the next one to be copied."""
    me = worker()
    first = True
    while True:
        time.sleep(0.5 if first else DICE.uniform(6, 15))
        files = sorted(Path(directory).glob("*/inbox/*.tif"))
        if files:
            victim = files[0] if first else DICE.choice(files)
            first = False
            with contextlib.suppress(FileNotFoundError):
                victim.unlink()
                me.info(f"cleaned up {victim.name}, the disk was filling", tags=TAGS, level="warning")


# --- tail: a log is read, and rotated under the reader ---------------------------------------------------------------


class LogTruncated(Exception):
    """The log is shorter than what has been read of it."""


def tail_log(directory: str, own_directory: str, may_block: bool) -> None:
    """Read the lines that the engine has logged since the last time."""
    log = Path(directory) / "engine.log"
    log.touch()
    position = 0

    def work_item(number: int) -> str:
        nonlocal position
        with log.open() as file:
            size = file.seek(0, 2)
            if size < position:
                was, position = position, 0
                raise LogTruncated(f"{log.name} has {size} bytes, of which {was} had been read")
            file.seek(position)
            lines = file.readlines()
            position = file.tell()
        return f"read {len(lines)} lines of {log.name}" + (f", the last: {lines[-1].strip()}" if lines else "")

    process_items(Path(own_directory), "REQTailFile", work_item, lambda number: str(log), may_block=may_block)


def write_log(directory: str) -> None:
    """Simulate the engine: log its temperature, and rotate the log, which is then missing for a moment."""
    log, me = Path(directory) / "engine.log", worker()
    for count in itertools.count(1):
        with log.open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} engine temperature {DICE.gauss(81, 2):.1f}\n")
        time.sleep(0.5)
        if count % 25 == 0:
            log.rename(log.with_suffix(".log.1"))
            me.info(f"rotated {log.name}", tags=TAGS)
            time.sleep(DICE.choice([0.1, 3.0]))


# --- fetch: weather reports are fetched from an unreliable server ----------------------------------------------------


def fetch_weather(directory: str, own_directory: str, may_block: bool) -> None:
    """Fetch one weather report after the other."""
    address = Path(directory) / "weather-url"
    while not address.exists():
        time.sleep(0.1)

    def url(number: int) -> str:
        return f"{address.read_text()}/weather/{number}"

    def work_item(number: int) -> str:
        with urllib.request.urlopen(url(number), timeout=1.0) as response:  # noqa: S310 - a server on loopback
            return f"weather report {number}: {response.read().decode()}"

    process_items(Path(own_directory), "REQHttpGet", work_item, url, may_block=may_block)


class _Weather(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        chance = DICE.random()
        if chance < 0.15:
            self.send_error(503, "Station is being calibrated")
        elif chance < 0.22:
            time.sleep(1.5)  # longer than the timeout of the client
        elif chance < 0.29:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"wind {DICE.randint(2, 28)} kn, sea {DICE.randint(0, 6)} m".encode())

    def log_message(self, *args: object) -> None:
        """No output: this runs in the terminal of the user."""


def serve_weather(directory: str) -> None:
    """Run the server, on any free port of the loopback interface."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Weather)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    address = Path(directory) / "weather-url"
    new = address.with_suffix(".new")
    new.write_text(f"http://127.0.0.1:{server.server_port}")
    new.rename(address)
    worker().info(f"serving on port {server.server_port}", tags=TAGS)
    server.serve_forever()


# --- command: programs are run, and some of them fail ----------------------------------------------------------------


def run_commands(directory: str, own_directory: str, may_block: bool) -> None:
    """Run one program after the other, as a shell script would."""
    work = Path(own_directory)
    (work / "backup.tar").write_bytes(b"this was an archive once\n" * 40)
    programs = [
        ["df", "-k", "."],
        ["ls", "-l", "."],
        ["tar", "-tf", "backup.tar"],
        ["uname", "-a"],
        ["ls", "-l", "cache/tiles"],
        ["date", "-u"],
        ["sleep", "3"],
    ]

    def argv(number: int) -> list[str]:
        return programs[number % len(programs)]

    def work_item(number: int) -> str:
        done = subprocess.run(argv(number), cwd=work, capture_output=True, text=True, timeout=1.0, check=False)
        if done.returncode:
            error_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{' '.join(argv(number))} ended with status {done.returncode}: {error_line}")
        lines = done.stdout.strip().splitlines()
        return f"{' '.join(argv(number))}: {lines[-1] if lines else 'no output'}"

    process_items(work, "REQCliCommand", work_item, lambda number: " ".join(argv(number)), may_block=may_block)


ROLES = {
    "copy": Role("copy-files", copy_files, {"clean-up": clean_up}, first_incident_s=0.0),
    "tail": Role("tail-log", tail_log, {"engine-log": write_log}, first_incident_s=100.0),
    "fetch": Role("fetch-weather", fetch_weather, {"weather-server": serve_weather}, first_incident_s=80.0),
    "command": Role("run-commands", run_commands, {}, first_incident_s=60.0),
}
