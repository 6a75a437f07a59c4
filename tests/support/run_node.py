"""``steward run`` on a node of a running product, for tests."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

STEWARD = [sys.executable, str(ROOT / "manage.py"), "run"]
WAIT_S = PATIENCE_S


def why_not(*command: str) -> str:
    """Why this cannot be done here; nothing where it can. In CI, and as root, it must be possible."""
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        return ""
    if not shutil.which("unshare"):
        return "no unshare (Debian: apt-get install util-linux)"
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


class Node:
    """One node of a running product, whose programs share a journal."""

    def __init__(self, product: Product, directory: Path) -> None:
        self.product = product
        self.token = product.token()
        self.credentials = directory / "ship1.json"
        self.credentials.write_text(json.dumps(product.add_node("ship1")))
        self.journal = directory / "journal"

    def env(self, **more: str) -> dict[str, str]:
        own = {"STEWARD_NODE_CREDENTIALS": str(self.credentials), "STEWARD_NODE_JOURNAL": str(self.journal)}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STEWARD_")}
        return {**clean, **own, "PYTHONPATH": str(ROOT), **more}

    def start(self, process: str, *words: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        argv = [*STEWARD, "--process", process, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(argv, env=env or self.env(), **{**pipes, **options})

    def run(self, process: str, *words: str, input: bytes = b"", env: dict[str, str] | None = None):
        argv = [*STEWARD, "--process", process, *words]
        return subprocess.run(argv, env=env or self.env(), input=input, capture_output=True, timeout=PATIENCE_S)

    def items(self, what: str, process: str) -> list[dict]:
        _, found = self.product.call(f"/api/v1/{what}?limit=1000&order=desc", self.token)
        return [one for one in reversed(found["items"]) if one["process"] == process]

    def events(self, process: str) -> list[dict]:
        return self.items("events", process)

    def arrived(self, process: str, count: int = 1) -> list[dict]:
        """Its events, as soon as there are so many. On a busy machine a moment may be too short to send one: then
        the next program of the node does."""

        def there() -> list[dict] | None:
            if len(self.events(process)) < count:
                self.run("postman", "--", "true")
            found = self.events(process)
            return found if len(found) >= count else None

        return wait_for(there, WAIT_S)

    def event(self, process: str) -> dict:
        """The only one of this process, with what the list leaves out."""
        [found] = self.arrived(process)
        with contextlib.closing(sqlite3.connect(self.product.directory / "steward.sqlite3")) as db:
            query = "SELECT stack, tags FROM errorkernel_errorevent WHERE seq = ?"
            stack, tags = db.execute(query, (found["seq"],)).fetchone()
        return {**found, "stack": stack, "tags": json.loads(tags)}

    def question(self, process: str, number: int = 1) -> dict:
        """The ``number``-th one."""

        def asked() -> dict | None:
            found = sorted(self.items("incidents", process), key=lambda one: one["raised_at"])
            return found[number - 1] if len(found) >= number else None

        return wait_for(asked, WAIT_S)

    def answer(self, question: dict, action: str) -> None:
        body = {"action": action, "reason": "test"}
        status, said = self.product.call(f"/api/v1/incidents/{question['id']}/decision", self.token, body)
        assert status == 200, said

    def becomes(self, process: str, state: str, number: int = 1) -> dict:
        def there() -> dict | None:
            found = self.question(process, number)
            return found if found["state"] == state else None

        return wait_for(there, WAIT_S)


def sh(script: str, *arguments: str) -> list[str]:
    return ["--", "sh", "-c", textwrap.dedent(script), "sh", *arguments]


def python(script: str, *arguments: str) -> list[str]:
    return ["--", sys.executable, "-c", textwrap.dedent(script), *arguments]


def lines_of(path: Path, count: int) -> list[str]:
    """The lines in a file, as soon as there are so many."""

    def there() -> list[str] | None:
        found = path.read_text().splitlines() if path.exists() else []
        return found if len(found) >= count else None

    return wait_for(there, WAIT_S)


def no_longer(process: subprocess.Popen) -> int:
    """Its status; its pipes are closed."""
    process.communicate(timeout=WAIT_S)
    return process.returncode
