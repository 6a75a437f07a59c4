"""How the console speaks of nodes: their clocks, what they dropped, what they tried, how a life ended."""

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma

from errorkernel.core.lineage import Ending
from errorkernel.models import Node, RefusedAttempt
from errorkernel.templatetags.console import visible

register = template.Library()

SKEW_SAID_S = 2.0
"""Less than this is what a hello takes on its way, and what clocks differ by anyway."""
_UNITS = ((86400, "day", "days"), (3600, "h", "h"), (60, "min", "min"), (1, "s", "s"))
_ENDINGS = {Ending.KILLED: "killed", Ending.STOPPED: "stopped", Ending.CRASHED: "crashed", Ending.UNKNOWN: "replaced"}


@register.filter
def is_wrong(skew_s: float | None) -> bool:
    """Whether a clock is off by more than can be explained."""
    return skew_s is not None and abs(skew_s) > SKEW_SAID_S


@register.filter
def skew_words(skew_s: float | None) -> str:
    """``its clock is 4 min ahead``, ``… behind``; ``right`` up to 2 s."""
    if skew_s is None:
        return "not told"
    if abs(skew_s) <= SKEW_SAID_S:
        return "right, as far as a hello can tell"
    whole = int(abs(skew_s))
    size, one, many = next(unit for unit in _UNITS if whole >= unit[0])
    count = whole // size
    return f"its clock is {count} {one if count == 1 else many} {'ahead' if skew_s > 0 else 'behind'}"


@register.filter
def dropped_words(node: Node) -> str:
    """``1,204 infos and 3 errors that its journal had no room for``."""
    if node.dropped_infos is not None and node.dropped_errors is not None:
        parts = [(node.dropped_infos, "info"), (node.dropped_errors, "error")]
    elif node.dropped is not None:
        parts = [(node.dropped, "report")]
    else:
        return "not told"
    said = [f"{intcomma(count)} {word}{'' if count == 1 else 's'}" for count, word in parts if count]
    return f"{' and '.join(said)} that its journal had no room for" if said else "none"


@register.filter
def tried(attempt: RefusedAttempt) -> str:
    """``tried to publish on ek.evt.other``."""
    kind, _, value = attempt.claimed.partition(":")
    by = f" with the {kind} {visible(value)}" if kind in ("key", "user", "token") else " without credentials"
    match attempt.what:
        case "publish":
            return f"tried to publish on {visible(attempt.target)}"
        case "subscribe":
            return f"tried to listen on {visible(attempt.target)}"
        case "connect":
            return f"tried to connect to the broker{by}"
        case _:
            return f"tried to come in over HTTP{by}"


@register.filter
def ending_words(ending: str) -> str:
    return _ENDINGS[Ending(ending)]
