"""What the demo's workers do: small honest work, which fails as such work does. Each runs as a process of its own."""

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

from errorkernel.node.process.child import worker
from errorkernel.ops.demo.work_items import DICE, TAGS, Counter, work_off

Job = Callable[[str, str, bool], None]
"""A worker's function: the node's directory, the worker's own, and whether it may ask."""


@dataclass(frozen=True, slots=True)
class Role:
    """``name`` and ``job``: of its main worker, which asks, and of a second one that only reports, so that there is
    something to see while all questions wait. ``colleagues``: name → what goes on around them. ``first_question_s``:
    how long after its start the node may ask."""

    name: str
    job: Job
    colleagues: Mapping[str, Callable[[str], None]]
    first_question_s: float


# --- copy: charts arrive, are copied, and are cleaned up by a colleague who does not look whether they were -----------


def copy_files(directory: str, own: str, asks: bool) -> None:
    """Copy what has arrived, file by file."""
    work = Path(own)
    inbox, outbox = work / "inbox", work / "outbox"
    inbox.mkdir(exist_ok=True)
    outbox.mkdir(exist_ok=True)

    def chart(number: int) -> Path:
        return inbox / f"chart-{number:05d}.tif"

    arrived = Counter(work / "arrived")

    def piece(number: int) -> str:
        while arrived.last() < number + 5:
            chart(arrived.take()).write_bytes(b"II*\0" + DICE.randbytes(DICE.randint(1000, 60_000)))
        target = outbox / chart(number).name
        shutil.copyfile(chart(number), target)
        size = target.stat().st_size
        chart(number).unlink(missing_ok=True)
        target.unlink()
        return f"copied {target.name} ({size:,} bytes)"

    work_off(work, "REQCopySrc", piece, lambda number: f"{chart(number)} to {outbox}", asks=asks)


def clean_up(directory: str) -> None:
    """Remove some file from an inbox now and then, the next one in line first."""
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


def tail_log(directory: str, own: str, asks: bool) -> None:
    """Read what the engine has logged since the last time."""
    log = Path(directory) / "engine.log"
    log.touch()
    position = 0

    def piece(number: int) -> str:
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

    work_off(Path(own), "REQTailFile", piece, lambda number: str(log), asks=asks)


def write_log(directory: str) -> None:
    """Be the engine: log its temperature, and rotate the log, which for a moment is not there then."""
    log, me = Path(directory) / "engine.log", worker()
    for count in itertools.count(1):
        with log.open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} engine temperature {DICE.gauss(81, 2):.1f}\n")
        time.sleep(0.5)
        if count % 25 == 0:
            log.rename(log.with_suffix(".log.1"))
            me.info(f"rotated {log.name}", tags=TAGS)
            time.sleep(DICE.choice([0.1, 3.0]))


# --- fetch: reports are fetched from a server that has its moods -----------------------------------------------------


def fetch_weather(directory: str, own: str, asks: bool) -> None:
    """Fetch one report after the other."""
    address = Path(directory) / "weather-url"
    while not address.exists():
        time.sleep(0.1)

    def url(number: int) -> str:
        return f"{address.read_text()}/weather/{number}"

    def piece(number: int) -> str:
        with urllib.request.urlopen(url(number), timeout=1.0) as answer:  # noqa: S310 - a server on loopback
            return f"weather report {number}: {answer.read().decode()}"

    work_off(Path(own), "REQHttpGet", piece, url, asks=asks)


class _Weather(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        mood = DICE.random()
        if mood < 0.15:
            self.send_error(503, "Station is being calibrated")
        elif mood < 0.22:
            time.sleep(1.5)  # longer than the client waits
        elif mood < 0.29:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"wind {DICE.randint(2, 28)} kn, sea {DICE.randint(0, 6)} m".encode())

    def log_message(self, *args: object) -> None:
        """Quiet: this runs in somebody's terminal."""


def serve_weather(directory: str) -> None:
    """The server, on any free port of this machine alone."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Weather)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    address = Path(directory) / "weather-url"
    new = address.with_suffix(".new")
    new.write_text(f"http://127.0.0.1:{server.server_port}")
    new.rename(address)
    worker().info(f"serving on port {server.server_port}", tags=TAGS)
    server.serve_forever()


# --- command: programs are run, and some of them complain ------------------------------------------------------------


def run_commands(directory: str, own: str, asks: bool) -> None:
    """Run one program after the other, as a shell script would."""
    work = Path(own)
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

    def piece(number: int) -> str:
        done = subprocess.run(argv(number), cwd=work, capture_output=True, text=True, timeout=1.0, check=False)
        if done.returncode:
            complaint = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise RuntimeError(f"{' '.join(argv(number))} ended with status {done.returncode}: {complaint}")
        lines = done.stdout.strip().splitlines()
        return f"{' '.join(argv(number))}: {lines[-1] if lines else 'no output'}"

    work_off(work, "REQCliCommand", piece, lambda number: " ".join(argv(number)), asks=asks)


ROLES = {
    "copy": Role("copy-files", copy_files, {"clean-up": clean_up}, first_question_s=0.0),
    "tail": Role("tail-log", tail_log, {"engine-log": write_log}, first_question_s=45.0),
    "fetch": Role("fetch-weather", fetch_weather, {"weather-server": serve_weather}, first_question_s=25.0),
    "command": Role("run-commands", run_commands, {}, first_question_s=12.0),
}
