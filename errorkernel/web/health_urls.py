"""Addresses that orchestrators and scrapers expect at the root."""

from django.urls import path

from errorkernel.web import health

urlpatterns = [
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("metrics", health.prometheus, name="metrics"),
]
