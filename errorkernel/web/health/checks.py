"""Liveness, readiness and metrics of this installation: for orchestrators, load balancers and scrapers.

All three answer without login, as such probes and exporters are expected to: they tell numbers, node names and
yes or no, nothing of what was reported. Who must not see them is kept out by the proxy in front.

They stand in front of everything else (``ProbesFirst``), in the event loop and in threads of their own: no flood, no
login and no database keeps them from answering within a second.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from django.db import Error
from django.db.models import Count, Min
from django.utils import timezone

from errorkernel.domain import sender_names
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import KERNEL_LATE_S
from errorkernel.models import Incident, KernelHeartbeat, Node
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import nodes
from errorkernel.store.platform import deadline_hold
from errorkernel.web.node_api import broker_connection
from errorkernel.web.schemas.common import Readiness

log = logging.getLogger("errorkernel.health")

DATABASE_TIMEOUT_S = 0.8
"""Of the second within which a probe is answered."""

# Of its own: a probe must get its answer while everybody else waits for the database.
_threads = DatabaseThreads("health", 2)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class _Kernels:
    """``alive``: a recent heartbeat exists; ``broker_stores``: none of these reports that the broker cannot store."""

    alive: bool
    broker_stores: bool


async def live() -> Answer:
    """200 as long as the process answers at all; restarting it would help nothing that this does not show."""
    return Answer(200, b"ok", "text/plain")


async def ready() -> Answer:
    """200 when work can be done here, else 503 and why; either way which part can: database, broker, kernel."""
    kernels = await _ask_database()
    faults = {
        "database": "" if kernels else "The database does not answer.",
        "broker": _broker_fault(kernels),
        "kernel": "" if kernels and kernels.alive else "No kernel has written lately that it lives.",
    }
    checks = {part: not fault for part, fault in faults.items()}
    why = [fault for fault in faults.values() if fault]
    return Answer(503 if why else 200, msgspec.json.encode(Readiness(not why, checks, why)), "application/json")


async def prometheus() -> Answer:
    """Every metric of this process, in Prometheus' text format. Scrapers that come together share one reading."""
    global _rendering
    if _rendering is None or _rendering.done():
        _rendering = asyncio.create_task(_threads.run(metrics.render))
    body, content_type = await asyncio.shield(_rendering)
    return Answer(200, body, content_type)


_rendering: asyncio.Task[tuple[bytes, str]] | None = None


def read_facts() -> metrics.Facts:
    """What the metrics need from the database, in a few small queries."""
    now = timezone.now()
    waiting = Incident.objects.filter(state=State.OPEN.value).aggregate(count=Count("pk"), oldest=Min("opened_at"))
    return metrics.Facts(
        incidents_open=waiting["count"],
        oldest_open_s=max(0.0, (now - waiting["oldest"]).total_seconds()) if waiting["oldest"] else 0.0,
        deadlines_held=deadline_hold.held_since() is not None,
        contact_last=_contacts(),
        nodes=nodes.count_nodes(now),
    )


def _contacts() -> dict[str, float]:
    """Node → Unix time of its last contact. A disabled node has none: its silence is no alarm.

    By the names of old dashboards; a node that is moving over is heard under both, and the later counts."""
    latest: dict[str, float] = {}
    for node in Node.objects.filter(enabled=True).only("name", "heartbeat_at", "http_at", "last_event_at"):
        if (at := node.contact_at) is not None:
            name = sender_names.without_suffix(node.name)
            latest[name] = max(at.timestamp(), latest.get(name, 0.0))
    return latest


def _broker_fault(kernels: _Kernels | None) -> str:
    if not broker_connection.is_connected():
        return "The broker cannot be reached."
    if kernels and not kernels.broker_stores:
        return "The broker cannot store what it is given; the kernel's log and `steward doctor` say more."
    return ""


def _kernels() -> _Kernels:
    lately = KernelHeartbeat.objects.filter(at__gte=timezone.now() - timedelta(seconds=KERNEL_LATE_S))
    troubles = list(lately.values_list("broker_error", flat=True))
    return _Kernels(alive=bool(troubles), broker_stores=not any(troubles))


async def _ask_database() -> _Kernels | None:
    try:
        return await asyncio.wait_for(_threads.run(_kernels), DATABASE_TIMEOUT_S)
    except (Error, TimeoutError) as exc:
        log.warning("The database does not answer a readiness check: %r", exc)
        return None


def close() -> None:
    """Let the checks' database threads end."""
    _threads.close()


metrics.register_facts(read_facts)
