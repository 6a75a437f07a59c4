"""Signs of life taken in at once, as the kernel does it by parts."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from errorkernel.domain.liveness import expect
from errorkernel.domain.values import Heartbeat
from errorkernel.models import Node
from errorkernel.store.ingest import heartbeats


def heard_node(name: str, heartbeat_at: datetime | None, **fields: Any) -> Node:
    """A node whose last heartbeat was then, made or changed."""
    late_at, gone_at = expect(heartbeat_at) if heartbeat_at else (None, None)
    times = {"heartbeat_at": heartbeat_at, "late_at": late_at, "gone_at": gone_at}
    return Node.objects.update_or_create(name=name, defaults={**times, **fields})[0]


def record_hellos(heard: Iterable[tuple[str, Heartbeat]], *, now: datetime) -> list[str]:
    """What these nodes say; returns the processes that count their incarnations anew."""
    told = list(heard)
    heartbeats.of_nodes(told, now=now)
    return [name for node, hello in told for name in heartbeats.of_processes(node, hello.processes, now=now)]
