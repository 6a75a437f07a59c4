"""How an incarnation of a process ended, as far as it can be known from outside."""

from enum import StrEnum

from errorkernel.domain.values import Action


class Ending(StrEnum):
    KILLED = "killed"
    """By an answer: kill or stop."""
    STOPPED = "stopped"
    """Its node says that it has stopped, and nobody here asked for it."""
    CRASHED = "crashed"
    """Another one follows it, and it had reported a failure."""
    UNKNOWN = "unknown"


def ending(answer: Action | None, *, stopped: bool, failures: int) -> Ending:
    """``answer``: what was answered to this incarnation and done; ``stopped``: whether its node says so."""
    if answer in (Action.KILL, Action.STOP):
        return Ending.KILLED
    if stopped:
        return Ending.STOPPED
    return Ending.CRASHED if failures else Ending.UNKNOWN
