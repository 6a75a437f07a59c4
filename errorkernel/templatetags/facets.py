"""The values of facets: a function in place of a template, because a list has a hundred of them."""

from collections.abc import Iterable
from typing import Protocol

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from errorkernel.templatetags.console import one_line, shape

register = template.Library()

_VALUE = (
    '<li><a class="facet" href="{}"{}><span class="box" aria-hidden="true"></span><span class="cut">{}</span>'
    "<span>{}</span></a></li>"
)
_CHOSEN = mark_safe(' aria-current="true"')


class Value(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def is_chosen(self) -> bool: ...
    @property
    def sign(self) -> str: ...


@register.filter
def facet_values(values: Iterable[Value]) -> SafeString:
    """A list with a link for each value."""
    items = (
        (value.address, _CHOSEN if value.is_chosen else "", _name(value), intcomma(value.count)) for value in values
    )
    return format_html("<ul>{}</ul>", format_html_join("", _VALUE, items))


def _name(value: Value) -> SafeString:
    if value.sign == "pending":
        return format_html('<span class="pending-link">◆ {}</span>', value.name)
    if value.sign:
        return format_html('<span class="level-{}">{} {}</span>', value.sign, shape(value.sign), value.name)
    return format_html("<bdi>{}</bdi>", one_line(value.name))
