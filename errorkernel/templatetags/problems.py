"""Small charts of the frequency of a problem."""

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from errorkernel.domain.fingerprint.grouping import REASONS
from errorkernel.domain.rollups import Series, bucket_of, bucket_start
from errorkernel.templatetags.console import visible
from errorkernel.templatetags.messages import translated

register = template.Library()

BAR_W = 4
HEIGHT = 20
_SPARK = (
    '<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    ' aria-label="{label}"><title>{label}</title><path class="floor" d="M0 {height}H{width}"/>{bars}</svg>'
)


@register.simple_tag
def spark(counts: Sequence[int], now: datetime) -> SafeString:
    """Events by hour, the present hour last: bars, and a sentence for screen readers."""
    most = max(counts, default=0)
    # One path and no template, because a page has a hundred of these. Bars above zero are at least one unit high.
    bars = "".join(
        f"M{index * BAR_W} {HEIGHT}v-{max(1, round(HEIGHT * count / most))}h{BAR_W - 1}V{HEIGHT}"
        for index, count in enumerate(counts)
        if count
    )
    label = _("none in the last %(hours)s hours") % {"hours": len(counts)}
    if most:
        # Of equal hours the latest.
        last = bucket_of(Series.PROBLEM_HOURS, now)
        top = bucket_start(Series.PROBLEM_HOURS, last - list(reversed(counts)).index(most))
        label = _("%(count)s events in the last %(hours)s hours; the maximum, %(most)s, in the hour from "
"%(at)s UTC") % {
            "count": sum(counts), "hours": len(counts), "most": most, "at": f"{top:%H:%M}",
        }  # fmt: skip
    path = format_html('<path class="bars" d="{}"/>', bars) if bars else ""
    return format_html(_SPARK, bars=path, label=label, width=len(counts) * BAR_W, height=HEIGHT)


@register.filter
def grouping_reason(why: str) -> str:
    """The reason of the grouping in the user's language; texts of nodes stay unchanged."""
    begins = next((reason for reason in REASONS if why.startswith(reason)), "")
    return visible(translated(begins) + why.removeprefix(begins))


@register.filter
def by_hour(counts: Sequence[int], now: datetime) -> list[tuple[datetime, int]]:
    """(beginning of the hour, events), the newest first: the table of the chart."""
    first = bucket_of(Series.PROBLEM_HOURS, now) - len(counts) + 1
    hours = [bucket_start(Series.PROBLEM_HOURS, first + index) for index in range(len(counts))]
    return list(zip(hours, counts, strict=True))[::-1]
