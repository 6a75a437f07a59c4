"""The checks as Django views: only asked where Django serves alone, without ``ProbesFirst`` before it."""

from collections.abc import Awaitable, Callable

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from errorkernel.web.health import checks


def view_of(check: Callable[[], Awaitable[checks.Answer]]) -> Callable[[HttpRequest], HttpResponse]:
    """A view of this check; other methods get 405 before any check of the sender."""

    @csrf_exempt
    @never_cache
    @require_safe
    def view(request: HttpRequest) -> HttpResponse:
        answer = async_to_sync(check)()
        return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)

    return view
