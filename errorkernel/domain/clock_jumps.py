"""Whether the wall clock jumped between two moments, and by how much.

Within a run of the kernel, and between two runs on a machine that was not restarted, the other clocks prove a jump.
After a restart of the machine, or on another one, only the wall clock is left: going backwards is a jump, going
forwards is the time for which no kernel ran, up to ABSENCE_MAX_S.
"""

from dataclasses import dataclass

JUMP_S = 5.0
"""Smaller steps are corrections of a synchronized clock."""
ABSENCE_MAX_S = 86400.0
NOTICED_S = 2.0
"""The clock is compared more often than this."""


@dataclass(frozen=True, slots=True)
class Jump:
    """``shift_s``: by how much later the wall clock shows the same moment, as far as known.

    ``is_certain``: the clock was set, so a person must confirm it; otherwise the machine was suspended.
    ``noticed_s``: at most so many seconds after the jump it was noticed."""

    shift_s: float
    is_certain: bool = True
    noticed_s: float = NOTICED_S


def within_run(wall_s: float, running_s: float, uptime_s: float) -> Jump | None:
    """The jump in a run of the kernel, from the seconds that passed by each clock."""
    step_s = wall_s - running_s
    if abs(step_s) < JUMP_S:
        return None
    suspended_s = uptime_s - running_s
    is_certain = abs(step_s - suspended_s) >= JUMP_S
    return Jump(step_s, is_certain=is_certain, noticed_s=max(NOTICED_S, running_s))


def between_runs(wall_s: float, uptime_s: float | None) -> Jump | None:
    """The jump between two runs. ``uptime_s``: None where the machine was restarted, or is another one."""
    if uptime_s is not None:
        step_s = wall_s - uptime_s
        return Jump(step_s) if abs(step_s) >= JUMP_S else None
    if wall_s <= -JUMP_S:
        return Jump(wall_s)
    return Jump(0.0) if wall_s > ABSENCE_MAX_S else None
