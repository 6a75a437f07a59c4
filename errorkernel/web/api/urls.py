"""The addresses below ``/api/v1/``. Ids are taken as text: one that is no UUID is answered in JSON, as all errors."""

from django.urls import path, re_path

from errorkernel.senders.steward.web import actions as act
from errorkernel.store.incidents.requeues import Wish
from errorkernel.web.api.openapi import page
from errorkernel.web.api.views import bulk_decisions, lists, machine, problems, rules
from errorkernel.web.console import bulk_decisions as bulk
from errorkernel.web.console import requeue

urlpatterns = [
    path("events", machine.events, name="api-events"),
    path("commands", machine.commands, name="api-commands"),
    path("incidents", machine.listing(lists.incidents), name="api-incidents"),
    path("incidents/<str:incident_id>/decision", machine.decision, name="api-decision"),
    path("incidents/<str:incident_id>/outcome", machine.outcome, name="api-outcome"),
    *(path(f"incidents/<str:incident_id>/{one}", requeue.api, {"wish": one}, name=f"api-{one}") for one in Wish),
    path("answers", bulk_decisions.answers, name="api-answers"),
    path("answers/<str:number>", bulk_decisions.answer, name="api-answer"),
    path("answers/<int:number>/questions", machine.listing(lists.answered_questions), name="api-answer-questions"),
    *(path(f"answers/<str:number>/{act}", bulk_decisions.acting(act), name=f"api-answer-{act}") for act in bulk.ACTS),
    path("problems", machine.listing(lists.problems), name="api-problems"),
    *(
        path(f"problems/<int:problem_id>/{name}", problems.acting(name), name=f"api-problem-{name}")
        for name in problems.ACTS
    ),
    path("map", machine.listing(lists.error_map), name="api-map"),
    path("processes", machine.listing(lists.processes), name="api-processes"),
    path("processes/<int:process_id>/incarnations", machine.listing(lists.incarnations), name="api-incarnations"),
    path("nodes", machine.listing(lists.nodes), name="api-nodes"),
    path("nodes/<int:node_id>/actions", act.api, name="api-actions"),
    path("rules", rules.rules, name="api-rules"),
    path("rules/dry-run", rules.dry, name="api-rules-dry-run"),
    path("rules/<str:rule_id>", rules.rule, name="api-rule"),
    path("rules/<str:rule_id>/move", rules.move, name="api-rule-move"),
    *(path(f"rules/<str:rule_id>/{name}", rules.acting(name), name=f"api-rule-{name}") for name in rules.ACTS),
    path("dead-letters", machine.listing(lists.dead_letters), name="api-dead-letters"),
    *(
        path(f"dead-letters/<int:letter_id>/{one}", requeue.api_of_letter, {"wish": one}, name=f"api-{one}-letter")
        for one in requeue.OF_LETTERS
    ),
    path("openapi.json", machine.listing(page.openapi), name="api-document"),
    path("docs", machine.listing(page.page), name="api-docs"),
    # Last: what is not there.
    re_path(r"", machine.unknown),
]
