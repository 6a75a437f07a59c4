"""The addresses below ``/api/v1/``. Ids are taken as text: one that is no UUID is answered in JSON, as all errors."""

from django.urls import path, re_path

from errorkernel.web import api, api_docs, api_lists

urlpatterns = [
    path("events", api.events, name="api-events"),
    path("incidents", api.listing(api_lists.incidents), name="api-incidents"),
    path("incidents/<str:incident_id>/decision", api.decision, name="api-decision"),
    path("incidents/<str:incident_id>/outcome", api.outcome, name="api-outcome"),
    path("problems", api.listing(api_lists.problems), name="api-problems"),
    path("processes", api.listing(api_lists.processes), name="api-processes"),
    path("nodes", api.listing(api_lists.nodes), name="api-nodes"),
    path("rules", api.listing(api_lists.rules), name="api-rules"),
    path("openapi.json", api.listing(api_docs.openapi), name="api-document"),
    path("docs", api.listing(api_docs.page), name="api-docs"),
    # Last: what is not there.
    re_path(r"", api.unknown),
]
