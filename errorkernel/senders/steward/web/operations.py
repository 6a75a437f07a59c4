"""Operations on Steward/ctrl nodes, by a form or by the API: act on a process, choose the format of commands."""

from typing import Any

import msgspec
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.process_actions import ActionKind
from errorkernel.models import Node, ProcessAction
from errorkernel.platform import conf
from errorkernel.platform.parameters import BadParameter, number, short
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.senders.steward.store.dialects import NotSeen
from errorkernel.senders.steward.web import actions as pages
from errorkernel.senders.steward.web.schemas import ActionItem, NodeActionRequest, NodeFormat, action
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.permissions import DECIDE
from errorkernel.web.console.nodes import node_named
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Refused, Resource
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS
from errorkernel.web.schemas.errors import ErrorCode, define

METHOD_MAX_CHARS = 64


def _act(key: int, given: NodeActionRequest, actor: Actor) -> ProcessAction:
    if conf.get().legacy == "off":
        raise ActionRefused(
            "STEWARD_LEGACY is off: the kernel does not speak to nodes of Steward and ctrl.", "steward_disabled"
        )
    wish = ActionRequest(
        given.action,
        "" if given.action is ActionKind.LIST else short(given.process, METHOD_MAX_CHARS),
        short(given.reason, REASON_MAX_CHARS),
        given.event,
        given.request_key,
    )
    made = actions.request(Node.objects.get(pk=key).name, wish, actor)
    return actions.with_lines().get(pk=made.pk)


def _read_action(given: QueryDict, actor: Actor) -> NodeActionRequest:
    """The pressed button chooses the action. Raises BadParameter."""
    chosen = given.get("action", "")
    if chosen not in list(ActionKind):
        raise BadParameter(_("Choose an action: list, stop, start or kill."))
    return NodeActionRequest(
        action=ActionKind(chosen),
        # A start has its own choice: processes that may run and are not listed.
        process=given.get("absent" if chosen == ActionKind.START else "process", ""),
        reason=given.get("reason", ""),
        event=number(given, "event"),
        request_id=short(given.get("request_id", ""), REQUEST_ID_MAX_CHARS),
    )


def _show_action(done: Done) -> HttpResponse:
    return HttpResponseRedirect(reverse("steward-action", args=[done.result.node.name, done.result.pk]))


def _choose_format(key: int, given: NodeFormat, actor: Actor) -> Node:
    node = Node.objects.get(pk=key)
    reason = short(given.reason, REASON_MAX_CHARS)
    if not reason:
        raise BadParameter(_("A reason is required. It is stored and shown to others."))
    try:
        dialects.choose(node.name, given.kind, reason, actor)
    except NotSeen:
        raise NotSeen(_("No such message arrived recently. Refresh the page.")) from None
    return node


def _show_refusal(refused: Refused) -> HttpResponse:
    """The page of the node's processes, with the reason and what was typed."""
    node = Node.objects.get(pk=refused.key)
    return pages.show(refused.request, node, notice=str(refused.error), status=refused.status)


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


def _resource(item: type[msgspec.Struct], encode: Any) -> Resource:
    return Resource(
        address="nodes",
        noun="node",
        item=item,
        encode=encode,
        missing=Node.DoesNotExist,
        page="act",
        show_refusal=_show_refusal,
    )


def _key_of(name: str) -> int:
    """Raises Http404."""
    return node_named(name).pk


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="actOnNode",
        summary="List, stop, start or kill a process of a Steward or ctrl node",
        resource=_resource(ActionItem, action),
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
        form=Form(
            verb="act",
            find_key=_key_of,
            read=_read_action,
            fields=("action", "process", "absent", "reason", "event"),
            message=gettext_lazy("The action has been queued. This page shows its progress."),
            after=_show_action,
        ),
    ),
    Operation(
        name="chooseFormat",
        summary="Choose the format of commands to a Steward or ctrl node",
        resource=_resource(msgspec.Struct, lambda node: msgspec.Struct()),
        verb="format",
        audit_verb="steward dialect",
        permission=DECIDE,
        request=NodeFormat,
        handler=_choose_format,
        refusals=(Refusal(error=NotSeen, codes=("unknown_format",)),),
        is_in_api=False,
        form=Form(find_key=_key_of, message=gettext_lazy("Commands to this node now use this format.")),
    ),
)
