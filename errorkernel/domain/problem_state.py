"""The states of a problem, and the automatic end of a mute: pure functions.

A muted problem is still counted, and its incidents stay visible; it only leaves the default lists. The end of a mute
is checked with every batch of its events, inside the transaction that stores them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused

MORE_MAX = 1_000_000_000
TEXT_MAX_CHARS = 4000


class ProblemState(StrEnum):
    OPEN = "open"
    MUTED = "muted"
    RESOLVED = "resolved"
    REOPENED = "reopened"


LISTED = (ProblemState.OPEN, ProblemState.REOPENED)
"""The default states of a list."""


STATE_WORDS = {
    ProblemState.OPEN: _("open"),
    ProblemState.MUTED: _("muted"),
    ProblemState.RESOLVED: _("resolved"),
    ProblemState.REOPENED: _("reopened"),
}


class ProblemError(OperationRefused):
    """An operation on a problem that is not possible, or a request with an invalid ``field``."""

    def __init__(self, message: str, field: str = "", *, code: str = "invalid_field") -> None:
        super().__init__(message, code, field)


class PendingIncidents(ProblemError):
    """Resolving problems needs a confirmation: ``processes`` are blocked by ``problems`` of them, and stay so."""

    def __init__(self, processes: int, problems: int) -> None:
        message = _(
            "Pending processes: {processes}, on {problems} of these. They stay blocked: resolving decides nothing.",
            processes=processes,
            problems=problems,
        )
        super().__init__(message, "confirmed", code="pending_incidents")


class UnknownProblem(ProblemError):
    """One of many problems does not exist."""

    def __init__(self, number: int) -> None:
        super().__init__(_("There is no problem {number}.", number=str(number)), code="not_found")


class NoMergeTarget(ProblemError):
    """Many problems are to be merged, but not into which."""

    def __init__(self) -> None:
        super().__init__(_("Choose the problem that the others are merged into."), "into")


@dataclass(frozen=True, slots=True)
class Mute:
    """The end of a mute: at ``until``, after ``more`` events, or with an event of ``another_release``, whichever comes
    first. Without any of them a user ends it."""

    until: datetime | None = None
    more: int | None = None
    another_release: bool = False

    def check(self, now: datetime) -> None:
        """Raises ProblemError."""
        if self.until is not None and self.until.tzinfo is None:
            raise ProblemError(_("The end of the mute needs a time zone."), "until")
        if self.until is not None and self.until <= now:
            raise ProblemError(_("The end of the mute is in the past."), "until", code="time_in_past")
        if self.more is not None and not 1 <= self.more <= MORE_MAX:
            raise ProblemError(_("Choose from 1 to {most} events for a mute.", most=MORE_MAX), "more")


@dataclass(frozen=True, slots=True)
class ActiveMute:
    """A mute in force. ``until_count``: the total of events that ends it; ``releases``: the releases that it covers,
    None: all."""

    until: datetime | None
    until_count: int | None
    releases: Collection[str] | None

    def ended_by(self, *, count: int, releases: Collection[str], now: datetime) -> str:
        """Why it ends now, with ``count`` events in total and ``releases`` among the latest; empty: it does not."""
        if self.until is not None and now >= self.until:
            return "Its time is over."
        if self.until_count is not None and count >= self.until_count:
            return "The number of events that it was muted for is reached."
        others = (
            sorted(release for release in releases if release not in self.releases) if self.releases is not None else []
        )
        return f"It occurred in release {others[0]}." if others else ""


def validated_text(text: str, field: str, most: int) -> str:
    """``text`` without surrounding blanks. Raises ProblemError for a text that cannot be stored."""
    text = text.replace("\r\n", "\n")
    if "\0" in text:
        raise ProblemError(_("The text must not contain a NUL character."), field)
    if len(text) > most:
        raise ProblemError(
            _("The text has {count} characters; the maximum is {most}.", count=len(text), most=most), field
        )
    return text.strip()
