"""The kernel as Channels sees it: a consumer behind the channel ``error-kernel``, run by a background worker.

Messages on the channel are wake-ups, nothing more: what there is to do stands in the database.
"""

from typing import Any

from channels.consumer import AsyncConsumer

from errorkernel.kernel.worker import running


class KernelConsumer(AsyncConsumer):
    """Hands wake-ups on to the worker that runs in this process."""

    async def outbox_wake(self, message: dict[str, Any]) -> None:
        """Another process has recorded a decision."""
        if worker := running():
            worker.outbox.look()
