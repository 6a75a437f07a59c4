"""Numbers and times beside pictures, and the pieces of which a picture has hundreds.

Those are joined here: a template takes far longer to write each.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from errorkernel.domain import charts

register = template.Library()


@register.filter
def few(value: float) -> str:
    """A number in few characters: ``0.25``, ``1.5k``."""
    return charts.short(value)


def percent(count: int, of: int) -> str:
    """A percentage; a number above zero is never rounded to 0, nor a number below all to 100."""
    whole = round(100 * count / of)
    if whole == 0 and count:
        return "< 1"
    return "> 99" if whole == 100 and count < of else str(whole)


@register.simple_tag
def part(count: int, of: int) -> SafeString:
    """``1,204 (12 %)``: a number and its share; the share only if the total is not zero."""
    if not of:
        return format_html("<span>{}</span>", intcomma(count))
    return format_html('<span>{} <span class="dim">({}&nbsp;%)</span></span>', intcomma(count), percent(count, of))


@register.filter
def signed(value: int) -> str:
    """``+48,190``, ``−310``, ``0``."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{intcomma(abs(value))}"


@register.filter
def as_percent(share: float) -> str:
    """0.95 → ``95``; 0.999 → ``99.9``."""
    return f"{100 * share:.4g}"


@register.simple_tag
def bar(width: str, name: str) -> SafeString:
    """A cell with a horizontal bar of this width."""
    drawn = '<rect class="m-{}" width="{}" height="12"/>'
    cell = f'<td class="picture-cell" aria-hidden="true"><svg width="100%" height="12">{drawn}</svg></td>'
    return format_html(cell, name, width)


@register.filter
def to_minute(moment: datetime) -> str:
    """2026-11-24 10:04 (UTC)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@register.filter
def hour(moment: datetime) -> str:
    """10 (UTC)."""
    return moment.astimezone(UTC).strftime("%H")


class HeatCell(Protocol):
    @property
    def failures(self) -> int: ...
    @property
    def heat(self) -> int: ...
    @property
    def label(self) -> str: ...


@register.filter
def heat_cells(cells: Iterable[HeatCell]) -> SafeString:
    """The cells of one row of a heat map."""
    # Only our own numbers and times, as below.
    return mark_safe(  # noqa: S308
        "".join(
            f'<td class="heat-{cell.heat}" title="{cell.label}">'
            f"{charts.short(cell.failures) if cell.failures else ''}</td>"
            for cell in cells
        )
    )


@register.filter
def stacks(columns: Iterable[charts.Column]) -> SafeString:
    """The columns of a chart, each a group with its label and bars. The links of the columns are for the pointer: the
    table of the chart has the same."""
    return format_html_join("", "{}", ((_column(column),) for column in columns if column.bars))


def _column(column: charts.Column) -> SafeString:
    drawn = format_html("<g><title>{}</title>{}</g>", column.description, _bars(column.bars))
    return format_html('<a href="{}" tabindex="-1">{}</a>', column.address, drawn) if column.address else drawn


def _bars(bars: Iterable[charts.Bar]) -> SafeString:
    # Only our own words and numbers: escaping each would take most of the time.
    return mark_safe(  # noqa: S308
        "".join(
            f'<rect class="m-{bar.name}" x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}"/>'
            for bar in bars
        )
    )


@register.filter
def number_cells(values: Iterable[int]) -> SafeString:
    """Whole numbers, each in a cell of its own."""
    return mark_safe("".join(f'<td class="num">{int(value)}</td>' for value in values))  # noqa: S308 - digits
