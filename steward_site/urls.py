"""Which address leads where: wiring only."""

from django.contrib import admin
from django.urls import include, path

from errorkernel.admin.people import own_password
from errorkernel.senders.steward.web import registration  # noqa: F401 - adds its pages and operations

urlpatterns = [
    path("admin/password_change/", admin.site.admin_view(own_password, cacheable=True)),  # before Django's
    path("admin/", admin.site.urls),
    path("", include("errorkernel.web.urls")),
]
handler400 = "errorkernel.web.auth.api_requests.bad_request"
handler500 = "errorkernel.web.auth.api_requests.server_error"
handler403 = "errorkernel.web.auth.permissions.denied"
