"""The work of a chaos node's workers: report, fail, ask, and log the decisions, until ``quiet`` exists."""

import asyncio
import contextlib
import itertools
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errorkernel.domain.values import Message
from errorkernel.node.client import Kernel
from errorkernel.node.errors import NodeError
from errorkernel.node.process.child import worker
from errorkernel.node.supervision.task_worker import Context
from errorkernel.ops.chaos.ledger import Ledger
from errorkernel.ops.chaos.policy import METHODS

PAUSE_S = (0.05, 0.4)
INCIDENT_SHARE = 0.25
FAILURE_SHARE = 0.03
INTENSITY = 3
PERIOD_S = 8.0
"""Few restarts, so that workers are quarantined and released."""
DEADLINES: tuple[dict[str, Any], ...] = (
    *({},) * 6,
    {"deadline_s": 1.5, "on_deadline": "continue"},
    {"deadline_s": 1.5, "on_deadline": "kill"},
    {"deadline_s": 1.0, "on_deadline": "escalate"},
    {"deadline_s": 3600, "on_deadline": "kill"},
)


HANDLING_S = (0.0, 0.5)
HANDLING_FAILS = 0.15


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one node."""

    directory: Path

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def journal(self) -> Path:
        return self.directory / "journal"

    @property
    def credentials(self) -> Path:
        return self.directory / "credentials.json"

    @property
    def clock(self) -> Path:
        return self.directory / "clock"

    @property
    def quiet(self) -> Path:
        """When this exists, workers report nothing new."""
        return self.directory / "quiet"


class _Incarnation:
    """One incarnation of a worker: its dice and unique texts."""

    def __init__(self, place: Place, node: str, process: str, incarnation: int) -> None:
        self.place = place
        self.ledger = Ledger(place.ledger)
        self.me = {"process": process, "incarnation": incarnation}
        self.dice = random.Random(f"{place.directory.name} {process} {incarnation}")  # noqa: S311
        self._name = f"{node} {process} {incarnation} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}"
        self._numbers = itertools.count(1)
        self.ledger.write("born", **self.me)

    def text(self) -> str:
        return f"{self._name} {next(self._numbers)}"

    def journaled(self, text: str) -> dict[str, Any]:
        """Arguments of an incident: a message in progress, and sometimes a deadline."""
        message = {"id": text, "method": self.dice.choice(METHODS), "data": text}
        return {"message": message, **self.dice.choice(DEADLINES)}

    def reported(self, text: str) -> None:
        self.ledger.write("reported", text=text, **self.me)

    def fails(self, text: str) -> RuntimeError:
        self.ledger.write("fails", text=text, **self.me)
        return RuntimeError(text)

    def went_on(self, text: str) -> None:
        self.ledger.write("went_on", text=text, **self.me)


async def task(place: Place, node: str, context: Context) -> None:
    """A task worker. Raises RuntimeError at times, which restarts it."""
    run = _Incarnation(place, node, context.process, context.incarnation)
    while not place.quiet.exists():
        await asyncio.sleep(run.dice.uniform(*PAUSE_S))
        text, chance = run.text(), run.dice.random()
        if chance < INCIDENT_SHARE:
            await context.ask(text, **run.journaled(text))
            run.went_on(text)
        elif chance < INCIDENT_SHARE + FAILURE_SHARE:
            raise run.fails(text)
        else:
            await (context.info if run.dice.random() < 0.5 else context.error)(text)
            run.reported(text)
    await asyncio.get_running_loop().create_future()


def child(directory: str) -> None:
    """The same as a process worker."""
    me = worker()
    run = _Incarnation(Place(Path(directory)), me.node, me.process, me.incarnation)
    while not run.place.quiet.exists():
        time.sleep(run.dice.uniform(*PAUSE_S))
        text, chance = run.text(), run.dice.random()
        if chance < INCIDENT_SHARE:
            me.ask(text, **run.journaled(text))
            run.went_on(text)
        elif chance < INCIDENT_SHARE + FAILURE_SHARE:
            raise run.fails(text)
        else:
            (me.info if run.dice.random() < 0.5 else me.error)(text)
            run.reported(text)
    while True:
        time.sleep(3600)


async def take(place: Place, process: str, message: Message) -> None:
    """Handle a requeued message. Raises RuntimeError at times."""
    ledger = Ledger(place.ledger)
    ledger.write("handed", process="", text=message.id)
    dice = random.Random(f"{message.id} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}")  # noqa: S311
    await asyncio.sleep(dice.uniform(*HANDLING_S))
    if dice.random() < HANDLING_FAILS:
        raise RuntimeError(f"{process} failed again on {message.id}")
    ledger.write("handled", process="", text=message.id)


async def helm(place: Place, kernel: Kernel, name: str) -> str:
    """Code that asks outside a worker; returns on a decision that ends the program."""
    with contextlib.suppress(NodeError):
        incarnation = await kernel.call(kernel.incarnation_of, name)
        run = _Incarnation(place, kernel.node, name, incarnation)
        while not place.quiet.exists():
            await asyncio.sleep(run.dice.uniform(*PAUSE_S) * 3)
            text = run.text()
            if run.dice.random() < INCIDENT_SHARE:
                action = await kernel.ask(text, process=name, **run.journaled(text))
                if action != "continue":
                    return str(action)
                run.went_on(text)
            else:
                await kernel.error(text, process=name)
                run.reported(text)
    await asyncio.get_running_loop().create_future()
    return ""
