"""``steward up``, ``web`` and ``kernel``: the roles, put together from their parts, started and stopped in order.

Daphne has no ASGI lifespan, so the kernel's tasks are started from its ``ready_callable`` and stopped from a trigger
before the reactor's shutdown. An error at the start is one sentence (``StartError``).
"""

import asyncio
import json
import logging
import os
import signal
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from errorkernel.broker.errors import BrokerStartError
from errorkernel.ops.runner.prepare import (
    StartError,
    begin_first_account,
    check_base_path,
    check_database,
    check_secret_key,
    hold_data_dir,
    hold_port,
    make_broker,
    prepare_assets,
    prepare_database,
    protect_data_dir,
    store_first_account,
)
from errorkernel.ops.runner.services import Services, note_settings
from errorkernel.ops.runner.terminal import report_step, say
from errorkernel.platform.conf import Conf, without_login
from errorkernel.store import nodes
from errorkernel.store.platform.actor import Actor
from errorkernel.web.asgi.connections import FILES_FEW, Connections, connections_allowed, raise_file_limit
from errorkernel.web.asgi.proxies import is_within

log = logging.getLogger("errorkernel.runner")

FIRST_STEPS = (
    "The demo fleet works; in half a minute 20 of its processes are blocked by two causes. Log in, then:",
    "  1. j and k choose a cause, Enter shows its processes.",
    "  2. c continues one process first; the others follow if it succeeds.",
    "  3. Where the problem comes back: x, a reason, Enter kills and restarts.",
)


@dataclass(slots=True)
class Options:
    """Options of the command line."""

    host: str = "127.0.0.1"
    port: int = 8000
    demo: bool = False


@dataclass(slots=True)
class _State:
    """How a run ends."""

    failed: BaseException | None = None


def up(conf: Conf, options: Options) -> int:
    """The whole product in this process, and a broker as its child; returns the exit status. Raises StartError."""
    check_base_path(conf)
    lock = hold_data_dir(conf)
    held = hold_port(options.host, options.port)
    endpoints = conf.data_file("endpoints.json")
    endpoints.unlink(missing_ok=True)
    broker = make_broker(conf) if conf.embedded_broker else None
    first_account = begin_first_account(conf.admin_password_file)
    report_step("Database", prepare_database())
    check_secret_key()
    demo_nodes = _demo_credentials() if options.demo else []
    try:
        if broker:
            broker.begin_start(nodes.broker_users())
        # Meanwhile the broker starts and the password is hashed.
        prepare_assets()
        _load_server()
        if password := store_first_account(first_account):
            # Printed at once: whatever fails later, an account whose password nobody has seen is of no use.
            say("Account: admin (the password is shown only now)")
            say(f"Password: {password}")
        if broker:
            broker.finish_start()
            report_step("Broker", broker.url)
        http_url = _address(conf, options.host, held)
        nats_url = broker.url if broker else without_login(conf.nats_url)

        def ready() -> None:
            _write_endpoints(endpoints, http_url, nats_url)
            report_step("Web", f"{http_url}/")
            for line in FIRST_STEPS if options.demo else ():
                say(line)
            say("Press Ctrl-C to stop.")

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
    check_base_path(conf)
    protect_data_dir(conf)
    check_database()
    check_secret_key()
    held = hold_port(options.host, options.port)
    prepare_assets()
    http_url = _address(conf, options.host, held)

    def ready() -> None:
        report_step("Web", f"{http_url}/")
        say("Press Ctrl-C to stop.")

    services = Services(conf, kernel=False, broker=None, ready=ready, demo=[], nats_url=conf.nats_url)
    return _serve(services, options.host, held)


def kernel(conf: Conf) -> int:
    """Only the kernel worker; returns the exit status. Raises StartError."""
    protect_data_dir(conf)
    check_database()
    from channels.layers import get_channel_layer

    from errorkernel.kernel.worker import KernelWorker
    from errorkernel.platform import metrics
    from errorkernel.senders.kernel import KERNEL_EXTENSIONS
    from steward_site.asgi import application

    if conf.metrics_port:
        metrics.serve(conf.metrics_port)

    async def run() -> int:
        worker = asyncio.ensure_future(
            KernelWorker(application, get_channel_layer(), conf, extensions=KERNEL_EXTENSIONS).arun()
        )
        noting = asyncio.ensure_future(note_settings("kernel", conf))
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


def _serve(services: Services, host: str, held: socket.socket) -> int:
    """Web server, on the held port, and services until a signal or a failure; returns the exit status."""
    # Only processes that serve may import these.
    import daphne.server  # noqa: F401 - first: it installs the reactor, which would otherwise choose itself
    from daphne.endpoints import build_endpoint_description_strings
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from errorkernel.web.asgi.server import Server
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
        admissions=_admissions(services.conf),
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


def _admissions(conf: Conf) -> Connections:
    """The bounds of this process's connections; raises its limit of open files first."""
    files = raise_file_limit()
    total = connections_allowed(files)
    if files < FILES_FEW:
        log.warning("Only %d files may be open (ulimit -n), so there are at most %d connections.", files, total)
    exempt = [*conf.trusted_networks, ip_network("127.0.0.0/8"), ip_network("::1")]
    return Connections(
        per_address=conf.connections_per_address, total=total, is_exempt=lambda address: is_within(address, exempt)
    )


def _load_server() -> None:
    """Import what ``_serve`` and the kernel need, which takes 0.5 s."""
    import daphne.server  # noqa: F401 - first: it installs the reactor, which would otherwise choose itself

    import errorkernel.kernel.worker
    import errorkernel.web.asgi.server  # noqa: F401
    import steward_site.asgi  # noqa: F401


def _demo_credentials() -> list[dict[str, str]]:
    """The demo nodes, each with new credentials: the old ones were never kept."""
    from errorkernel.ops.demo.fleet import NODES

    now = datetime.now(UTC)
    made = []
    for name in NODES:
        try:
            secrets = nodes.add_node(name, actor=Actor.system(now, origin="steward up --demo"), demo=True)
        except nodes.FleetError:
            secrets = nodes.renew_node(name, actor=Actor.system(now, origin="steward up --demo"))
        made.append({"node": secrets.node, "nkey_seed": secrets.nkey_seed, "token": secrets.token})
    return made


def _write_endpoints(path: Path, http_url: str, nats_url: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"http_url": http_url, "nats_url": nats_url, "pid": os.getpid()}) + "\n")
    new.rename(path)


def _address(conf: Conf, host: str, held: socket.socket) -> str:
    """Where the web server can be reached on this machine, without a slash at the end."""
    return f"http://{_shown_host(host)}:{held.getsockname()[1]}{conf.base_path}"


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
