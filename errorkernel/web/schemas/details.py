"""One item with everything that is known of it: the shape of its list, and more."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from errorkernel.models import AuditEntry, Comment, ErrorEvent, Incident, Problem, Rule
from errorkernel.web.schemas import items
from errorkernel.web.schemas.common import of_row
from errorkernel.web.schemas.items import EventItem, IncidentItem, ProblemItem, RuleItem

KEPT_SHOWN = 100
"""Comments and entries of the history, the newest last."""


class HistoryEntry(msgspec.Struct):
    """One change: who did what, why, and the values before and after."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class CommentItem(msgspec.Struct):
    """What somebody wrote on a problem, or on its ``incident``."""

    id: int
    incident: UUID | None
    at: datetime
    author: str
    text: str


class EventDetail(EventItem, kw_only=True):
    """A stored event with its stack trace."""

    stack: str


class IncidentDetail(IncidentItem):
    """An incident with the stack trace and the tags of its event, the comments on it and its problem, and its history.

    ``stack`` and ``tags`` are null once the event is not stored any more."""

    stack: str | None
    tags: dict[str, str] | None
    comments: list[CommentItem]
    history: list[HistoryEntry]


class ProblemDetail(ProblemItem):
    """A problem with its parts, comments and history; those of its parts are included."""

    parts: list[int]
    pending: int
    comments: list[CommentItem]
    history: list[HistoryEntry]


class TakenIncident(IncidentItem):
    """An incident after a take or release. ``taken_over_from``: ``user:<name>`` of the other person who had it."""

    taken_over_from: str | None


class TakenProblem(ProblemItem):
    """A problem after a take or release. ``taken_over_from``: ``user:<name>`` of the other person who had it."""

    taken_over_from: str | None


class RuleDetail(RuleItem):
    """A rule with its history."""

    history: list[HistoryEntry]


def event(row: Any) -> EventDetail:
    """An event of ``stored("stack")``."""
    return EventDetail(**_fields(items.event(row)), stack=row.stack)


def incident(row: Incident, found: ErrorEvent | None, members: list[int]) -> IncidentDetail:
    """``found``: its event; ``members``: its problem and what is merged with it."""
    listed = items.incident(row, found.cut if found else None)
    return IncidentDetail(
        **_fields(listed),
        stack=found.stack if found else None,
        tags=found.tags if found else None,
        comments=_comments(members),
        history=_history(f"incident:{row.pk}"),
    )


def problem(row: Problem, members: list[int], pending: int) -> ProblemDetail:
    """``members``: the problem and its parts."""
    return ProblemDetail(
        **_fields(items.problem(row)),
        parts=[member for member in members if member != row.pk],
        pending=pending,
        comments=_comments(members),
        history=_history(*(f"problem:{member}" for member in members)),
    )


def rule(row: Rule) -> RuleDetail:
    return RuleDetail(**_fields(items.rule(row)), history=_history(f"rule:{row.pk}"))


def _fields(listed: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(listed, name) for name in listed.__struct_fields__}


def taken_incident(row: Incident, previous: str) -> TakenIncident:
    """``previous``: the name of the other person, or empty."""
    found = ErrorEvent.objects.filter(seq=row.seq).values_list("cut", flat=True).first()
    return TakenIncident(**_fields(items.incident(row, found)), taken_over_from=_user(previous))


def taken_problem(row: Problem, previous: str) -> TakenProblem:
    """``previous``: the name of the other person, or empty."""
    return TakenProblem(**_fields(items.problem(row)), taken_over_from=_user(previous))


def _user(name: str) -> str | None:
    return f"user:{name}" if name else None


def comment(row: Comment) -> CommentItem:
    return of_row(CommentItem, row, incident=row.incident_id)


def _comments(problems: list[int]) -> list[CommentItem]:
    newest = Comment.objects.filter(problem__in=problems).order_by("-pk")[:KEPT_SHOWN]
    return [comment(row) for row in reversed(newest)]


def _history(*targets: str) -> list[HistoryEntry]:
    newest = AuditEntry.objects.filter(target__in=targets).order_by("-pk")[:KEPT_SHOWN]
    return [of_row(HistoryEntry, entry) for entry in reversed(newest)]
