"""Which address leads where: wiring only."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("errorkernel.web.urls")),
]
handler400 = "errorkernel.web.api.bad_request"
