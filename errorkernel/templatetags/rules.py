"""Filters for rules and dead letters."""

from django import template
from django.utils.translation import gettext_lazy

from errorkernel.models import DeadLetter

register = template.Library()

_STATES = {
    "on": gettext_lazy("enabled"),
    "off": gettext_lazy("disabled"),
    "suspended": gettext_lazy("suspended"),
    "expired": gettext_lazy("expired"),
    "used up": gettext_lazy("used up"),
    "removed": gettext_lazy("removed"),
}

_LETTERS = {
    DeadLetter.State.KEPT: gettext_lazy("kept"),
    DeadLetter.State.RESENT: gettext_lazy("requeued"),
    DeadLetter.State.DROPPED: gettext_lazy("dropped"),
}


@register.filter
def rule_word(state: str) -> str:
    """The state of a rule in the user's language."""
    return str(_STATES[state])


@register.filter
def letter_word(state: str) -> str:
    """The state of a dead letter in the user's language."""
    return str(_LETTERS[DeadLetter.State(state)])
