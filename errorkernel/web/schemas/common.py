"""The shapes of the requests and responses of the HTTP API, one struct each.

Responses are made from them and the OpenAPI document is derived from them, so both have the same fields. The payloads
of nodes are in ``errorkernel.protocol``.
"""

from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.values import Action
from errorkernel.web.schemas.errors import ErrorBody

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


RequestId: TypeAlias = (
    Annotated[str, msgspec.Meta(max_length=REQUEST_ID_MAX_CHARS)]
    | Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
    | None
)


class WriteRequest(msgspec.Struct, kw_only=True):
    """A change. ``request_id``: any text of your own; the same request with it again returns the first result."""

    request_id: RequestId = None

    @property
    def request_key(self) -> str:
        """``request_id`` as a text without surrounding spaces or NUL; empty without one."""
        return "" if self.request_id is None else str(self.request_id).replace("\0", "").strip()


class Refusal(msgspec.Struct):
    """``index``: position of the event in the body, from 0."""

    index: int
    error: str


class EventsAccepted(msgspec.Struct):
    """The broker has stored ``accepted``; ``rejected`` are invalid and will never be accepted unchanged."""

    accepted: list[UUID]
    rejected: list[Refusal]


class NoEventsAccepted(ErrorBody, kw_only=True):
    """The body is invalid, or all of its events are."""

    accepted: list[UUID]
    rejected: list[Refusal]


class OutcomeAccepted(msgspec.Struct):
    """The incident whose outcome the broker has stored."""

    accepted: list[UUID]


class UnknownIncident(ErrorBody, kw_only=True, omit_defaults=True):
    """``state``: ``withdrawn`` if the incident existed and will not be decided."""

    state: State | None = None


class Answer(WriteRequest):
    """An operator's decision."""

    action: Action
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] | None = None


class RecordedDecision(msgspec.Struct):
    """The recorded decision; ``by`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    incident: UUID
    decision_id: UUID
    action: Action
    by: str
    reason: str
    decided_at: datetime


class DecidedByOther(ErrorBody, kw_only=True):
    """Another decision was first; ``winner`` is ``user:<name>``, ``rule:<id>`` or ``deadline``."""

    winner: str
    action: Action
    reason: str
    decided_at: datetime


class NoLongerOpen(ErrorBody, kw_only=True):
    """The incident is no longer open."""

    state: State


class Readiness(msgspec.Struct):
    """``checks``: state of ``database``, ``broker`` and ``kernel``; ``why``: a sentence for each failed check."""

    ready: bool
    checks: dict[str, bool]
    why: list[str]
