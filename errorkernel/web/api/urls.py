"""The addresses below ``/api/v1/``: of nodes, and of all operations and lists. Errors are JSON, also for wrong keys."""

from collections import defaultdict
from collections.abc import Callable

from django.http import HttpResponse
from django.urls import URLPattern, path, re_path
from django.views.decorators.http import conditional_page

from errorkernel.web.api.openapi import page
from errorkernel.web.auth.api_requests import by_method, unknown
from errorkernel.web.node_api import views
from errorkernel.web.operations.json_view import json_view
from errorkernel.web.operations.listing import listing_view
from errorkernel.web.operations.registry import registry

View = Callable[..., HttpResponse]


def _addresses() -> list[URLPattern]:
    """One for each route, with its methods. HEAD is allowed where GET only reads, not where a node waits."""
    found: dict[str, dict[str, View]] = defaultdict(dict)
    found["events"]["POST"] = views.post_events
    found["commands"]["GET"] = views.get_commands
    found["incidents/<str:incident_id>/decision"]["GET"] = views.await_decision
    found["incidents/<str:incident_id>/outcome"]["POST"] = views.post_outcome
    for operation in registry.operations:
        if operation.is_in_api:
            view = json_view(operation)
            found[operation.api_route] |= _reads(view) if operation.method == "GET" else {operation.method: view}
    for listing in registry.lists:
        found[listing.route] |= _reads(listing_view(listing))
    found["openapi.json"] |= _reads(page.openapi)
    found["docs"] |= _reads(page.page)
    # Routes without a key first: ``rules/dry-run`` is no rule.
    routes = sorted(found, key=lambda route: "<" in route)
    return [path(route, by_method(found[route]), name=address_name(route)) for route in routes]


def _reads(view: View) -> dict[str, View]:
    """``ETag`` and 304 by the content."""
    view = conditional_page(view)
    return {"GET": view, "HEAD": view}


def address_name(route: str) -> str:
    """``api-incidents-decision``, without the keys."""
    return "-".join(["api", *(part for part in route.split("/") if not part.startswith("<"))])


urlpatterns = [
    *_addresses(),
    # Last: everything else.
    re_path(r"", unknown),
]
