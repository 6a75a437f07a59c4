"""Who may see a page: people who are logged in and hold the permission; everybody else is told what to do."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

VIEW = "errorkernel.view_incident"
ANSWER = "errorkernel.answer_incident"
ADD_NODES = "errorkernel.add_node"
AUDIT = "errorkernel.view_auditentry"
SEE_RULES = "errorkernel.view_rule"
CHANGE_RULES = "errorkernel.change_rule"
SEE_REFUSED = "errorkernel.view_quarantinedmessage"
SEE_SETTINGS = "errorkernel.change_node"
"""Who administers nodes administers the product: paths and addresses of the machine are of no use to others."""
SEE_DEAD_LETTERS = "errorkernel.view_deadletter"

FETCHED = "X-Steward-Card"
"""Header of a request that our script made: it wants the card alone, and a status instead of a redirect."""


def is_fetched(request: HttpRequest) -> bool:
    return FETCHED in request.headers


def needs(permission: str) -> Callable[[View[P]], View[P]]:
    """A view for people with ``permission``: others get the login page (401 for scripts) or 403."""

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                if is_fetched(request):
                    return HttpResponse("Signed out.", status=401, content_type="text/plain")
                # After a login, a page is worth returning to; an answer is not, it would be a GET of a POST address.
                return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate
