"""Parameters and fields of requests to pages, read strictly: what a page does not know would do nothing, and so show or
change something else than was meant. (``api_requests`` does the same for the JSON API.)
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from errorkernel.platform.parameters import BadParameter, check_fields, check_parameters

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

COMMON_FIELDS = ("csrfmiddlewaretoken", "next", "request_id")
"""Fields that every form may have: against forgery, the page to return to, and against a second press."""


def refuse(request: HttpRequest, why: str, *, status: int = 400) -> HttpResponse:
    """The error page for an invalid request. ``why``: one sentence in the reader's language."""
    return render(request, "errorkernel/invalid_input.html", {"why": why}, status=status)


def takes(*parameters: str, fields: tuple[str, ...] = ()) -> Callable[[View[P]], View[P]]:
    """A view whose address has no other ``parameters`` and whose form has no other ``fields``, beside COMMON_FIELDS.

    Others are answered 400 with the nearest known name, and so is every BadParameter that the view raises.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def strict(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                check_parameters(request.GET, parameters)
                check_fields(request.POST, (*fields, *COMMON_FIELDS))
                return view(request, *args, **kwargs)
            except BadParameter as exc:
                return refuse(request, str(exc))

        return strict

    return decorate
