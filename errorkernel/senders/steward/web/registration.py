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
from errorkernel.domain.sender_names import without_suffix
from errorkernel.models import ErrorEvent, Node, ProcessAction, ProcessActionRequest, Rule
from errorkernel.platform.parameters import short
from errorkernel.senders.steward.protocol import text_record
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.senders.steward.web import actions as pages
from errorkernel.senders.steward.web.schemas import ActionItem, ActionRequestItem, NodeActionRequest, action
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.api_requests import ApiError
from errorkernel.web.auth.permissions import DECIDE
from errorkernel.web.console.contributions import contribute
from errorkernel.web.operations.listing import Listing
from errorkernel.web.operations.operation import Operation, Refusal, Resource
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS

SHOWN_ON_A_NODE = 3
SHOWN_ELSEWHERE = 20


def _act(key: int, given: NodeActionRequest, actor: Actor) -> ProcessAction:
    node = Node.objects.get(pk=key)
    wish = ActionRequest(
        given.action,
        "" if given.action is ActionKind.LIST else short(given.process, 64),
        short(given.reason, REASON_MAX_CHARS),
        given.event,
        short(given.request_id, REQUEST_ID_MAX_CHARS),
    )
    made = pages.request_action(node.name, wish, actor)
    return actions.with_lines().get(pk=made.pk)


def _of_node(node_id: int) -> QuerySet[ProcessAction]:
    if not Node.objects.filter(pk=node_id).exists():
        raise ApiError(404, "There is no such node.")
    return actions.with_lines().filter(node=node_id)


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
        refusals=(Refusal(error=ActionRefused),),
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
    tables={ActionItem: ProcessAction, ActionRequestItem: ProcessActionRequest},
)
