"""The error-state map: the fleet as a tree of nodes and processes that opens by links."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.models import Node, Process
from errorkernel.platform.parameters import LARGEST, name_of, number
from errorkernel.store.status import error_map
from errorkernel.web.auth.permissions import VIEW, needs
from errorkernel.web.console.nodes import node_named
from errorkernel.web.console.pager import Pager, first_row
from errorkernel.web.console.pending import ROWS_A_PAGE

STATES_SHOWN = 200


@needs(VIEW, "node", "process", "page")
def show(request: HttpRequest) -> HttpResponse:
    """``node`` and ``process`` (its number): the open branch; ``page``: of the nodes."""
    page, name = number(request.GET, "page") or 1, name_of(request.GET, "node")
    process_id = number(request.GET, "process")
    first = first_row(page, ROWS_A_PAGE)
    nodes = list(Node.objects.order_by("name")[first : first + ROWS_A_PAGE])
    opened = node_named(name) if name else None
    if opened and opened not in nodes:
        nodes = [opened]  # alone, so that it is visible without scrolling
    met = error_map.by_node([node.pk for node in nodes])
    context = {
        "section": "nodes",
        "pager": Pager.numbered({}, page, ROWS_A_PAGE, Node.objects.count()),
        "nodes": [(node, met.get(node.pk)) for node in nodes],
        "opened": opened,
        **(_branch(opened, process_id) if opened else {}),
    }
    return render(request, "errorkernel/error_map.html", context)


def _branch(node: Node, process_id: int | None) -> dict[str, object]:
    """The open branch of ``node``."""
    met = error_map.by_process(node.pk)
    processes = Process.objects.filter(pk__in=list(met)[: error_map.PROCESSES_MAX]).order_by("name")
    shown: dict[str, object] = {"processes": [(process, met[process.pk]) for process in processes]}
    if process_id is None:
        return shown
    found = Process.objects.filter(node=node, pk=min(process_id, LARGEST)).first()
    if found is None:
        raise Http404
    states = error_map.states().filter(process=found).order_by("-last_seen")
    return shown | {"process": found, "states": states[:STATES_SHOWN], "states_most": STATES_SHOWN}
