"""The addresses below ``/api/v1/``. Ids are taken as text: one that is no UUID is answered in JSON, as all errors."""

from django.urls import path, re_path

from errorkernel.web import api, api_lists, api_rules

urlpatterns = [
    path("events", api.events, name="api-events"),
    path("incidents", api.listing(api_lists.incidents), name="api-incidents"),
    path("incidents/<str:incident_id>/decision", api.decision, name="api-decision"),
    path("incidents/<str:incident_id>/outcome", api.outcome, name="api-outcome"),
    path("problems", api.listing(api_lists.problems), name="api-problems"),
    path("processes", api.listing(api_lists.processes), name="api-processes"),
    path("nodes", api.listing(api_lists.nodes), name="api-nodes"),
    path("rules", api_rules.rules, name="api-rules"),
    path("rules/dry-run", api_rules.dry, name="api-rules-dry-run"),
    path("rules/<str:rule_id>", api_rules.rule, name="api-rule"),
    *(path(f"rules/<str:rule_id>/{name}", api_rules.acting(name), name=f"api-rule-{name}") for name in api_rules.ACTS),
    path("dead-letters", api.listing(api_lists.dead_letters), name="api-dead-letters"),
    # Last: what is not there.
    re_path(r"", api.unknown),
]
