"""Whether this installation lives and can work, and its metrics: for orchestrators, load balancers and scrapers.

All three answer without login, as such probes and exporters are expected to: they tell numbers, node names and
yes or no, nothing of what was reported. Who must not see them is kept out by the proxy in front.
"""

import asyncio
import logging
from datetime import datetime

import msgspec
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from errorkernel import metrics
from errorkernel.core import steward_names
from errorkernel.core.incident import State
from errorkernel.core.liveness import KERNEL_LATE_S
from errorkernel.models import Incident, KernelHeartbeat, Node
from errorkernel.store import fleet
from errorkernel.threads import DatabaseThreads
from errorkernel.web import uplink
from errorkernel.web.shapes import Readiness

log = logging.getLogger("errorkernel.health")

DATABASE_TIMEOUT_S = 3.0

# Of its own: a probe must get its answer while everybody else waits for the database.
_threads = DatabaseThreads("health", 2)


@csrf_exempt  # other methods are 405, not a question of who sent them
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all; restarting it would help nothing that this does not show."""
    return HttpResponse("ok", content_type="text/plain")


@csrf_exempt
@never_cache
@require_safe
async def ready(request: HttpRequest) -> HttpResponse:
    """200 when work can be done here, else 503; either way which part can: database, broker, kernel."""
    database, kernel_at = await _ask_database()
    late = kernel_at is None or (timezone.now() - kernel_at).total_seconds() > KERNEL_LATE_S
    checks = {"database": database, "broker": uplink.is_connected(), "kernel": not late}
    is_ready = all(checks.values())
    return HttpResponse(
        msgspec.json.encode(Readiness(is_ready, checks)),
        status=200 if is_ready else 503,
        content_type="application/json",
    )


@csrf_exempt
@never_cache
@require_safe
async def prometheus(request: HttpRequest) -> HttpResponse:
    """Every metric of this process, in Prometheus' text format."""
    body, content_type = await _threads.run(metrics.render)
    return HttpResponse(body, content_type=content_type)


def read_facts() -> metrics.Facts:
    """What the metrics need from the database, in a few small queries."""
    heard = Node.objects.filter(hello_at__isnull=False).order_by("hello_at").values_list("name", "hello_at")
    return metrics.Facts(
        incidents_open=Incident.objects.filter(state=State.OPEN.value).count(),
        # By the names that old dashboards know; a node that is moving over is heard under both, and the later counts.
        hello_last={steward_names.theirs(name): at.timestamp() for name, at in heard if at is not None},
        nodes=fleet.count_nodes(timezone.now()),
    )


def _last_beat() -> datetime | None:
    return KernelHeartbeat.objects.order_by("-at").values_list("at", flat=True).first()


async def _ask_database() -> tuple[bool, datetime | None]:
    try:
        return True, await asyncio.wait_for(_threads.run(_last_beat), DATABASE_TIMEOUT_S)
    except (DatabaseError, TimeoutError) as exc:
        log.warning("The database does not answer a readiness check: %r", exc)
        return False, None


def close() -> None:
    """Let the checks' database threads end."""
    _threads.close()


metrics.register_facts(read_facts)
