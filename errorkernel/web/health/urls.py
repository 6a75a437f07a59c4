"""Addresses that orchestrators and scrapers expect at the root."""

from django.urls import path

from errorkernel.web.health import views

urlpatterns = [
    path("health/live", views.live, name="health-live"),
    path("health/ready", views.ready, name="health-ready"),
    path("metrics", views.prometheus, name="metrics"),
]
