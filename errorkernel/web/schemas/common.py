"""The shapes of the requests and responses of the HTTP API, one struct each.

Responses are made from them and the OpenAPI document is derived from them, so both have the same fields. The payloads
of nodes are in ``errorkernel.protocol``.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.values import Action

REQUEST_ID_MAX_CHARS = 64
INTEGER_MAX = 2**63 - 1
NO_NUL = r"^[^\u0000]*$"
T = TypeVar("T", bound=msgspec.Struct)


def schema_hint(**keywords: Any) -> msgspec.Meta:
    """Limits for the document only: ``domain.rule_policy`` checks them and reports the field."""
    return msgspec.Meta(extra_json_schema=keywords)


def of_row(shape: type[T], row: Any, **more: Any) -> T:
    """``shape`` with the values of ``more``, and of the columns with the same names."""
    columns = {name: getattr(row, name) for name in shape.__struct_fields__ if name not in more}
    return shape(**columns, **more)


class ErrorBody(msgspec.Struct):
    """The error in one sentence for the author of the client."""

    error: str


class SearchError(msgspec.Struct, omit_defaults=True):
    """``position``: of the error in ``q``, in characters from 0."""

    error: str
    position: int | None = None


class Refusal(msgspec.Struct):
    """``index``: position of the event in the body, from 0."""

    index: int
    error: str


class EventsAccepted(msgspec.Struct):
    """The broker has stored ``accepted``; ``rejected`` are invalid and will never be accepted unchanged."""

    accepted: list[UUID]
    rejected: list[Refusal]


class NoEventsAccepted(msgspec.Struct):
    """The body is invalid, or all of its events are."""

    error: str
    accepted: list[UUID]
    rejected: list[Refusal]


class OutcomeAccepted(msgspec.Struct):
    """The incident whose outcome the broker has stored."""

    accepted: list[UUID]


class UnknownIncident(msgspec.Struct, omit_defaults=True):
    """``state``: ``withdrawn`` if the incident existed and will not be decided."""

    error: str
    state: State | None = None


class Answer(msgspec.Struct):
    """An operator's decision. ``request_id``: any unique text; a repeated request with it has no further effect."""

    action: Action
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] | None = None
    request_id: (
        Annotated[str, msgspec.Meta(max_length=REQUEST_ID_MAX_CHARS)]
        | Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
        | None
    ) = None


class RecordedDecision(msgspec.Struct):
    """The recorded decision; ``by`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    incident: UUID
    decision_id: UUID
    action: Action
    by: str
    reason: str
    decided_at: datetime


class DecidedByOther(msgspec.Struct):
    """Another decision was first; ``winner`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    error: str
    winner: str
    action: Action
    reason: str
    decided_at: datetime


class NoLongerOpen(msgspec.Struct):
    """The incident is no longer open."""

    error: str
    state: State


class Readiness(msgspec.Struct):
    """``checks``: state of ``database``, ``broker`` and ``kernel``; ``why``: a sentence for each failed check."""

    ready: bool
    checks: dict[str, bool]
    why: list[str]
