"""The addresses of the console, the API and the health checks."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path
from django.views.i18n import set_language

from errorkernel.web.auth.api_requests import unknown
from errorkernel.web.auth.page_requests import takes
from errorkernel.web.console import (
    approvals,
    audit,
    bulk_decisions,
    command_palette,
    completion,
    error_map,
    event_export,
    event_list,
    event_page,
    events,
    incident,
    incidents,
    nodes,
    onboarding,
    overview,
    problem_list,
    problems,
    rules,
    system,
    triage,
)
from errorkernel.web.console.login import Login
from errorkernel.web.operations.form_view import page_address
from errorkernel.web.operations.registry import registry

urlpatterns = [
    path("", triage.triage, name="triage"),
    path("triage/groups/", triage.groups, name="triage-groups"),
    path("live/", events.live, name="live"),
    path("approvals/", approvals.approvals, name="approvals"),
    path("first-node/", onboarding.first_node, name="first-node"),
    path("events/", event_list.events, name="events"),
    path("events/export", event_export.export, name="event-export"),
    path("complete/", completion.complete, name="complete"),
    path("events/<int:seq>/", event_page.event, name="event"),
    path("incidents/", incidents.incidents, name="incidents"),
    path("incidents/<uuid:incident_id>/", incident.incident, name="incident"),
    path("bulk-decisions/new/", bulk_decisions.new, name="new-bulk-decision"),
    path("bulk-decisions/<int:bulk_id>/", bulk_decisions.bulk_decision, name="bulk-decision"),
    path("problems/", problem_list.problems, name="problems"),
    path("events/infos/", problem_list.infos, name="infos"),
    path("problems/<int:problem_id>/", problems.problem, name="problem"),
    path("map/", error_map.show, name="map"),
    path("nodes/", nodes.nodes, name="nodes"),
    path("nodes/<str:name>/", nodes.node, name="node"),
    path("nodes/<str:name>/<int:process_id>/", nodes.process, name="process"),
    path("rules/", rules.rules, name="rules"),
    path("rules/new/", rules.new, name="new-rule"),
    path("rules/<int:rule_id>/", rules.rule, name="rule"),
    path("dead-letters/", rules.dead_letters, name="dead-letters"),
    path("quarantine/", system.quarantine, name="quarantine"),
    path("settings/", system.settings, name="settings"),
    path("overview/", overview.overview, name="overview"),
    path("audit/", audit.audit, name="audit"),
    path("audit/export", audit.export, name="audit-export"),
    path(
        "login/",
        takes("next", fields=("username", "password"))(Login.as_view()),
        name="login",
    ),
    path("logout/", takes()(LogoutView.as_view()), name="logout"),
    path("language/", takes(fields=("language",))(set_language), name="set_language"),
    path("jump/", command_palette.jump, name="jump"),
    path("api/v1/", include("errorkernel.web.api.urls")),
    re_path(r"^api(?:/|$)", unknown),
    path("", include("errorkernel.web.health.urls")),
    *registry.pages,
    *(page_address(operation) for operation in registry.operations if operation.form),
]
