"""Access to pages: for logged-in users with the permission; others get the login page or an explanation."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from django.contrib.auth.models import Group
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from errorkernel.web.auth.page_requests import View, takes

P = ParamSpec("P")

VIEW = "errorkernel.view_incident"
DECIDE = "errorkernel.decide_incident"
ADD_NODES = "errorkernel.add_node"
AUDIT = "errorkernel.view_auditentry"
SEE_RULES = "errorkernel.view_rule"
CHANGE_RULES = "errorkernel.change_rule"
SEE_REFUSED = "errorkernel.view_rejectedevent"
SEE_SETTINGS = "errorkernel.change_node"
"""Of administrators of nodes, because the settings contain paths and addresses of the machine."""
SEE_DEAD_LETTERS = "errorkernel.view_deadletter"

FETCHED = "X-Steward-Card"
"""Header of a request by the page's script, which expects the card alone and a status instead of a redirect."""


class Missing(PermissionDenied):
    """The user lacks the required ``permission``."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


def is_fetched(request: HttpRequest) -> bool:
    return FETCHED in request.headers


def needs(permission: str, *parameters: str, fields: tuple[str, ...] = ()) -> Callable[[View[P]], View[P]]:
    """A view for people with ``permission``: others get the login page (401 for scripts) or 403.

    ``parameters``, ``fields``: all that it reads from the address and from a form (see ``takes``).
    """

    def decorate(view: View[P]) -> View[P]:
        strict = takes(*parameters, fields=fields)(view)

        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                if is_fetched(request):
                    return HttpResponse("Signed out.", status=401, content_type="text/plain")
                # After the login the user returns to a page, but not to the address of a form, which has no GET.
                return redirect_to_login(request.get_full_path() if request.method == "GET" else reverse("triage"))
            if not request.user.has_perm(permission):
                raise Missing(permission)
            return strict(request, *args, **kwargs)

        return guarded

    return decorate


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The error page for missing permissions: the group that has them, the user's groups, and a link back."""
    context = {
        "group": _narrowest_group(exception.permission) if isinstance(exception, Missing) else None,
        "groups": request.user.groups.order_by("name").values_list("name", flat=True),
        "needs_staff": request.path.startswith(reverse("admin:index")) and not request.user.is_staff,
        "back": _page_before(request),
    }
    return render(request, "403.html", context, status=403)


def _narrowest_group(permission: str) -> str | None:
    """The group with this permission that has the fewest others."""
    app, _separator, codename = permission.partition(".")
    holding = Group.objects.filter(permissions__content_type__app_label=app, permissions__codename=codename)
    return min(((group.permissions.count(), group.name) for group in holding), default=(0, None))[1]


def _page_before(request: HttpRequest) -> str | None:
    """The previous page, if it is one of the product."""
    before = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(before, {request.get_host()}, require_https=request.is_secure())
    return before if is_ours and before != request.build_absolute_uri() else None
