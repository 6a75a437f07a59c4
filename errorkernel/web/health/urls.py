"""Addresses that orchestrators and scrapers expect at the root."""

from django.urls import path

from errorkernel.web.health import checks
from errorkernel.web.health.views import view_of

urlpatterns = [
    path("health/live", view_of(checks.live), name="health-live"),
    path("health/ready", view_of(checks.ready), name="health-ready"),
    path("metrics", view_of(checks.prometheus), name="metrics"),
]
