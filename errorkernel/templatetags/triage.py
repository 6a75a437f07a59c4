"""The trend of a problem as a row of bars."""

from collections.abc import Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

register = template.Library()

BAR_PX, GAP_PX, HEIGHT_PX = 5, 1, 16


@register.filter
def trend(counts: Sequence[int]) -> SafeString:
    """A bar for each of the counts, the last at the right; the highest fills the height. What happened at all shows."""
    highest = max(counts, default=0)
    width = len(counts) * (BAR_PX + GAP_PX)
    bars = [
        (place * (BAR_PX + GAP_PX), HEIGHT_PX - height, BAR_PX, height)
        for place, count in enumerate(counts)
        if (height := max(1, round(count / highest * HEIGHT_PX)) if count else 0)
    ]
    label = _("Events per hour in the last {hours} hours, {now} in this one, at most {most}")
    return format_html(
        '<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img"'
        ' aria-label="{label}"><path class="axis" d="M0 {base}H{width}"/>{bars}</svg>',
        width=width,
        height=HEIGHT_PX,
        base=HEIGHT_PX - 0.5,
        label=label.format(hours=len(counts), now=counts[-1] if counts else 0, most=highest),
        bars=format_html_join("", '<rect class="m-bad" x="{}" y="{}" width="{}" height="{}"/>', bars),
    )
