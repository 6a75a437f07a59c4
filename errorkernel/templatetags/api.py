"""The tables of the HTTP API's page: eight hundred rows, for which a template would need most of its time."""

from collections.abc import Iterable
from typing import Protocol

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_ROW = '<tr>\n<td class="main"><code>{}</code>{}</td>\n<td class="wide">{}</td>\n<td class="wide">{}</td>\n</tr>'
_REQUIRED = SafeString(' <span class="chip">required</span>')


class ApiField(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def shape(self) -> str: ...


@register.simple_tag
def field_table(fields: Iterable[ApiField], mark: bool = False) -> SafeString:
    """A table of parameters or fields. ``mark``: those that are required are marked."""
    rows = format_html_join(
        "",
        _ROW,
        (
            (field.name, _REQUIRED if field.required and mark else "", _kind(field), field.description.replace("`", ""))
            for field in fields
        ),
    )
    return format_html('<table class="rows">\n<tbody>{}</tbody></table>\n', rows)


def _kind(field: ApiField) -> SafeString | str:
    return format_html('<a href="#shape-{}">{}</a>', field.shape, field.kind) if field.shape else field.kind
