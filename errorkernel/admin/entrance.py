"""The admin uses the console's login page. It shows a signed-in person who lacks the permission the reason."""

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse


def login(request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
    """Replaces Django's page, which asks a logged-in user to log in again."""
    if request.user.is_authenticated and not admin.site.has_permission(request):
        raise PermissionDenied
    return redirect_to_login(request.GET.get("next") or reverse("admin:index"))
