"""The addresses of the console, and where the API and the health checks hang."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.i18n import set_language

from errorkernel.web import (
    act,
    bulk,
    decide,
    first_node,
    jump,
    pages,
    pages_audit,
    pages_incidents,
    pages_nodes,
    pages_overview,
    pages_problems,
    pages_rules,
    problem_acts,
    requeue,
)

urlpatterns = [
    path("", pages.live, name="live"),
    path("first-node/", first_node.first_node, name="first-node"),
    path("events/", pages.events, name="events"),
    path("events/<int:seq>/", pages.event, name="event"),
    path("incidents/", pages_incidents.incidents, name="incidents"),
    path("incidents/answer/", bulk.answer_many, name="answer-many"),
    path("incidents/answer/<int:bulk_id>/", bulk.answer_to_many, name="answer-to-many"),
    path("incidents/answer/<int:bulk_id>/<str:act>/", bulk.act, name="act-on-many"),
    path("incidents/<uuid:incident_id>/", pages_incidents.incident, name="incident"),
    path("incidents/<uuid:incident_id>/decide/", decide.answer, name="decide"),
    path("incidents/<uuid:incident_id>/message/", requeue.dispose_of_message, name="dispose-of-message"),
    path("problems/", pages_problems.problems, name="problems"),
    path("problems/<int:problem_id>/", pages_problems.problem, name="problem"),
    path("problems/<int:problem_id>/<str:act>/", problem_acts.act, name="act-on-problem"),
    path("nodes/", pages_nodes.nodes, name="nodes"),
    path("nodes/<str:name>/", pages_nodes.node, name="node"),
    path("nodes/<str:name>/actions/", act.page, name="act"),
    path("nodes/<str:name>/actions/<int:action_id>/", act.action, name="steward-action"),
    path("nodes/<str:name>/<int:process_id>/", pages_nodes.process, name="process"),
    path("rules/", pages_rules.rules, name="rules"),
    path("rules/new/", pages_rules.new, name="new-rule"),
    path("rules/<int:rule_id>/", pages_rules.rule, name="rule"),
    path("rules/<int:rule_id>/<str:act>/", pages_rules.act, name="act-on-rule"),
    path("dead-letters/", pages_rules.dead_letters, name="dead-letters"),
    path("overview/", pages_overview.overview, name="overview"),
    path("audit/", pages_audit.audit, name="audit"),
    path("audit/export", pages_audit.export, name="audit-export"),
    path(
        "login/",
        LoginView.as_view(template_name="errorkernel/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("language/", set_language, name="set_language"),
    path("jump/", jump.jump, name="jump"),
    path("api/v1/", include("errorkernel.web.api_urls")),
    path("", include("errorkernel.web.health_urls")),
]
