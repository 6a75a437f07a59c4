"""Registers the operation, list and pages for Steward/ctrl nodes, and their parts of other pages.

Imported by ``steward_site.urls``; ``web`` does not depend on it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import path

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.process_actions import ActionKind
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.sender_names import without_suffix
from errorkernel.models import ErrorEvent, Node, ProcessAction, Rule
from errorkernel.platform.parameters import short
from errorkernel.senders.steward.protocol import text_record
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.senders.steward.web import actions as pages
from errorkernel.senders.steward.web.schemas import ActionItem, ActionRequestItem, NodeActionRequest, action
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.permissions import DECIDE
from errorkernel.web.console.contributions import contribute
from errorkernel.web.operations.listing import Listing
from errorkernel.web.operations.operation import Operation, Refusal, Resource
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.errors import ErrorCode, define

SHOWN_ON_A_NODE = 3
SHOWN_ELSEWHERE = 20


def _act(key: int, given: NodeActionRequest, actor: Actor) -> ProcessAction:
    node = Node.objects.get(pk=key)
    wish = ActionRequest(
        given.action,
        "" if given.action is ActionKind.LIST else short(given.process, 64),
        short(given.reason, REASON_MAX_CHARS),
        given.event,
        given.request_key,
    )
    made = pages.request_action(node.name, wish, actor)
    return actions.with_lines().get(pk=made.pk)


def _of_node(node_id: int) -> QuerySet[ProcessAction]:
    if not Node.objects.filter(pk=node_id).exists():
        raise OperationRefused("There is no such node.", "not_found")
    return actions.with_lines().filter(node=node_id)


_CODES = {
    "process_busy": ("The process is being acted on", "The same process is being acted on already."),
    "unknown_process": ("No such process", "This is not one of the processes that can be stopped and started."),
    "reason_needed": ("A reason is needed", "Give a reason to kill a process. It is kept in the history."),
    "too_many_actions": ("Too many actions", "There were 20 actions on this node within a minute."),
    "unknown_format": ("The format of the node is not known", "Choose the format of the node first."),
    "node_disabled": ("The node is disabled", "This node is disabled."),
    "steward_disabled": ("Steward nodes are switched off", "STEWARD_LEGACY is off."),
}
define(*(ErrorCode(name, 409, title, example) for name, (title, example) in _CODES.items()))
_OPERATIONS = (
    Operation(
        name="actOnNode",
        summary="List, stop, start or kill a process of a Steward or ctrl node",
        resource=Resource(
            address="nodes", noun="node", item=ActionItem, encode=action, missing=Node.DoesNotExist, page="node"
        ),
        verb="actions",
        audit_verb="steward <action>",
        permission=DECIDE,
        request=NodeActionRequest,
        example={"action": "kill", "process": "REQHttpGet", "reason": "It hangs."},
        handler=_act,
        status=202,
        done="It is going to be done; this is how far it is",
        refusals=(Refusal(error=ActionRefused, codes=(*_CODES, "request_id_reused")),),
        keeps_request_id=True,
    ),
)
_LISTS = (
    Listing(
        name="listActions",
        summary="Actions on a node's processes",
        route="nodes/<str:number>/actions",
        permission="errorkernel.view_node",
        item=ActionItem,
        encode=lambda row, now: action(row),
        rows=_of_node,
    ),
)
_PAGES = (
    path("nodes/<str:name>/actions/", pages.page, name="act"),
    path("nodes/<str:name>/actions/<int:action_id>/", pages.action, name="steward-action"),
)


def _on_node(node: Node, now: datetime) -> dict[str, Any]:
    shown = actions.with_lines().filter(node=node)[:SHOWN_ON_A_NODE]
    return {"actions": shown, "in_doubt": dialects.in_doubt(node, now)}


def _on_event(event: ErrorEvent, now: datetime) -> dict[str, Any]:
    """``line``: the event as a line of a Steward error log."""
    node = without_suffix(event.node.name)
    line = text_record.line(event.occurred_at or event.received_at, node, event.relay_from_node, event.text)
    return {"actions": actions.of_event(event), "line": line}


def _on_problem(members: Sequence[int], now: datetime) -> dict[str, Any]:
    return {"actions": actions.with_lines().filter(problem__in=members)[:SHOWN_ELSEWHERE]}


def _on_rule(rule: Rule, now: datetime) -> dict[str, Any]:
    return {"acted": actions.with_lines().filter(rule=rule)[:SHOWN_ELSEWHERE]}


contribute("node", _on_node)
contribute("event", _on_event)
contribute("problem", _on_problem)
contribute("rule", _on_rule)
registry.register(
    operations=_OPERATIONS,
    lists=_LISTS,
    pages=_PAGES,
    shapes=(ActionRequestItem,),
)
