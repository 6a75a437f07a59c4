"""Pages and forms for processes of a Steward/ctrl node: list, stop, start and kill."""

from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.process_actions import ActionKind
from errorkernel.domain.sender_names import without_suffix
from errorkernel.models import ErrorEvent, Node, ProcessAction
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, number, short
from errorkernel.senders.steward.protocol.operator_messages import Listed, subscriber_of
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.page_requests import refuse
from errorkernel.web.auth.permissions import DECIDE, VIEW, needs
from errorkernel.web.console.nodes import node_named
from errorkernel.web.schemas.common import REQUEST_ID_MAX_CHARS

ACTIONS_SHOWN = 20
FIELDS = ("action", "process", "absent", "reason", "event", "kind")


@require_http_methods(["GET", "POST"])
@needs(VIEW, "event", fields=FIELDS)
def page(request: HttpRequest, name: str) -> HttpResponseBase:
    """The node's processes, the possible actions and the past ones. ``event``: the event that the page was opened from.

    A POST requests an action and redirects to its page; 409 if it cannot be done now.
    """
    found = node_named(name)
    if request.method == "POST":
        return _act(request, name)
    event = _event(found, number(request.GET, "event"))
    return render(request, "errorkernel/process_actions.html", _context(found, event))


@needs(DECIDE, "event", fields=FIELDS)
def _act(request: HttpRequest, name: str) -> HttpResponse:
    given = request.POST
    plan = given.get("action", "")
    if plan == "speak":
        return _settle(request, name)
    if plan not in list(ActionKind):
        return refuse(request, _("Choose an action: list, stop, start or kill."))
    # A start has its own choice: processes that may run and are not listed.
    method = given.get("absent" if plan == ActionKind.START else "process", "") if plan != ActionKind.LIST else ""
    try:
        wish = ActionRequest(
            ActionKind(plan),
            short(method, 64),
            short(given.get("reason", ""), REASON_MAX_CHARS),
            number(given, "event"),
            short(given.get("request_id", ""), REQUEST_ID_MAX_CHARS),
        )
        action = request_action(name, wish, actor_of(request))
    except ActionRefused as exc:
        return refuse(request, str(exc), status=409)
    messages.success(request, _("The action has been queued. This page shows its progress."))
    return HttpResponseRedirect(reverse("steward-action", args=[name, action.pk]))


def _settle(request: HttpRequest, name: str) -> HttpResponse:
    """Choose the node's dialect."""
    reason = short(request.POST.get("reason", ""), REASON_MAX_CHARS)
    if not reason:
        return refuse(request, _("A reason is required. It is stored and shown to others."))
    try:
        dialects.choose(name, request.POST.get("kind", ""), reason, actor_of(request))
    except dialects.NotSeen:
        return refuse(request, _("No such message arrived recently. Refresh the page."), status=409)
    messages.success(request, _("Commands to this node now use this format."))
    return HttpResponseRedirect(reverse("act", args=[name]))


def request_action(name: str, wish: ActionRequest, actor: Actor) -> ProcessAction:
    """Raises ActionRefused."""
    if conf.get().legacy == "off":
        raise ActionRefused(
            "STEWARD_LEGACY is off: the kernel does not speak to nodes of Steward and ctrl.", "steward_disabled"
        )
    return actions.request(name, wish, actor)


@needs(VIEW)
def action(request: HttpRequest, name: str, action_id: int) -> HttpResponse:
    """One action, with its lines."""
    found = actions.with_lines().filter(node=node_named(name), pk=min(action_id, LARGEST)).first()
    if found is None:
        raise Http404
    return render(request, "errorkernel/process_action.html", {"section": "nodes", "node": found.node, "action": found})


def _event(node: Node, seq: int | None) -> ErrorEvent | None:
    if seq is None:
        return None
    return ErrorEvent.objects.select_related("process").filter(node=node, seq=min(seq, LARGEST)).first()


def _context(node: Node, event: ErrorEvent | None) -> dict[str, Any]:
    now = timezone.now()
    dialect = dialects.spoken(node, now)
    doubt = dialects.in_doubt(node, now)
    last = actions.with_lines().filter(node=node).exclude(listed_processes=[]).first()
    may = actions.choices(dialect) if dialect else []
    listed = _listed(last, node)
    guess = event.reported_process if event else ""
    running = {method for _process, method in listed}
    return {
        "section": "nodes",
        "node": node,
        "event": event,
        "guess": guess,
        "guess_or": event.tags.get("process_or", "") if event else "",
        "understood": dialect is not None,
        "kinds": [dialects.describe(kind) for kind in dialects.kinds(node, now)] if doubt else [],
        "spoken_to": conf.get().legacy != "off",
        "last": last,
        "processes": [(process, method, method in may) for process, method in listed],
        "guess_listed": guess in running,
        "absent": [method for method in may if method not in running],
        "actions": actions.with_lines().filter(node=node)[:ACTIONS_SHOWN],
    }


def _listed(last: ProcessAction | None, node: Node) -> list[tuple[Listed, str]]:
    """The node's last list, each line with the method of its subscriber; empty for other processes."""
    lines = msgspec.convert(last.listed_processes, list[Listed]) if last else []
    return sorted(
        ((line, subscriber_of(line, without_suffix(node.name))) for line in lines), key=lambda line: line[0].name
    )
