"""One node of a chaos run: ``python -m errorkernel.ops.chaos.node_program DIRECTORY``. A real client, real workers.

Wrappers around the client write incidents and accepted decisions to the ledger as soon as the journal has them.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Decision, Requeue
from errorkernel.node.client import Kernel
from errorkernel.node.journal.incidents import Incidents, Receipt
from errorkernel.node.journal.requeues import Requeues
from errorkernel.node.supervision.restart_policy import Backoff, Restart
from errorkernel.ops.chaos import clock, periods, sabotage, work
from errorkernel.ops.chaos.ledger import Ledger
from errorkernel.ops.chaos.work import Place
from errorkernel.protocol import json_codec

TASKS = ("copy", "fetch")
CHILD = "engine"
HELM = "helm"
PROCESSES = (*TASKS, CHILD, HELM)
BACKOFF = Backoff(first_s=0.1, last_s=1.0, healthy_s=2.0)
GRACE_S = 1.0


def look_on(ledger: Ledger) -> None:
    """Write the incidents, decisions, starts and requeued messages of this program to the ledger, in their order."""
    ask, take, began, begin = Incidents.open, Incidents.accept, Kernel.set_incarnation, Requeues.begin

    def opened(self: Incidents, incident: UUID, process: str, incarnation: int, payload: bytes) -> None:
        ask(self, incident, process, incarnation, payload)
        event = json_codec.decode_event(payload, Limits())
        fields = {
            "deadline_s": event.deadline_s,
            "on_deadline": event.on_deadline.value,
            "quarantined": event.tags.get("quarantined"),
            "method": event.message.method if event.message else "",
        }
        ledger.write(
            "opened", incident=str(incident), process=process, incarnation=incarnation, text=event.text, **fields
        )

    def taken(self: Incidents, decision: Decision, *, ends: bool = False) -> Receipt:
        result = take(self, decision, ends=ends)
        ledger.write(
            "took",
            incident=str(decision.incident),
            decision=str(decision.decision_id),
            action=decision.action.value,
            result=result.value,
        )
        return result

    def begins(self: Kernel, name: str, incarnation: int) -> None:
        ledger.write("begins", process=name, incarnation=incarnation)
        began(self, name, incarnation)

    def begun(self: Requeues, processes: Collection[str]) -> Requeue | None:
        command = begin(self, processes)
        if command:
            ledger.write("begun", command=str(command.id), text=command.message.id)
        return command

    Requeues.begin = begun  # type: ignore[method-assign]
    Kernel.set_incarnation = begins  # type: ignore[method-assign]
    Incidents.open = opened  # type: ignore[method-assign]
    Incidents.accept = taken  # type: ignore[method-assign]


async def run(place: Place) -> None:
    """Run until SIGTERM, or until a decision ends the helm task."""
    stop_requested = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop_requested.set)
    options: dict[str, Any] = {
        "restart": Restart.PERMANENT,
        "grace_s": GRACE_S,
        "backoff": BACKOFF,
        "intensity": work.INTENSITY,
        "period_s": work.PERIOD_S,
    }
    async with Kernel.from_file(place.credentials, journal=place.journal) as kernel:
        workers = [
            *(kernel.worker(name, partial(work.task, place, kernel.node), **options) for name in TASKS),
            kernel.process_worker(CHILD, work.child, str(place.directory), **options),
        ]
        for worker in workers:
            await worker.start()
        for name in PROCESSES:
            kernel.on_requeue(name, partial(work.take, place, name))
        helm = asyncio.create_task(work.helm(place, kernel, HELM))
        ended = asyncio.create_task(stop_requested.wait())
        try:
            await asyncio.wait({helm, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            helm.cancel()
            ended.cancel()
            await asyncio.gather(*(worker.stop() for worker in workers), helm, ended, return_exceptions=True)


def main() -> None:
    place = Place(Path(sys.argv[1]))
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(levelname)s %(name)s: %(message)s")
    periods.hasten()
    sabotage.break_node()
    ledger = Ledger(place.ledger)
    ledger.write("began", processes=PROCESSES)
    look_on(ledger)
    clock.install(place.clock)
    asyncio.run(run(place))


if __name__ == "__main__":
    main()
