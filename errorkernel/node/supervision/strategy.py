"""Which siblings restart with a failed child: the three strategies of OTP, as a pure decision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Strategy(StrEnum):
    """Which children restart when one fails: it alone; all; it and those that were started after it."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """``stop``: the siblings to end, last started first. ``start``: the children to start after that, in this order."""

    stop: tuple[T, ...]
    start: tuple[T, ...]


def plan(strategy: Strategy, children: Sequence[T], failed: T, leaving: Collection[T] = ()) -> Plan[T]:
    """``failed`` has ended and is to be started again. ``children``: in the order in which they are started.

    ``leaving``: siblings that, once ended, are not started again (temporary and stopped ones).
    """
    if strategy is Strategy.ONE_FOR_ONE:
        return Plan((), (failed,))
    first = 0 if strategy is Strategy.ONE_FOR_ALL else children.index(failed)
    affected = children[first:]
    return Plan(
        stop=tuple(child for child in reversed(affected) if child != failed),
        start=tuple(child for child in affected if child == failed or child not in leaving),
    )
