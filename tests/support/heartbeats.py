"""Signs of life taken in at once, as the kernel does it by parts."""

from collections.abc import Iterable
from datetime import datetime

from errorkernel.domain.values import Heartbeat
from errorkernel.store.ingest import heartbeats


def record_hellos(heard: Iterable[tuple[str, Heartbeat]], *, now: datetime) -> list[str]:
    """What these nodes say; returns the processes that count their incarnations anew."""
    told = list(heard)
    heartbeats.of_nodes(told, now=now)
    return [name for node, hello in told for name in heartbeats.of_processes(node, hello.processes, now=now)]
