"""Pages for processes of a Steward/ctrl node: list, stop, start and kill."""

from typing import Any

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.sender_names import without_suffix
from errorkernel.models import ErrorEvent, Node, ProcessAction
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, number
from errorkernel.senders.steward.protocol.operator_messages import Listed, subscriber_of
from errorkernel.senders.steward.store import actions, dialects
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.nodes import node_named

ACTIONS_SHOWN = 20


@needs(VIEW, "event")
def page(request: HttpRequest, name: str) -> HttpResponse:
    """The node's processes, the possible actions and the past ones. ``event``: the event that the page was opened
    from."""
    return show(request, node_named(name))


def show(request: HttpRequest, node: Node, *, notice: str = "", status: int = 200) -> HttpResponse:
    """``notice``: why an operation was refused; the form then holds what was typed."""
    event = _event(node, number(request.POST or request.GET, "event"))
    context = _context(node, event) | {"notice": notice, "typed": request.POST}
    guess = context["guess"]
    context["chosen"] = request.POST.get("process", guess)
    context["chosen_absent"] = request.POST.get("absent", guess)
    return render(request, "errorkernel/process_actions.html", context, status=status)


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
