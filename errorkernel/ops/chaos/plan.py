"""The faults of a run, with times and durations: a pure function of the seed.

The same seed gives the same plan. The result also depends on the machine's scheduling, so repeat a plan that has found
a violation a few times, not once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DAY_S = 86400.0
CLOCK_JUMPS_S = (-3600.0, 3600.0, -2 * DAY_S, 2 * DAY_S, 400 * DAY_S, -400 * DAY_S)
"""Daylight saving time, a wrong date, and a machine without a hardware clock that sets its time late."""
FIRST_AT_S = 1.0
LINKED_ROLES = ("kernel", "web")


class Kind(StrEnum):
    """``<target>.<fault>``."""

    KERNEL_KILL = "kernel.kill"
    KERNEL_PAUSE = "kernel.pause"
    KERNEL_TWIN = "kernel.twin"
    """A second kernel starts while the first is paused, then the first continues."""
    WEB_KILL = "web.kill"
    WEB_PAUSE = "web.pause"
    NODE_KILL = "node.kill"
    NODE_PAUSE = "node.pause"
    NODE_CLOCK = "node.clock"
    LINK_CUT = "link.cut"
    LINK_RESET = "link.reset"
    LINK_SLOW = "link.slow"
    LINK_DOUBLE = "link.double"
    LINK_SHUFFLE = "link.shuffle"
    LINK_REPLAY = "link.replay"
    BROKER_RESTART = "broker.restart"
    BROKER_KILL = "broker.kill"
    BROKER_PAUSE = "broker.pause"
    BROKER_WIPE = "broker.wipe"
    BROKER_WIPE_LIVE = "broker.wipe_live"
    """Removes the files under the running broker, which continues without them until its restart."""


@dataclass(frozen=True, slots=True)
class _Habit:
    """The weight of the choice, and the bounds of the duration."""

    weight: int
    shortest_s: float
    longest_s: float


_HABITS = {
    Kind.KERNEL_KILL: _Habit(3, 0.1, 3.0),
    Kind.KERNEL_PAUSE: _Habit(2, 0.5, 6.0),
    Kind.KERNEL_TWIN: _Habit(2, 3.0, 8.0),
    Kind.WEB_KILL: _Habit(2, 0.1, 2.0),
    Kind.WEB_PAUSE: _Habit(1, 0.5, 5.0),
    Kind.NODE_KILL: _Habit(5, 0.3, 4.0),
    Kind.NODE_PAUSE: _Habit(2, 0.5, 7.0),
    Kind.NODE_CLOCK: _Habit(2, 1.0, 6.0),
    Kind.LINK_CUT: _Habit(4, 1.0, 8.0),
    Kind.LINK_RESET: _Habit(3, 0.1, 3.0),
    Kind.LINK_SLOW: _Habit(1, 2.0, 6.0),
    Kind.LINK_DOUBLE: _Habit(3, 3.0, 8.0),
    Kind.LINK_SHUFFLE: _Habit(3, 3.0, 8.0),
    Kind.LINK_REPLAY: _Habit(3, 3.0, 8.0),
    Kind.BROKER_RESTART: _Habit(2, 0.1, 3.0),
    Kind.BROKER_KILL: _Habit(2, 0.1, 3.0),
    Kind.BROKER_PAUSE: _Habit(1, 0.5, 4.0),
    Kind.BROKER_WIPE: _Habit(2, 2.5, 4.0),
    Kind.BROKER_WIPE_LIVE: _Habit(2, 1.0, 4.0),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """``at_s`` after the start; ``target``: a node, ``kernel``, ``web``, ``broker``, or the owner of the link."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float
    amount_s: float = 0.0
    """The jump of a clock."""

    def __str__(self) -> str:
        how_far = f" by {self.amount_s:+,.0f} s" if self.kind is Kind.NODE_CLOCK else ""
        return f"{self.kind} {self.target}{how_far} for {self.lasts_s:.1f} s"


def make(seed: int, faults: int, nodes: Sequence[str], every_s: float) -> tuple[Fault, ...]:
    """``faults`` faults in the order of their times, ``every_s`` apart on average; each kind if there are enough."""
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    kinds = list(Kind)
    dice.shuffle(kinds)
    weights = [_HABITS[kind].weight for kind in Kind]
    chosen = kinds[:faults] + dice.choices(list(Kind), weights, k=max(0, faults - len(kinds)))
    dice.shuffle(chosen)
    at_s = FIRST_AT_S
    made = []
    for kind in chosen:
        habit = _HABITS[kind]
        made.append(
            Fault(
                at_s=round(at_s, 2),
                kind=kind,
                target=_target(kind, nodes, dice),
                lasts_s=round(dice.uniform(habit.shortest_s, habit.longest_s), 2),
                amount_s=dice.choice(CLOCK_JUMPS_S) if kind is Kind.NODE_CLOCK else 0.0,
            )
        )
        at_s += dice.uniform(0.4, 1.6) * every_s
    return tuple(made)


def _target(kind: Kind, nodes: Sequence[str], dice: random.Random) -> str:
    what = kind.partition(".")[0]
    if what == "node":
        return dice.choice(nodes)
    if what == "link":
        return dice.choice([*nodes, *nodes, *LINKED_ROLES])
    return what
