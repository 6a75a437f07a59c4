"""A PostgreSQL of the run's own, from Debian's packages: made when the run begins, gone when it ends.

PostgreSQL refuses to run as root, so root starts it as ``postgres`` (the packages' user) or ``nobody``. Nothing of it
outlives the run, so nothing is synced to the disk.
"""

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE_S

PACKAGES = Path("/usr/lib/postgresql")
USER = "steward"
START_S = 120.0
SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "max_connections": "400", "shared_buffers": "64MB", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
}  # fmt: skip
# The shell reads the run's pipe: its end tells that the run has ended, however it did.
GUARD = '"$@" & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; rm -rf "$CLUSTER"'


class NoPostgres(Exception):
    """There is no PostgreSQL to run the tests on; the message says how to get one."""


def start() -> str:
    """Start a cluster; returns the address of a database in it. Raises NoPostgres."""
    programs = _programs()
    owner = _owner()
    directory = Path(tempfile.mkdtemp(prefix="steward-postgres-"))
    if owner:
        shutil.chown(directory, owner["user"], owner["group"])
    data, log = directory / "data", directory / "log"
    initdb = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    made = subprocess.run(initdb, capture_output=True, text=True, cwd=directory, check=False, **owner)
    if made.returncode:
        raise NoPostgres(f"initdb failed: {made.stderr}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = ["sh", "-c", GUARD, "guard", programs / "postgres", "-D", data, "-p", str(port), *options]
    with log.open("wb") as out:
        guard = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=directory,
            env={**os.environ, "CLUSTER": str(directory)}, start_new_session=True, **owner,
        )  # fmt: skip

    def end() -> None:
        assert guard.stdin
        guard.stdin.close()
        guard.wait(PATIENCE_S)

    atexit.register(end)
    _wait_until_ready(log)
    return f"postgresql://{USER}@127.0.0.1:{port}/postgres"


def _programs() -> Path:
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(PACKAGES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise NoPostgres("There is no PostgreSQL on this machine (Debian: apt-get install postgresql).")
    return versions[-1].parent


def _owner() -> dict[str, Any]:
    """As whom it runs, as arguments of subprocess; nothing for somebody who is not root."""
    if os.geteuid():
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _wait_until_ready(log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "ready to accept connections" not in log.read_text():
        if time.monotonic() > deadline:
            raise NoPostgres(f"PostgreSQL did not start within {START_S:g} s: {log.read_text()}")
        time.sleep(0.05)
