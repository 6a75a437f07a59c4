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
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

START_S = 30.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def wait_for(what: Any, timeout_s: float = 20.0) -> Any:
    """Call ``what`` until it returns something true; fails with its name after the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{getattr(what, '__name__', what)} did not come true within {timeout_s} s")


@cache
def _tables() -> Path:
    """A database as the product makes it, once for each process of the tests: it takes seconds of a processor."""
    made = tempfile.TemporaryDirectory(prefix="steward-tables-")
    atexit.register(made.cleanup)
    env = {**os.environ, "STEWARD_DATA_DIR": made.name}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True, timeout=120)
    return Path(made.name) / "steward.sqlite3"


class Running:
    """``start`` … ``stop`` or ``kill``, as often as wanted on the same data dir. ``settings``: of its environment.

    ``tables``: the data dir has a database with its tables and nothing in them, so the first start need not make them.
    """

    def __init__(
        self, directory: Path, *options: str, settings: Mapping[str, str] | None = None, tables: bool = True
    ) -> None:
        self.directory = directory
        self.options = options
        self.settings = dict(settings or {})
        self._tables = tables
        self.password = ""
        self._tokens: dict[str, str] = {}
        self.http_url = self.nats_url = ""
        self._log = directory.parent / f"{directory.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "STEWARD_DATA_DIR": str(self.directory), "PYTHONUNBUFFERED": "1", **self.settings}

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Running":
        if self._tables and not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            shutil.copy(_tables(), self.directory)
        port = self.http_url.rsplit(":", 1)[1] if self.http_url else "0"
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", port, *self.options],
                cwd=ROOT, env=self.env, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            wait_for(self._ready, START_S)
        except BaseException:
            self._process.kill()  # nobody will stop what did not start
            raise
        return self

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
        if given := re.search(r"password (\S+)", self.log()):
            self.password = given[1]
        return True

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        assert self._process
        self._process.terminate()
        return self._process.wait(10)

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )

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
