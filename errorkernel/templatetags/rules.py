"""How the console speaks of rules."""

from django import template
from django.utils.translation import gettext_lazy

register = template.Library()

_STATES = {
    "on": gettext_lazy("switched on"),
    "off": gettext_lazy("switched off"),
    "suspended": gettext_lazy("suspended"),
    "expired": gettext_lazy("expired"),
    "used up": gettext_lazy("used up"),
    "removed": gettext_lazy("removed"),
}


@register.filter
def rule_word(state: str) -> str:
    """Whether a rule speaks, in the reader's word for it."""
    return str(_STATES[state])
