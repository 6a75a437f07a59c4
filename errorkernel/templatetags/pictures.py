"""Numbers and times beside pictures."""

from datetime import UTC, datetime

from django import template

from errorkernel.core import charts

register = template.Library()


@register.filter
def few(value: float) -> str:
    """A number in few characters: ``0.25``, ``1.5k``."""
    return charts.short(value)


@register.filter
def to_minute(moment: datetime) -> str:
    """2026-11-24 10:04 (UTC)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@register.filter
def hour(moment: datetime) -> str:
    """10 (UTC)."""
    return moment.astimezone(UTC).strftime("%H")
