"""Requests and responses of the API for processes of Steward/ctrl nodes."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.process_actions import ActionKind, RequestKind
from errorkernel.models import ProcessAction
from errorkernel.web.schemas.common import INTEGER_MAX, WriteRequest, of_row


class NodeActionRequest(WriteRequest):
    """An action on a process of a Steward/ctrl node. ``process``: its method, as the node lists it; none for a list.
    ``event``: ``seq`` of the event that is the reason."""

    action: ActionKind
    process: Annotated[str, msgspec.Meta(max_length=64)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARS)] = ""
    event: Annotated[int, msgspec.Meta(ge=1, le=INTEGER_MAX)] | None = None


class NodeFormat(msgspec.Struct):
    """``kind``: the format of commands to a node, one of those that its messages had, in words."""

    kind: str = ""
    reason: str = ""


class ActionRequestItem(msgspec.Struct):
    """One message to the node and its reply; ``result`` is empty until the reply."""

    number: int
    ask: RequestKind
    result: str
    detail: str
    sent_at: datetime
    ended_at: datetime | None


class ActionItem(msgspec.Struct):
    """``state``: ``queued``, ``running``, ``done``, ``failed``, or ``unclear``: a person must check it. ``actor`` is
    ``user:<name>`` or ``rule:<id>`` with its ``rule_revision``. ``listed_processes``: those in the node's last list."""

    id: int
    node: str
    action: ActionKind
    process: str
    state: str
    summary: str
    actor: str
    rule: int | None
    rule_revision: int | None
    reason: str
    event: int | None
    problem: int | None
    created_at: datetime
    ended_at: datetime | None
    listed_processes: list[dict[str, Any]]
    requests: list[ActionRequestItem]


def action(row: ProcessAction) -> ActionItem:
    """Rows of ``store.actions.with_lines()`` need no further queries."""
    return of_row(
        ActionItem,
        row,
        node=row.node.name,
        action=row.plan,
        process=row.method,
        event=row.event_seq,
        problem=row.problem_id,
        rule=row.rule_id,
        requests=[of_row(ActionRequestItem, request) for request in row.requests.all()],
    )
