"""A whole running product for tests: ``steward up`` in a scratch data dir, on free ports, as a process of its own."""

import atexit
import http.cookiejar
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from errorkernel.web.assets.place import place
from tests.support import fork_server
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, wait_for

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
"""The same engine without a browser's window takes two thirds of the processor time: it is taken where it is."""


@cache
def _made() -> Path:
    """A data dir with a database and static files as the product makes them, once for each process of the tests: it
    takes seconds of a processor."""
    made = tempfile.TemporaryDirectory(prefix="steward-made-")
    atexit.register(made.cleanup)
    done = fork_server.run(["migrate", "-v0"], Product(Path(made.name)).env, PATIENCE_S)
    assert done.returncode == 0, done.stderr
    hashed = place(ROOT, Path(made.name))
    make = [sys.executable, "-m", "errorkernel.web.assets.build", str(ROOT / "static"), str(hashed)]
    subprocess.run(make, cwd=ROOT, check=True, timeout=PATIENCE_S)
    return Path(made.name)


class Product:
    """``start`` … ``stop`` or ``kill``, as often as wanted on the same data dir. ``settings``: of its environment.

    ``new``: there is no database before the first start, and it is started as people start it, by a Python of its own.
    ``files_max``: how many files it may open then; 0: as many as these tests may.
    Otherwise there is one with its tables and nothing in them, and its programs are forks that have their libraries.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        settings: Mapping[str, str] | None = None,
        new: bool = False,
        files_max: int = 0,
    ) -> None:
        self.directory = directory
        self.options = options
        self.settings = dict(settings or {})
        self._new = new
        self._files_max = files_max
        self.password = ""
        self._tokens: dict[str, str] = {}
        self.http_url = self.nats_url = ""
        self._log = directory.parent / f"{directory.name}.log"
        self._process: fork_server.Program | subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What its programs find there. Their database is SQLite, also where the tests' own is PostgreSQL."""
        own = {"STEWARD_DATA_DIR": str(self.directory), "STEWARD_DATABASE_URL": "", "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **own, **self.settings}

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Product":
        if not self._new:
            self.make_tables()
        port = self.http_url.rsplit(":", 1)[1].partition("/")[0] if self.http_url else "0"
        with self._log.open("ab") as out:
            argv = ["up", "--port", port, *self.options]
            if self._new:
                limit = f"ulimit -n {self._files_max}; " if self._files_max else ""
                command = ["sh", "-c", f'{limit}exec "$@"', "sh", sys.executable, "manage.py", *argv]
                self._process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=out, stderr=out)
            else:
                self._process = fork_server.start(argv, self.env, out, out)
        try:
            wait_for(self._ready)
        except BaseException:
            self._process.kill()  # nobody will stop what did not start
            raise
        return self

    def make_tables(self) -> None:
        """Make the data dir, with a database of empty tables, where there is none."""
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            shutil.copy(_made() / "steward.sqlite3", self.directory)
            (self.directory / "assets").symlink_to(_made() / "assets")

    def _ready(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise AssertionError(self.log())
        try:
            found = json.loads((self.directory / "endpoints.json").read_text())
        except (OSError, ValueError):
            return False
        if found["pid"] != self._process.pid:
            return False
        self.http_url, self.nats_url = found["http_url"], found["nats_url"]
        if given := re.search(r"Password: (\S+)", self.log()):
            self.password = given[1]
        return True

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        assert self._process
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What ``steward`` does with these arguments on this data dir."""
        if self._new:
            command = [sys.executable, "manage.py", *arguments]
            return subprocess.run(
                command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        return fork_server.run(arguments, self.env, PATIENCE_S)

    def add_node(self, name: str) -> dict[str, str]:
        done = self.command("node", "add", name, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def token(self, user: str = "admin") -> str:
        """Of the API; the same one whenever it is asked for."""
        if user not in self._tokens:
            done = self.command("token", "add", user, "--json")
            assert done.returncode == 0, done.stderr
            self._tokens[user] = str(json.loads(done.stdout)["token"])
        return self._tokens[user]

    def session(self) -> str:
        """The Cookie header of a browser in which the administrator has logged in."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        opener.open(self.http_url + "/login/").close()
        token = next(one.value for one in jar if one.name == "csrftoken")
        form = {"username": "admin", "password": self.password, "csrfmiddlewaretoken": token}
        opener.open(self.http_url + "/login/", urllib.parse.urlencode(form).encode()).close()
        return "; ".join(f"{one.name}={one.value}" for one in jar)

    def call(self, path: str, token: str, body: Any = None, timeout_s: float = 40) -> tuple[int, Any]:
        """(status, decoded body) of an API call."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.http_url + path, data=data)
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as exc:
            text, status = exc.read(), exc.code
        return status, json.loads(text) if text else None
