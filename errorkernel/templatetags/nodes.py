"""Filters for nodes: clocks, dropped events, access denials, endings of incarnations."""

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from errorkernel.domain.incarnations import Ending
from errorkernel.models import AccessDenial, Node
from errorkernel.templatetags.console import one_line, visible

register = template.Library()

SKEW_SHOWN_S = 2.0
"""Smaller differences are normal: transit of a heartbeat, and clocks."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_ENDINGS = {
    Ending.KILLED: gettext_lazy("killed"),
    Ending.STOPPED: gettext_lazy("stopped"),
    Ending.CRASHED: gettext_lazy("crashed"),
    Ending.UNKNOWN: gettext_lazy("replaced"),
}
_PROCESS_STATES = {
    "running": gettext_lazy("running"),
    "blocked": gettext_lazy("blocked"),
    "stopping": gettext_lazy("stopping"),
    "restarting": gettext_lazy("restarting"),
    "quarantined": gettext_lazy("quarantined"),
    "stopped": gettext_lazy("stopped"),
}


@register.filter
def process_state(state: str) -> str:
    """The state of a process: known words in the user's language, others unchanged."""
    return str(_PROCESS_STATES.get(state, one_line(state))) or _("not reported")


@register.filter
def is_wrong(skew_s: float | None) -> bool:
    """Whether a clock differs by more than is normal."""
    return skew_s is not None and abs(skew_s) > SKEW_SHOWN_S


@register.filter
def skew_words(skew_s: float | None) -> str:
    """``4 min ahead``, ``… behind``; ``right`` up to 2 s."""
    if skew_s is None:
        return _("not reported")
    if abs(skew_s) <= SKEW_SHOWN_S:
        return _("no skew measured")
    whole = int(abs(skew_s))
    size, unit = next(unit for unit in _UNITS if whole >= unit[0])
    count = whole // size
    pattern = _("{time} ahead") if skew_s > 0 else _("{time} behind")
    return pattern.format(time=f"{count} {unit}")


@register.filter
def dropped_words(node: Node) -> str:
    """``1,204 infos and 3 errors that its journal had no space for``."""
    if node.dropped_infos is not None and node.dropped_errors is not None:
        infos = ngettext("{count} info", "{count} infos", node.dropped_infos)
        errors = ngettext("{count} error", "{count} errors", node.dropped_errors)
        parts = [(node.dropped_infos, infos), (node.dropped_errors, errors)]
    elif node.dropped is not None:
        parts = [(node.dropped, ngettext("{count} event", "{count} events", node.dropped))]
    else:
        return _("not reported")
    pattern = [word.format(count=intcomma(count)) for count, word in parts if count]
    if not pattern:
        return _("none")
    return _("{what} dropped from the full journal").format(what=_(" and ").join(pattern))


@register.filter
def tried(attempt: AccessDenial) -> str:
    """``tried to publish on ek.evt.other``."""
    kind, _separator, value = attempt.credential.partition(":")
    by = " ".join([kind, visible(value)]) if kind in ("key", "user", "token") else _("no credentials")
    target = visible(attempt.target)
    match attempt.operation:
        case "publish":
            return _("publish on {subject}").format(subject=target)
        case "subscribe":
            return _("subscribe to {subject}").format(subject=target)
        case "connect":
            return _("connection to the broker with {by}").format(by=by)
        case _other:
            return _("HTTP request with {by}").format(by=by)


@register.filter
def ending_words(ending: str) -> str:
    return str(_ENDINGS[Ending(ending)])
