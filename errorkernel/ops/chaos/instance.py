"""A scratch instance: broker, kernel, web and nodes as separate processes, with their own ports and data.

Overlapping faults can hold each of them down, pause it and release it; a process that has ended and is not held is
started again. ``close`` ends all of them; on Linux they also end with this process, however it ends. For use from the
main thread only: the processes die with the thread that started them.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errorkernel.broker.config import NodeUser
from errorkernel.broker.credentials import make_nkey, public_nkey
from errorkernel.broker.embedded import EmbeddedServer, die_with_parent, find_binary
from errorkernel.broker.errors import BrokerStartError
from errorkernel.ops.chaos import sabotage
from errorkernel.ops.chaos.proxy import Proxy, Switchboard
from errorkernel.ops.chaos.work import Place

STREAM_MAX_BYTES = 256 * 1024**2
STORE_MAX_BYTES = 4 * STREAM_MAX_BYTES
STOP_S = 8.0
TWIN = "twin"
"""A second kernel, which runs only during its fault."""
ROOT = Path(__file__).resolve().parents[3]


class ChaosError(Exception):
    """The run could not take place; the message is one sentence."""


class Part:
    """One program. ``holds``: number of present faults that keep it down."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.holds = 0
        self.unordered_ends: list[int] = []
        """Exit statuses of unexpected ends."""
        self.log = log
        self._argv = [sys.executable, *argv]
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running else None

    def tend(self) -> None:
        """Start it when it is down and not held."""
        if self._process and not self.running and not self._killed:
            self.unordered_ends.append(self._process.returncode)
        if self.holds or self.running:
            return
        self._killed = False
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._argv,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_prepare_child,
            )

    def kill(self) -> None:
        if self._process and self.running:
            self._killed = True
            self._process.kill()
            self._process.wait()

    def signal(self, number: int) -> None:
        if self._process and self.running:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it with SIGTERM, after STOP_S with SIGKILL."""
        self._killed = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self._process:
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Broker:
    """The broker, whose data can be wiped."""

    def __init__(self, directory: Path, kernel_key: str, nodes: Sequence[NodeUser]) -> None:
        self.holds = 0
        self._directory = directory
        self._nodes = nodes
        self._server = EmbeddedServer(
            directory,
            kernel_key=kernel_key,
            host="127.0.0.1",
            port=0,
            binary=find_binary(""),
            max_store_bytes=STORE_MAX_BYTES,
        )
        self._running = False

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._running else None

    def tend(self) -> None:
        if self._running or self.holds:
            return
        with contextlib.suppress(BrokerStartError):  # tried again at the next look
            self._server.start(self._nodes)
            self._running = True

    def stop(self) -> None:
        self.signal(signal.SIGCONT)
        self._server.stop()
        self._running = False

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.stop()

    def wipe(self) -> None:
        """Stop the broker and remove all data of JetStream."""
        self.stop()
        self.remove_files()

    def remove_files(self) -> None:
        """Remove the data without stopping the broker."""
        shutil.rmtree(self._directory / "nats" / "jetstream", ignore_errors=True)

    def signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Instance:
    """``start``, then faults and repeated ``tend``, then ``close``."""

    def __init__(self, directory: Path, nodes: Sequence[str], operators: Sequence[str], *, seed: int, off: str) -> None:
        self.directory = directory
        self.nodes = list(nodes)
        self._operators = list(operators)
        self._seed = seed
        self._off = off
        self.tokens: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self.links: dict[str, Proxy] = {}
        self.places = {name: Place(directory / "nodes" / name) for name in nodes}
        self.http_url = f"http://127.0.0.1:{_free_port()}"
        self._switchboard = Switchboard()
        self._seed_file = directory / "kernel.nk"
        self.broker: Broker

    @property
    def database(self) -> Path:
        return self.directory / "data" / "steward.sqlite3"

    def start(self) -> None:
        """Prepare and start all parts. Raises ChaosError, BrokerStartError."""
        (self.directory / "data").mkdir(parents=True, mode=0o700)
        seed, _ = make_nkey()
        self._seed_file.write_text(seed)
        given = self._prepare()
        self.tokens = given["tokens"]
        users = [NodeUser(name, public_nkey(credentials["nkey_seed"])) for name, credentials in given["nodes"].items()]
        self.broker = Broker(self.directory / "broker", public_nkey(seed), users)
        self.broker.tend()
        for name in ("kernel", TWIN, "web", *self.nodes):
            self.links[name] = Proxy(name, lambda: self.broker.port, self._switchboard.loop, self._seed)
            self.links[name].start()
        port = self.http_url.rsplit(":", 1)[1]
        self._add_role("kernel", "kernel")
        self._add_role(TWIN, "kernel")
        self.parts[TWIN].holds = 1
        self._add_role("web", "web", "--port", port)
        for name, credentials in given["nodes"].items():
            self._add_node(name, credentials)
        self.tend()

    def tend(self) -> None:
        """Start all parts that are down and not held."""
        self.broker.tend()
        for part in self.parts.values():
            part.tend()

    def close(self) -> None:
        """End all parts."""
        for name in reversed(list(self.parts)):
            self.parts[name].stop()
        if hasattr(self, "broker"):
            self.broker.stop()
        self._switchboard.close()

    def _prepare(self) -> dict[str, Any]:
        argv = ["-m", "errorkernel.ops.chaos.prepare", ",".join(self.nodes), ",".join(self._operators)]
        done = subprocess.run([sys.executable, *argv], env=self._env(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChaosError(f"The scratch database could not be made: {done.stderr.strip().splitlines()[-1]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _add_role(self, name: str, *argv: str) -> None:
        env = self._env() | {
            "STEWARD_NATS_URL": f"nats://127.0.0.1:{self.links[name].port}",
            "STEWARD_NATS_SEED_FILE": str(self._seed_file),
            "STEWARD_CHANNEL_LAYER": "nats",
            "STEWARD_STREAM_MAX_BYTES": str(STREAM_MAX_BYTES),
        }
        log = self.directory / f"{name}.log"
        self.parts[name] = Part(name, ["-m", "errorkernel.ops.chaos.role", *argv], env, log)

    def _add_node(self, name: str, credentials: Mapping[str, str]) -> None:
        place = self.places[name]
        place.directory.mkdir(parents=True)
        url = f"nats://127.0.0.1:{self.links[name].port}"
        place.credentials.write_text(json.dumps({**credentials, "nats_url": url, "http_url": self.http_url}))
        argv = ["-m", "errorkernel.ops.chaos.node_program", str(place.directory)]
        self.parts[name] = Part(name, argv, self._env(), self.directory / f"{name}.log")

    def _env(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("STEWARD_")}
        paths = [str(ROOT), *filter(None, [ours.get("PYTHONPATH")])]
        return {
            **ours,
            "STEWARD_DATA_DIR": str(self.directory / "data"),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            sabotage.VARIABLE: self._off,
        }


def _prepare_child() -> None:
    die_with_parent()
    # The signal of a clock jump may arrive before the program handles it, and must not end it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def monotonic() -> float:
    """The clock of the ledgers, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
