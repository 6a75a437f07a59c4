"""The product's periods, all divided by the same number in chaos's own processes, so that a run takes minutes.

Only durations change, never behaviour. The broker's dedup window for decisions and commands is cut to almost nothing,
as that of events always is: duplicates must reach the kernel and the nodes, whose own protection is tested.
"""

from importlib import import_module

from errorkernel.broker import streams

FACTOR = 5
SYNC_S = 15.0 / FACTOR
_DIVIDED = {
    "errorkernel.node.delivery.decisions": ("SYNC_INTERVAL_S", "SYNC_RETRY_S", "RESEND_FIRST_S", "UNKNOWN_NAK_S"),
    "errorkernel.node.delivery.heartbeat": ("INTERVAL_S",),
    "errorkernel.node.delivery.sender": ("ACK_TIMEOUT_S", "RETRY_LAST_S", "POLL_INTERVAL_S"),
    "errorkernel.broker.pull_consumer": ("EXPIRES_S", "HEARTBEAT_S"),
    "errorkernel.broker.connection": ("PING_INTERVAL_S",),
    "errorkernel.broker.streams": ("ACK_WAIT_S",),
}
_DUPLICATE_WINDOW_S = 1


def hasten_kernel() -> None:
    """The same for a process with Django."""
    hasten()
    from errorkernel.kernel import scheduler, storage_probe
    from errorkernel.store.incidents import requeues

    requeues.REPEAT_AFTER /= FACTOR
    scheduler.HEARTBEAT_INTERVAL_S /= FACTOR
    storage_probe.LOOK_INTERVAL_S /= FACTOR


def hasten() -> None:
    """Shorten the periods of this process. Call it before anything runs."""
    for module, names in _DIVIDED.items():
        there = import_module(module)
        for name in names:
            value = getattr(there, name) / FACTOR
            setattr(there, name, int(value) if value.is_integer() else value)
    streams.DUPLICATE_WINDOW_S = _DUPLICATE_WINDOW_S
