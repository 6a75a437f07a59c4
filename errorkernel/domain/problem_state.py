"""What people have made of a problem, and what ends that by itself: pure.

A muted problem is counted on and its questions wait as visibly as any; it only leaves the default lists. Whether a mute
ends is asked with every batch of its events, inside the transaction that stores them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from errorkernel.domain.messages import TranslatableText as _

MORE_MAX = 1_000_000_000
TEXT_MAX_CHARS = 4000
RELEASE_TAG = "release"


class ProblemState(StrEnum):
    OPEN = "open"
    MUTED = "muted"
    RESOLVED = "resolved"
    REOPENED = "reopened"


LISTED = (ProblemState.OPEN, ProblemState.REOPENED)
"""What a list shows that is not asked for a state."""


STATE_WORDS = {
    ProblemState.OPEN: _("open"),
    ProblemState.MUTED: _("muted"),
    ProblemState.RESOLVED: _("resolved"),
    ProblemState.REOPENED: _("reopened"),
}


class ProblemError(ValueError):
    """What was asked cannot be; the message is a sentence for whoever asked. ``field``: what of it is wrong."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Mute:
    """When a mute is to end: at ``until``, after ``more`` events, with the first of ``another_release``; whichever
    comes first. None of them: when somebody ends it."""

    until: datetime | None = None
    more: int | None = None
    another_release: bool = False

    def check(self, now: datetime) -> None:
        """Raises ProblemError."""
        if self.until is not None and self.until.tzinfo is None:
            raise ProblemError(_("The end of the mute needs a time zone."), "until")
        if self.until is not None and self.until <= now:
            raise ProblemError(_("The end of the mute is in the past."), "until")
        if self.more is not None and not 1 <= self.more <= MORE_MAX:
            raise ProblemError(_("Choose from 1 to {most} events for a mute.", most=MORE_MAX), "more")


@dataclass(frozen=True, slots=True)
class ActiveMute:
    """A mute that stands. ``until_count``: the total at which it ends; ``releases``: those that it lasts for, None:
    whatever the release."""

    until: datetime | None
    until_count: int | None
    releases: Collection[str] | None

    def ended_by(self, *, count: int, releases: Collection[str], now: datetime) -> str:
        """Why it is over now, with ``count`` events in all and ``releases`` among the latest; empty: it is not."""
        if self.until is not None and now >= self.until:
            return "Its time is over."
        if self.until_count is not None and count >= self.until_count:
            return "As many more events as it was muted for have come."
        others = (
            sorted(release for release in releases if release not in self.releases) if self.releases is not None else []
        )
        return f"The release {others[0]} has it too." if others else ""


def validated_text(text: str, field: str, most: int) -> str:
    """``text`` without blanks around it. Raises ProblemError for what cannot be kept."""
    text = text.replace("\r\n", "\n")
    if "\0" in text:
        raise ProblemError(_("The text must not contain a NUL character."), field)
    if len(text) > most:
        raise ProblemError(
            _("The text has {count} characters; the maximum is {most}.", count=len(text), most=most), field
        )
    return text.strip()
