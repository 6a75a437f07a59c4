"""Registers the operations, list and pages for Steward/ctrl nodes, and their parts of other pages.

Imported by ``steward_site.urls``; ``web`` does not depend on it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import path

from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.sender_names import without_suffix
from errorkernel.models import ErrorEvent, Node, ProcessAction, Rule
from errorkernel.senders.steward.protocol import text_record
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.senders.steward.web import actions as pages
from errorkernel.senders.steward.web.operations import OPERATIONS
from errorkernel.senders.steward.web.schemas import ActionItem, ActionRequestItem, action
from errorkernel.web.console.contributions import contribute
from errorkernel.web.operations.listing import Listing
from errorkernel.web.operations.registry import registry

SHOWN_ON_A_NODE = 3
SHOWN_ELSEWHERE = 20


def _of_node(node_id: int) -> QuerySet[ProcessAction]:
    if not Node.objects.filter(pk=node_id).exists():
        raise OperationRefused("There is no such node.", "not_found")
    return actions.with_lines().filter(node=node_id)


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
    operations=OPERATIONS,
    lists=_LISTS,
    pages=_PAGES,
    shapes=(ActionRequestItem,),
)
