"""The row of an event: in lists of pages, and in live frames.

A function in place of a template: a live page shows up to 3,300 rows a second, and Django's template of the row took
220 µs, this takes 55 µs (``python -m tests.bench.event_row``).
"""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.templatetags.console import brief, clock, day, iso, lateness, level_word, one_line
from errorkernel.templatetags.root import root

register = template.Library()

_ROW = (
    '<li class="event {level}" data-seq="{seq}"><time class="clock" datetime="{iso}"{day}>{clock}</time>'
    '<span class="level">{level_word}</span><bdi class="node">{node}</bdi><bdi class="process">{process}</bdi>'
    '<a class="text" href="{root}/events/{seq}/"><bdi>{kind}{text}</bdi></a>'
    '<span class="aside">{aside}</span><span class="repeat">{repeat}</span></li>'
)
_NOTHING = mark_safe("")


@register.simple_tag
def event_row(event: EventRow, *, dated: bool = False) -> SafeString:
    """``<li>`` of an event. ``dated``: the list shows the day above the first row of each."""
    return format_html(
        _ROW,
        level=event.level,
        seq=event.seq,
        iso=iso(event.received_at),
        day=format_html(' data-day="{}"', day(event.received_at)) if dated else _NOTHING,
        clock=clock(event.received_at),
        level_word=level_word(event.level),
        node=event.node,
        process=one_line(event.process),
        root=root(),
        kind=format_html("<b>{}:</b> ", one_line(event.kind)) if event.kind else _NOTHING,
        text=one_line(event.text),
        aside=_aside(event),
        repeat=f"×{event.repeat}" if event.repeat > 1 else "",
    )


_CELLS = (
    '<tr data-seq="{seq}"><td class="first"><time class="clock" datetime="{iso}" data-day="{day}">{clock}</time></td>'
    '<td class="first c-level level-{level}">{level_word}</td><td class="c-node"><bdi>{node}</bdi></td>'
    '<td class="c-process"><bdi>{process}</bdi></td>'
    '<td class="main"><div class="line"><a class="quiet" href="{root}/events/{seq}/{query}"><bdi>{kind}{text}</bdi></a>'
    "{aside}</div></td>"
    '<td class="c-message"><bdi>{message}</bdi></td><td class="c-release"><bdi>{release}</bdi></td>'
    '<td class="num c-repeat">{repeat}</td></tr>'
)


@register.simple_tag
def event_cells(event: EventRow, query: str) -> SafeString:
    """``<tr>`` of an event in a list. ``query``: the search, which its page goes on with."""
    return format_html(
        _CELLS,
        iso=iso(event.received_at),
        day=day(event.received_at),
        clock=clock(event.received_at),
        level=event.level,
        level_word=level_word(event.level),
        node=event.node,
        process=one_line(event.process),
        root=root(),
        seq=event.seq,
        query=query,
        kind=format_html("<b>{}:</b> ", one_line(event.kind)) if event.kind else _NOTHING,
        text=one_line(event.text),
        message=brief(event.message) if event.message else "",
        release=one_line(event.release),
        aside=_marks(event),
        repeat=f"×{event.repeat}" if event.repeat > 1 else "",
    )


def _marks(event: EventRow) -> SafeString:
    """That it came late, and its type where the level does not say it."""
    shown = _NOTHING
    if late := lateness(event):
        shown += format_html('<span class="late">+{}</span>', late)
    if event.type == "action":
        shown += format_html('<a class="type" href="{}/incidents/{}/">↩ action</a>', root(), event.id)
    elif event.type == "info" and event.level != "info":
        shown += mark_safe('<span class="type">info</span>')
    return shown


def _aside(event: EventRow) -> SafeString:
    """What few events have: that it came late, its type where the level does not say it, the message in progress."""
    shown = _marks(event)
    if event.message:
        shown += format_html('<bdi class="message">{}</bdi>', brief(event.message))
    return shown
