"""``steward up``, ``web`` and ``kernel``: the roles, put together from their parts, started and stopped in order.

Daphne has no ASGI lifespan, so the kernel's tasks are started from its ``ready_callable`` and stopped from a trigger
before the reactor's shutdown. Whatever keeps the product from starting is told in one sentence (``StartError``).
"""

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, Error, connection, transaction

from errorkernel.broker import embedded
from errorkernel.broker.access import kernel_seed, legacy_account
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer
from errorkernel.broker.errors import BrokerAway, BrokerStartError
from errorkernel.conf import Conf, ConfError, describe, load
from errorkernel.store import fleet, people, settings
from errorkernel.threads import DatabaseThreads
from errorkernel.web import api, uplink

log = logging.getLogger("errorkernel.runner")

KERNEL_READY_S = 20.0
DEMO_LOOK_S = 1.0
DATABASE_PAUSE_S = 1.0


SWITCH_INTERVAL_S = 0.001
"""So long a thread that computes keeps another waiting. With Python's 5 ms the way from a click to its process takes a
fifth longer at the median (``tests.bench_click``); the intake is as fast either way."""


class StartError(Exception):
    """The product cannot start; the message is one sentence for whoever started it."""


@dataclass(slots=True)
class Options:
    """What the command line says."""

    host: str = "127.0.0.1"
    port: int = 8000
    demo: bool = False


@dataclass(slots=True)
class _State:
    """How a run ends."""

    failed: BaseException | None = None


def hold_data_dir(conf: Conf) -> Any:
    """Take the data dir for this process; the handle that is returned keeps it. Raises StartError."""
    try:
        conf.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = conf.data_file("lock").open("a+")
    except OSError as exc:
        raise StartError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StartError(f"Another `steward up` already runs on {conf.data_dir}.") from None
    return lock


def prepare_database() -> None:
    """Bring the tables up to date. Raises StartError for a database that cannot be used."""
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM sqlite_master")
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseError, sqlite3.DatabaseError) as exc:
        name = connection.settings_dict["NAME"]
        raise StartError(f"The database {name} cannot be used: {str(exc).splitlines()[0]}.") from exc


def first_administrator() -> str | None:
    """Make the ``admin`` account where there is no account at all; returns its password, which is not kept."""
    users = get_user_model().objects
    if users.exists():
        return None
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        made = users.create_superuser("admin", password=password)
        now = datetime.now(UTC)
        people.note("user", {}, people.person(made.pk), actor="system", origin="the first start", now=now)
    return password


def hold_port(host: str, port: int) -> socket.socket:
    """A port that can be listened on, taken until the web server does; 0 picks a free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except (OSError, OverflowError) as exc:
        held.close()
        why = getattr(exc, "strerror", None) or exc
        raise StartError(f"{host}:{port} cannot be listened on ({why}); choose another with --port.") from exc
    return held


def make_broker(conf: Conf) -> EmbeddedServer:
    """The embedded broker of the data dir, not yet started. Raises StartError."""
    try:
        return EmbeddedServer(
            conf.data_dir,
            kernel_key=public_nkey(kernel_seed(conf)),
            host=conf.nats_host,
            port=conf.nats_port,
            binary=embedded.find_binary(conf.nats_server),
            max_store_bytes=conf.stream_max_bytes * 2 + conf.legacy_stream_bytes,
            legacy=legacy_account(conf),
        )
    except (BrokerStartError, ConfError, ValueError) as exc:
        raise StartError(str(exc)) from exc


def up(conf: Conf, options: Options) -> int:
    """The whole product in this process, and a broker as its child; returns the exit status. Raises StartError."""
    lock = hold_data_dir(conf)
    held = hold_port(options.host, options.port)
    endpoints = conf.data_file("endpoints.json")
    endpoints.unlink(missing_ok=True)
    broker = make_broker(conf) if conf.embedded_broker else None
    prepare_database()
    if password := first_administrator():
        # Said at once: whatever fails later, an account whose password nobody has seen is of no use.
        say(f"Log in as admin with the password {password} (shown only now)")
    demo_nodes = _demo_credentials() if options.demo else []
    try:
        if broker:
            broker.start(fleet.broker_users())
        http_url = f"http://{_shown_host(options.host)}:{held.getsockname()[1]}"
        nats_url = broker.url if broker else conf.nats_url

        def ready() -> None:
            _write_endpoints(endpoints, http_url, nats_url)
            say(f"Steward error kernel is ready: {http_url}/")

        services = Services(conf, kernel=True, broker=broker, ready=ready, demo=demo_nodes, nats_url=nats_url)
        return _serve(services, options.host, held)
    except BrokerStartError as exc:
        raise StartError(str(exc)) from exc
    finally:
        endpoints.unlink(missing_ok=True)
        if broker:
            broker.stop()
        held.close()
        lock.close()


def web(conf: Conf, options: Options) -> int:
    """Only pages, API and websockets; returns the exit status. Raises StartError."""
    held = hold_port(options.host, options.port)
    port = held.getsockname()[1]

    def ready() -> None:
        say(f"Listening on http://{_shown_host(options.host)}:{port}")

    services = Services(conf, kernel=False, broker=None, ready=ready, demo=[], nats_url=conf.nats_url)
    return _serve(services, options.host, held)


def say(sentence: str) -> None:
    """Tell whoever started the program."""
    print(sentence, flush=True)  # noqa: T201


def _serve(services: "Services", host: str, held: socket.socket) -> int:
    """Web server, on the held port, and services until a signal or a failure; returns the exit status."""
    # Daphne installs its reactor when it is imported: only processes that serve may do that.
    from daphne.endpoints import build_endpoint_description_strings
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from errorkernel.web.server import Server
    from steward_site.asgi import application

    state = _State()

    def fail(exc: BaseException) -> None:
        if state.failed is None:
            state.failed = exc
            log.critical("A part of the program failed; stopping", exc_info=exc)
            server.stop()

    def start() -> None:
        asyncio.get_event_loop().create_task(services.start(application, fail))

    def stop() -> Any:
        return Deferred.fromFuture(asyncio.ensure_future(services.stop()))

    server = Server(
        application,
        endpoints=build_endpoint_description_strings(host=host, port=held.getsockname()[1]),
        ready_callable=start,
        application_close_timeout=2,
        verbosity=0,
        server_name="steward",
    )
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    held.close()
    server.run()
    return 1 if state.failed else 0


class Services:
    """What runs beside the web server in its event loop."""

    def __init__(
        self,
        conf: Conf,
        *,
        broker: EmbeddedServer | None,
        kernel: bool,
        ready: Callable[[], None],
        demo: list[dict[str, str]],
        nats_url: str,
    ) -> None:
        self._conf = conf
        self._broker = broker
        self._kernel = kernel
        self._ready = ready
        self._demo = demo
        self._nats_url = nats_url
        self._tasks: list[asyncio.Task[Any]] = []
        self._fleet: Any = None

    async def start(self, application: Any, fail: Callable[[BaseException], None]) -> None:
        """Start everything; ``fail`` is told when a part ends by itself."""
        try:
            _calm_garbage_collection()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self._watch(_note_settings("up" if self._kernel else "web", self._conf), fail, may_end=True)
            if self._broker:
                self._watch(self._broker.keep(), fail)
            if self._kernel:
                worker = self._make_worker(application)
                self._watch(worker.arun(), fail)
                await asyncio.wait_for(worker.ready.wait(), KERNEL_READY_S)
            if self._demo:
                self._start_demo()
            # Connected now, so that the first report over HTTP and the first readiness check find it so.
            with contextlib.suppress(BrokerAway):
                await uplink.connected_uplink()
            self._ready()
        except TimeoutError:
            if self._kernel and self._conf.nats_url:
                # A broker that we do not start may come later; the kernel goes on trying.
                log.warning("The broker at %s does not answer yet", self._conf.nats_url)
                self._ready()
            else:
                fail(StartError("The broker did not become ready."))
        except Exception as exc:
            fail(exc)

    async def stop(self) -> None:
        """Stop in the order that loses least: the fleet, the kernel's tasks, the live hub, the connection."""
        from errorkernel.hub import hub

        if self._fleet:
            await asyncio.get_running_loop().run_in_executor(None, self._fleet.stop)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await hub().close()
        await api.close()

    def _make_worker(self, application: Any) -> Any:
        from channels.layers import get_channel_layer

        from errorkernel.kernel.worker import KernelWorker

        return KernelWorker(
            application,
            get_channel_layer(),
            self._conf,
            apply_users=self._broker.reload if self._broker else None,
            start_broker_again=self._broker.start_again if self._broker else None,
        )

    def _watch(self, part: Any, fail: Callable[[BaseException], None], *, may_end: bool = False) -> None:
        def ended(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and (task.exception() or not may_end):
                fail(task.exception() or RuntimeError("A part of the program ended by itself."))

        task = asyncio.get_running_loop().create_task(part)
        task.add_done_callback(ended)
        self._tasks.append(task)

    def _start_demo(self) -> None:
        from errorkernel.demo.fleet import DemoFleet

        credentials = [{**one, "nats_url": self._nats_url} for one in self._demo]
        self._fleet = DemoFleet(self._conf.data_file("demo"), credentials)
        self._fleet.start()
        self._tasks.append(asyncio.get_running_loop().create_task(self._end_demo_with_its_nodes()))

    async def _end_demo_with_its_nodes(self) -> None:
        """Removed or disabled, they would only knock at the broker from now on."""
        while True:
            await asyncio.sleep(DEMO_LOOK_S)
            with contextlib.suppress(DatabaseError):  # away for a moment: the next look tells
                if not await sync_to_async(fleet.demo_nodes)():
                    break
        demo, self._fleet = self._fleet, None
        await asyncio.get_running_loop().run_in_executor(None, demo.stop)


async def _note_settings(role: str, conf: Conf) -> None:
    """Put on record what the role has started with, as soon as the database can be used."""
    now, origin = datetime.now(UTC), f"steward {role} on {socket.gethostname()}"
    given, usual = ({name: value for name, value, _ in describe(one)} for one in (conf, load({})))
    threads = DatabaseThreads("settings")
    try:
        while True:
            with contextlib.suppress(Error):
                await threads.run(settings.note, role, given, usual, now=now, origin=origin)
                return
            await asyncio.sleep(DATABASE_PAUSE_S)
    finally:
        threads.close()


def _calm_garbage_collection() -> None:
    """What exists now stays for good: look at it no more, and at the rest less often than a batch makes objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _demo_credentials() -> list[dict[str, str]]:
    """The demo nodes, each with new credentials: the old ones were never kept."""
    from errorkernel.demo.fleet import NODES

    now = datetime.now(UTC)
    made = []
    for name in NODES:
        try:
            one = fleet.add_node(name, actor="system", origin="steward up --demo", demo=True, now=now)
        except fleet.FleetError:
            one = fleet.renew_node(name, actor="system", origin="steward up --demo", now=now)
        made.append({"node": one.node, "nkey_seed": one.nkey_seed, "token": one.token})
    return made


def _write_endpoints(path: Path, http_url: str, nats_url: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"http_url": http_url, "nats_url": nats_url, "pid": os.getpid()}) + "\n")
    new.rename(path)


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def kernel(conf: Conf) -> int:
    """Only the kernel worker; returns the exit status."""
    from channels.layers import get_channel_layer

    from errorkernel import metrics
    from errorkernel.kernel.worker import KernelWorker
    from steward_site.asgi import application

    if conf.metrics_port:
        metrics.serve(conf.metrics_port)

    async def run() -> int:
        worker = asyncio.ensure_future(KernelWorker(application, get_channel_layer(), conf).arun())
        noting = asyncio.ensure_future(_note_settings("kernel", conf))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, worker.cancel)
        try:
            await worker
        except asyncio.CancelledError:
            return 0
        except Exception:
            log.critical("The kernel worker failed", exc_info=True)
            return 1
        finally:
            noting.cancel()
        return 0

    return asyncio.run(run())
