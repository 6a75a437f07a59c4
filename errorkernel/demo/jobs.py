"""What the demo's workers do: small honest work that really fails now and then. Run as processes of their own.

``python -m errorkernel.demo.jobs ROLE DIRECTORY asks|reports`` below a supervisor (``errorkernel.node.child``).
"""

import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from errorkernel.node.child import Worker, worker

PAUSE_S = (1.5, 4.0)
ASK_EVERY = 4
"""One failure in so many is asked about; the first always, so that a newcomer sees a question soon."""


def copy(directory: Path, number: int) -> dict[str, Any]:
    """Copy a file that a colleague may have removed meanwhile."""
    source, target = directory / "in", directory / "out"
    source.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    name = source / f"chart-{number:04d}.tif"
    if number % 3:
        name.write_bytes(b"II*\0" + bytes(2000))
    shutil.copy(name, target / name.name)
    name.unlink()
    return {"method": "REQCopySrc", "data": str(name)}


def fetch(directory: Path, number: int) -> dict[str, Any]:
    """Fetch from the demo's own little server, which fails in its own way."""
    url = Path(os.environ["DEMO_HTTP_URL_FILE"]).read_text() + f"/weather/{number}"
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server on loopback
        answer.read()
    return {"method": "REQHttpGet", "data": url}


def command(directory: Path, number: int) -> dict[str, Any]:
    """Run a program; every third time one that complains."""
    argv = ["ls", "-l", str(directory / f"cache-{number}") if number % 3 == 0 else str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with status {done.returncode}: {done.stderr.strip()}")
    return {"method": "REQCliCommand", "data": " ".join(argv)}


def tail(directory: Path, number: int) -> dict[str, Any]:
    """Read the end of a log that is rotated under the reader."""
    log = directory / "engine.log"
    with log.open("a") as out:
        out.write(f"engine temperature {60 + number % 30}\n")
    if number % 4 == 0:
        log.rename(directory / "engine.log.1")
    with log.open() as file:
        file.readlines()
    return {"method": "REQTailFile", "data": str(log)}


ROLES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "copy": copy,
    "fetch": fetch,
    "command": command,
    "tail": tail,
}
METHODS = {"copy": "REQCopySrc", "fetch": "REQHttpGet", "command": "REQCliCommand", "tail": "REQTailFile"}


def work(me: Worker, role: str, directory: Path, *, asks: bool) -> None:
    """One piece of work after the other, for as long as nobody ends us."""
    directory.mkdir(parents=True, exist_ok=True)
    tags = {"demo": "true"}
    failures = 0
    number = me.incarnation * 1000
    me.info(f"started, incarnation {me.incarnation}", tags=tags)
    while True:
        number += 1
        try:
            ROLES[role](directory, number)
        except Exception as exc:
            message = {
                "id": f"{role}-{number}",
                "method": METHODS[role],
                "from_node": "central",
                "data": f"piece of work {number}",
            }
            if asks and failures % ASK_EVERY == 0:
                me.ask(exc, message=message, tags=tags)
                me.info("going on after the answer", tags=tags)
            else:
                me.error(exc, message=message, tags=tags)
            failures += 1
        time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - not a secret


def main() -> None:
    role, directory, asks = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "asks"
    with worker() as me:
        work(me, role, directory, asks=asks)


if __name__ == "__main__":
    main()
