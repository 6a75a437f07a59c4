"""The addresses below ``/api/v1/``. Ids are taken as text: one that is no UUID is answered in JSON, as all errors."""

from django.urls import path, re_path

from errorkernel.store.requeues import Wish
from errorkernel.web import act, api, api_bulk, api_docs, api_lists, api_problems, api_rules, bulk, requeue

urlpatterns = [
    path("events", api.events, name="api-events"),
    path("commands", api.commands, name="api-commands"),
    path("incidents", api.listing(api_lists.incidents), name="api-incidents"),
    path("incidents/<str:incident_id>/decision", api.decision, name="api-decision"),
    path("incidents/<str:incident_id>/outcome", api.outcome, name="api-outcome"),
    *(path(f"incidents/<str:incident_id>/{one}", requeue.api, {"wish": one}, name=f"api-{one}") for one in Wish),
    path("answers", api_bulk.answers, name="api-answers"),
    path("answers/<str:number>", api_bulk.answer, name="api-answer"),
    path("answers/<int:number>/questions", api.listing(api_lists.answered_questions), name="api-answer-questions"),
    *(path(f"answers/<str:number>/{act}", api_bulk.acting(act), name=f"api-answer-{act}") for act in bulk.ACTS),
    path("problems", api.listing(api_lists.problems), name="api-problems"),
    *(
        path(f"problems/<int:problem_id>/{name}", api_problems.acting(name), name=f"api-problem-{name}")
        for name in api_problems.ACTS
    ),
    path("map", api.listing(api_lists.error_map), name="api-map"),
    path("processes", api.listing(api_lists.processes), name="api-processes"),
    path("processes/<int:process_id>/incarnations", api.listing(api_lists.incarnations), name="api-incarnations"),
    path("nodes", api.listing(api_lists.nodes), name="api-nodes"),
    path("nodes/<int:node_id>/actions", act.api, name="api-actions"),
    path("rules", api_rules.rules, name="api-rules"),
    path("rules/dry-run", api_rules.dry, name="api-rules-dry-run"),
    path("rules/<str:rule_id>", api_rules.rule, name="api-rule"),
    path("rules/<str:rule_id>/move", api_rules.move, name="api-rule-move"),
    *(path(f"rules/<str:rule_id>/{name}", api_rules.acting(name), name=f"api-rule-{name}") for name in api_rules.ACTS),
    path("dead-letters", api.listing(api_lists.dead_letters), name="api-dead-letters"),
    *(
        path(f"dead-letters/<int:letter_id>/{one}", requeue.api_of_letter, {"wish": one}, name=f"api-{one}-letter")
        for one in requeue.OF_LETTERS
    ),
    path("openapi.json", api.listing(api_docs.openapi), name="api-document"),
    path("docs", api.listing(api_docs.page), name="api-docs"),
    # Last: what is not there.
    re_path(r"", api.unknown),
]
