"""Starts and stops the parts beside the web server in order: the kernel worker, the broker's keeper, the demo."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, Error

from errorkernel.broker.embedded import EmbeddedServer
from errorkernel.broker.errors import BrokerAway
from errorkernel.ops.runner.prepare import StartError
from errorkernel.platform.conf import Conf, describe, hide_login, usual
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes, web_heartbeats
from errorkernel.store.platform import settings_record
from errorkernel.web.auth import denied_requests
from errorkernel.web.node_api import broker_connection, views

log = logging.getLogger("errorkernel.runner")

KERNEL_READY_S = 20.0
DEMO_LOOK_S = 1.0
DATABASE_PAUSE_S = 1.0
SWITCH_INTERVAL_S = 0.001
"""A computing thread delays another by at most this. With Python's 5 ms the way from a click to its process takes a
fifth longer at the median (``tests.bench.click``); the intake is as fast either way."""


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
        self.conf = conf
        self._broker = broker
        self._kernel = kernel
        self._ready = ready
        self._demo = demo
        self._nats_url = nats_url
        self._tasks: list[asyncio.Task[Any]] = []
        self._fleet: Any = None

    async def start(self, application: Any, fail: Callable[[BaseException], None]) -> None:
        """Start everything; ``fail`` is called when a part ends by itself."""
        try:
            calm_garbage_collection()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self._watch(note_settings("up" if self._kernel else "web", self.conf), fail, may_end=True)
            self._watch(denied_requests.store_forever(), fail)
            self._watch(_send_web_heartbeats(), fail)
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
                await broker_connection.connected_uplink()
            self._ready()
        except TimeoutError:
            if self._kernel and self.conf.nats_url:
                # A broker that we do not start may come later; the kernel goes on trying.
                log.warning("The broker at %s does not answer yet", hide_login(self.conf.nats_url))
                self._ready()
            else:
                fail(StartError("The broker did not become ready."))
        except Exception as exc:
            fail(exc)

    async def stop(self) -> None:
        """Stop in the order that loses least: the fleet, the kernel's tasks, the live hub, the connection."""
        from errorkernel.live.hub import hub

        if self._fleet:
            await asyncio.get_running_loop().run_in_executor(None, self._fleet.stop)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await hub().close()
        await views.close()

    def _make_worker(self, application: Any) -> Any:
        from channels.layers import get_channel_layer

        from errorkernel.kernel.worker import KernelWorker
        from errorkernel.senders.kernel import KERNEL_EXTENSIONS

        return KernelWorker(
            application,
            get_channel_layer(),
            self.conf,
            extensions=KERNEL_EXTENSIONS,
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
        from errorkernel.ops.demo.fleet import DemoFleet

        fleet = [{**credentials, "nats_url": self._nats_url} for credentials in self._demo]
        self._fleet = DemoFleet(self.conf.data_file("demo"), fleet)
        self._fleet.start()
        self._tasks.append(asyncio.get_running_loop().create_task(self._end_demo_with_its_nodes()))

    async def _end_demo_with_its_nodes(self) -> None:
        """Removed or disabled, they would only be refused by the broker from now on."""
        while True:
            await asyncio.sleep(DEMO_LOOK_S)
            with contextlib.suppress(DatabaseError):  # unavailable for a moment: tried again
                if not await sync_to_async(nodes.demo_nodes)():
                    break
        demo, self._fleet = self._fleet, None
        await asyncio.get_running_loop().run_in_executor(None, demo.stop)


async def note_settings(role: str, conf: Conf) -> None:
    """Record the settings of the role's start, as soon as the database is available."""
    now, origin = datetime.now(UTC), f"steward {role} on {socket.gethostname()}"
    given, unset = ({name: value for name, value, _ in describe(settings)} for settings in (conf, usual()))
    threads = DatabaseThreads("settings")
    try:
        while True:
            with contextlib.suppress(Error):
                await threads.run(settings_record.note, role, given, unset, now=now, origin=origin)
                return
            await asyncio.sleep(DATABASE_PAUSE_S)
    finally:
        threads.close()


async def _send_web_heartbeats() -> None:
    """Store that this web process serves, and with which key, until it ends."""
    worker, threads = f"{socket.gethostname()}:{os.getpid()}", DatabaseThreads("web heartbeat")
    try:
        while True:
            with contextlib.suppress(Error):
                await threads.run(web_heartbeats.record, worker, now=datetime.now(UTC))
            await asyncio.sleep(web_heartbeats.INTERVAL_S)
    finally:
        with contextlib.suppress(Error):
            await threads.run(web_heartbeats.forget, worker)
        threads.close()


def calm_garbage_collection() -> None:
    """What exists now stays for good: look at it no more, and at the rest less often than a batch makes objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
