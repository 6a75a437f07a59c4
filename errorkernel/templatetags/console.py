"""Filters for times, users, levels and untrusted text.

Every filter returns a plain ``str``, so Django escapes it; none marks data as safe. ``event_row`` calls some of them
hundreds of times a second, so they are optimized.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from errorkernel.models import Decision, ProcessAction
from errorkernel.store.ingest.event_rows import EventRow

register = template.Library()

ROW_TEXT_CHARS = 300
"""A row shows the beginning of a text; the page of the event shows all of it (up to 64 KiB)."""

LATE_S = 5.0
"""An event that took longer than this to arrive is marked with its age."""

# Invisible characters that change the text: controls (ANSI escapes), bidi controls, zero-width characters, line
# separators. Tab and newline stay, because <pre> shows them, and so do joiners and variation selectors, which scripts
# and emoji need.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile(r"\s*[\r\n]+\s*")
# A time in the format of the audit trail.
_MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00|Z)")
_SHAPES = {"critical": "■", "error": "■", "warning": "▲"}
_STATES = {
    "open": ("◆", gettext_lazy("pending")),
    "decided": ("◇", gettext_lazy("decided")),
    "delivered": ("◇", gettext_lazy("delivered")),
    "applied": ("✓", gettext_lazy("applied")),
    "failed": ("✕", gettext_lazy("failed")),
    "stale": ("✕", gettext_lazy("stale")),
    "withdrawn": ("⊘", gettext_lazy("withdrawn")),
}

_ACTIONS = {
    "continue": gettext_lazy("Continue"),
    "kill": gettext_lazy("Kill and restart"),
    "stop": gettext_lazy("Stop"),
}


_VERBS = {
    "continue": gettext_lazy("continue"),
    "kill": gettext_lazy("kill"),
    "stop": gettext_lazy("stop"),
    "ask": gettext_lazy("ask"),
}


def _name_of(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@register.filter
def visible(text: object) -> str:
    """``text`` with every invisible or reordering character written out: ``\\x1b``, ``\\u202e``."""
    return _HIDDEN.sub(_name_of, str(text).replace("\r\n", "\n"))


@register.filter
def one_line(text: str) -> str:
    """The beginning of ``text`` on one line: breaks become ↵, the rest as in ``visible``."""
    shown = text[:ROW_TEXT_CHARS]
    if "\n" in shown or "\r" in shown:
        shown = _BREAKS.sub(" ↵ ", shown.strip())
    shown = _HIDDEN.sub(_name_of, shown)
    return shown if len(text) <= ROW_TEXT_CHARS else shown + "…"


@register.filter
def shape(level: str) -> str:
    """The sign of a level, always shown with its word."""
    return _SHAPES.get(level, "○")


@register.filter
def level_word(level: str) -> str:
    """``▲ warning``."""
    return f"{_SHAPES.get(level, '○')} {level}"


@register.filter
def brief(message: Mapping[str, Any]) -> str:
    """A message in progress in a few words: ``REQCopySrc #8841``."""
    key = message.get("id")
    return one_line(f"{message.get('method') or ''} #{key}" if key else str(message.get("method") or "")).strip()


@register.filter
def state_sign(state: str) -> str:
    return _STATES[state][0]


@register.filter
def state_word(state: str) -> str:
    return str(_STATES[state][1])


@register.filter
def action_word(action: str) -> str:
    """As on its button: *Kill and restart*."""
    return str(_ACTIONS.get(action, action))


@register.filter
def verb(action: str) -> str:
    """In a sentence or a list: ``decided kill by bob``."""
    return str(_VERBS.get(str(action), action))


@register.filter
def time_between(later: datetime, earlier: datetime) -> str:
    """``20 m 3 s``."""
    return roughly(later - earlier)


@register.filter
def at_zero(on_deadline: str) -> str:
    """The action when the deadline passes."""
    match on_deadline:
        case "kill":
            return _("the process is killed and restarted")
        case "continue":
            return _("the process continues")
        case _other:
            return _("the incident stays pending, escalated")


@register.filter
def actor_name(actor: str) -> str:
    """``user:alice`` → ``alice``, ``rule:12`` → ``rule 12``, ``deadline`` → ``its deadline``."""
    kind, _separator, name = actor.partition(":")
    if kind == "user":
        return visible(name)
    if kind == "deadline":
        return _("its deadline")
    return visible(_("rule {number}").format(number=name) if kind == "rule" else f"{kind} {name}".strip())


@register.filter
def decider(decision: Decision | ProcessAction) -> str:
    """As ``actor_name``, with the revision of a rule, ``rule 12 (revision 3)``, and the second person, ``bob, approved
    by alice``."""
    name = actor_name(decision.actor)
    if decision.rule_revision is not None:
        name += " " + _("(revision {number})").format(number=decision.rule_revision)
    if isinstance(decision, Decision) and decision.approved_by:
        name = _("{name}, approved by {second}").format(name=name, second=actor_name(decision.approved_by))
    return name


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


@register.filter
def clock(moment: datetime) -> str:
    """10:04:31.204 (UTC)."""
    at = _utc(moment)
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}.{at.microsecond // 1000:03}"


@register.filter
def stamp(moment: datetime) -> str:
    """2026-11-24 10:04:31.204 UTC."""
    at = _utc(moment)
    return f"{at.year:04}-{at.month:02}-{at.day:02} {clock(at)} UTC"


@register.filter
def iso(moment: datetime) -> str:
    """For ``<time>`` elements and scripts: 2026-11-24T10:04:31.204Z."""
    at = _utc(moment)
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{clock(at)}Z"


@register.filter
def day(moment: datetime) -> str:
    """2026-11-24 (UTC)."""
    at = _utc(moment)
    return f"{at.year:04}-{at.month:02}-{at.day:02}"


@register.filter
def duration(seconds: float | timedelta) -> str:
    """``38 s``, ``4 m 12 s``, ``3 h 5 m``, ``2 d 4 h``; the same as in clock.js."""
    whole = max(0, int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


@register.filter
def roughly(seconds: float | timedelta) -> str:
    """The largest unit alone: ``4 m``."""
    return " ".join(duration(seconds).split()[:2])


@register.filter
def lateness(event: EventRow) -> str:
    """The age of an event at its arrival, if it is more than some seconds; else empty."""
    if event.occurred_at is None:
        return ""
    seconds = (event.received_at - event.occurred_at).total_seconds()
    return roughly(seconds) if seconds > LATE_S else ""


@register.simple_tag
def moment_field() -> SafeString:
    """The attributes of a field for a time, written as in the tables. A browser's own field would follow the browser's
    language: 11/24/2026 beside 2026-11-24."""
    return format_html(
        'type="text" class="moment" size="19" maxlength="25" autocomplete="off" spellcheck="false"'
        ' pattern="{}" placeholder="2026-11-24 10:04" title="{}"',
        r"\s*\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?(Z|[+\-]\d\d:\d\d)?)?\s*",
        _("Year-month-day hour:minute, for example 2026-11-24 10:04"),
    )


@register.simple_tag
def ago(moment: datetime | None, now: datetime, never: str = "") -> SafeString | str:
    """``4 m ago``, updated by the page, with the exact time on hover."""
    if moment is None:
        return never or _("never")
    text = _("{age} ago").format(age=roughly(now - moment))
    return format_html('<time class="ago" datetime="{}" title="{}">{}</time>', iso(moment), stamp(moment), text)


@register.simple_tag
def since(moment: datetime, now: datetime) -> SafeString:
    """``4 m 12 s``, counted on by the page, with the exact beginning on hover."""
    text = duration(now - moment)
    return format_html('<time class="since" datetime="{}" title="{}">{}</time>', iso(moment), stamp(moment), text)


@register.simple_tag
def until(moment: datetime, now: datetime) -> SafeString:
    """``in 4 m 12 s`` or ``passed 10 s ago``, counted down by the page."""
    left = (moment - now).total_seconds()
    text = _("in {age}") if left > 0 else _("passed {age} ago")
    return format_html(
        '<time class="until" datetime="{}" title="{}">{}</time>',
        iso(moment),
        stamp(moment),
        text.format(age=duration(abs(left))),
    )


@register.simple_tag
def at(moment: datetime) -> SafeString:
    """A clock time of day; the page can show it in the reader's own zone."""
    return format_html(
        '<time class="clock" datetime="{}" title="{}">{}</time>', iso(moment), stamp(moment), clock(moment)
    )


@register.simple_tag
def when(moment: datetime) -> SafeString:
    """Date and time of day, in full."""
    return format_html('<time class="stamp" datetime="{}">{}</time>', iso(moment), stamp(moment))


@register.simple_tag
def random_id() -> str:
    """A new id for a form, so that sending it twice counts once."""
    return uuid.uuid4().hex


@register.filter
def short_target(target: str) -> str:
    """The end of ``incident:<uuid>``, because ids of one hour begin alike."""
    kind, _, key = target.partition(":")
    return f"{kind} …{key[-8:]}" if kind == "incident" and len(key) > 8 else one_line(target)


@register.filter
def changes(entry: Any) -> list[tuple[str, str, str]]:
    """(field, before, after) of the changed fields of an audit entry."""
    before: Mapping[str, Any] = entry.before or {}
    after: Mapping[str, Any] = entry.after or {}
    return [(name, _plain(before.get(name)), _plain(after.get(name))) for name in _ordered(before, after)]


def _ordered(*mappings: Mapping[str, Any]) -> Iterable[str]:
    return dict.fromkeys(name for mapping in mappings for name in mapping)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        with suppress(ValueError):  # somebody's text, of a day that no month has
            return stamp(datetime.fromisoformat(value))
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
