"""Command palette: finds nodes, processes and problems by a few letters, as a page or as a list for the dialog."""

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.models import Node, Problem, Process
from errorkernel.platform.parameters import name_of
from errorkernel.web.auth.permissions import VIEW, is_fetched, needs

SHOWN = 8
TEXT_MAX_CHARS = 200


@needs(VIEW, "q")
def jump(request: HttpRequest) -> HttpResponse:
    """Some matches for ``q`` of each kind; a script gets the list alone."""
    text = name_of(request.GET, "q").strip()[:TEXT_MAX_CHARS]
    context = {"query": text, **(found(text) if text else {})}
    return render(
        request,
        "errorkernel/_search_results.html" if is_fetched(request) else "errorkernel/command_palette.html",
        context,
    )


def found(text: str) -> dict[str, list[Node] | list[Process] | list[Problem]]:
    """Nodes and processes by name, problems by kind and title, the most recent first."""
    processes = Process.objects.select_related("node").filter(name__icontains=text)
    problems = Problem.objects.filter(Q(kind__icontains=text) | Q(title__icontains=text))
    return {
        "nodes": list(Node.objects.filter(name__icontains=text).order_by("name")[:SHOWN]),
        "processes": list(processes.order_by("-last_seen")[:SHOWN]),
        "problems": list(problems.order_by("-last_seen")[:SHOWN]),
    }
