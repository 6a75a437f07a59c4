"""The Channels consumer of the channel ``error-kernel``, run by the kernel's background worker.

Messages on the channel only wake the worker; the work itself is in the database.
"""

from typing import Any

from channels.consumer import AsyncConsumer

from errorkernel.kernel.worker import running


class KernelConsumer(AsyncConsumer):
    """Passes wake-ups to the worker of this process."""

    async def outbox_wake(self, message: dict[str, Any]) -> None:
        """Another process has recorded a decision."""
        if worker := running():
            worker.outbox.look()
