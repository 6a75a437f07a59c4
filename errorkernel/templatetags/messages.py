"""Sentences of ``domain`` and ``store`` in the user's language."""

from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext

from errorkernel.domain.messages import TranslatableText

register = template.Library()


@register.filter
def translated(what: object) -> str:
    """A sentence, or that of an error, in the active language; other texts unchanged."""
    if isinstance(what, Exception) and what.args:
        what = what.args[0]
    if isinstance(what, TranslatableText):
        return gettext(what.pattern).format(**{name: _filled(value) for name, value in what.values.items()})
    return str(what)


def _filled(value: Any) -> Any:
    return intcomma(value) if isinstance(value, int) else translated(value)
