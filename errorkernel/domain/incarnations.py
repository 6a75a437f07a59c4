"""How an incarnation of a process ended, as far as the kernel can see."""

from enum import StrEnum

from errorkernel.domain.values import Action


class Ending(StrEnum):
    KILLED = "killed"
    """By a decision: kill or stop."""
    STOPPED = "stopped"
    """Its node reports it as stopped, without a decision."""
    CRASHED = "crashed"
    """It reported a failure, and another incarnation followed."""
    UNKNOWN = "unknown"


def ending(decided: Action | None, *, stopped: bool, failures: int) -> Ending:
    """``decided``: the decision that this incarnation applied; ``stopped``: whether its node reports it as stopped."""
    if decided in (Action.KILL, Action.STOP):
        return Ending.KILLED
    if stopped:
        return Ending.STOPPED
    return Ending.CRASHED if failures else Ending.UNKNOWN
