"""Starts the product's programs from a process that has imported the libraries already.

A start of Python with Django and the other libraries takes most of a second of a processor, and the suite starts some
hundred programs. ``manage.py`` itself runs as always, in a fork that has imported nothing of the product: its
environment decides its settings, and its exit is an interpreter's exit. What a fork cannot show is tried on products
that are started as people start them (``Product(…, new=True)``).

The programs end when the process that started the server ends, however it ends.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

LIBRARIES = (
    "asyncio", "email.message", "http.cookies", "logging.config", "multiprocessing", "sqlite3", "ssl", "urllib.request",
    "asgiref.sync", "cbor2", "channels.consumer", "channels.layers", "django", "django.core.handlers.asgi",
    "django.core.management", "django.db.backends.sqlite3.base", "django.db.migrations.executor", "django.db.models",
    "django.forms", "django.template", "django.template.defaulttags", "django.test.signals", "django.urls",
    "django.utils.translation.trans_real", "django.views.generic", "msgspec", "nats", "nats.js", "nkeys",
    "nacl.signing", "prometheus_client", "twisted.python.failure", "twisted.logger",
    "autobahn.websocket.protocol", "zstandard",
)  # fmt: skip
"""None of them reads the environment or Django's settings, opens a file, or installs Twisted's reactor."""
CONNECT_S = 60.0


class Program:
    """A started program, with what ``subprocess.Popen`` has of the same names."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._messages = connection.makefile("r")
        self.returncode: int | None = None
        self.pid = int(json.loads(self._messages.readline())["pid"])

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout_s)[0]:
                raise subprocess.TimeoutExpired("manage.py", timeout_s or 0.0)
            self.returncode = int(json.loads(self._messages.readline())["returncode"])
            self._messages.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(argv: Sequence[str], env: Mapping[str, str], out: IO[bytes], err: IO[bytes]) -> Program:
    """Run ``manage.py`` with these arguments in the checkout."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_server())
    request = json.dumps({"argv": list(argv), "env": dict(env)}).encode()
    with open(os.devnull, "rb") as nothing:
        files = array.array("i", [nothing.fileno(), out.fileno(), err.fileno()])
        connection.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    connection.sendall(request)
    return Program(connection)


def run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` to its end. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        program = start(argv, env, out, err)
        try:
            returncode = program.wait(timeout_s)
        except subprocess.TimeoutExpired:
            program.kill()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(["manage.py", *argv], returncode, *texts)


@cache
def _server() -> str:
    """The address of this process's server; the first call starts it."""
    directory = tempfile.TemporaryDirectory(prefix="steward-fork-")
    address = str(Path(directory.name) / "socket")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STEWARD_", "DJANGO_"))}
    # The server reads this pipe: its end tells that the run has ended.
    server = subprocess.Popen([sys.executable, "-m", __name__, address], cwd=ROOT, env=env, stdin=subprocess.PIPE)
    deadline = time.monotonic() + CONNECT_S
    while not Path(address).exists():
        assert server.poll() is None, "the server that starts programs has ended"
        assert time.monotonic() < deadline, f"no server that starts programs within {CONNECT_S} s"
        time.sleep(0.02)

    def end() -> None:
        assert server.stdin
        server.stdin.close()
        server.wait(PATIENCE_S)
        directory.cleanup()

    atexit.register(end)
    return address


def serve(address: str) -> Mapping[str, object] | None:
    """Fork for each connection; returns in the fork that is to be the program, with its request."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _hash_quickly()
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address + ".new")
        listener.listen(64)
        os.rename(address + ".new", address)
        while sys.stdin not in (ready := select.select([sys.stdin, listener], [], [])[0]):
            assert listener in ready
            connection, _ = listener.accept()
            _reap()
            with connection:
                if not os.fork():
                    listener.close()
                    if request := _guard(connection):
                        return request
                    os._exit(0)
    return None


def _hash_quickly() -> None:
    """A password's hash costs half a second of a processor, by intention; here it protects nothing."""
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    PBKDF2PasswordHasher.iterations = 100


def _reap() -> None:
    """Those that have ended; their processor time is counted as ours."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _guard(connection: socket.socket) -> Mapping[str, object] | None:
    """Fork the program and wait with whoever asked for it; kill it when they are gone. Returns in the program."""
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    length = int.from_bytes(head, "big")
    request: Mapping[str, object] = json.loads(connection.makefile("rb").read(length))
    pid = os.fork()
    if not pid:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return request
    connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    ended = os.pidfd_open(pid)
    if connection in select.select([connection, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    returncode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps({"returncode": returncode}).encode() + b"\n")
    return None


def become(request: Mapping[str, object]) -> None:
    """Run ``manage.py`` as if this process had been started for it."""
    import runpy

    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[arg-type]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    sys.argv = ["manage.py", *request["argv"]]  # type: ignore[misc]
    sys.path[0] = str(ROOT)
    runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")


if __name__ == "__main__" and (asked := serve(sys.argv[1])):
    become(asked)
