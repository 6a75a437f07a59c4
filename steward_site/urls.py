"""Which address leads where: wiring only."""

from django.contrib import admin
from django.urls import include, path

from errorkernel.admin.people import own_password

urlpatterns = [
    path("admin/password_change/", admin.site.admin_view(own_password, cacheable=True)),  # before Django's
    path("admin/", admin.site.urls),
    path("", include("errorkernel.web.urls")),
]
handler400 = "errorkernel.web.api.views.machine.bad_request"
handler403 = "errorkernel.web.auth.permissions.denied"
