"""The page of an incident: evidence on the left, decision on the right."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from errorkernel.domain.values import Action, EventType, Level, OutcomeState
from errorkernel.models import AuditEntry, BulkDecision, Incarnation, Node
from errorkernel.store.incidents import decisions
from errorkernel.store.status import incident_evidence
from errorkernel.templatetags.timeline import status_line
from tests.support.page_data import NOW, answer, ask, event, store

pytestmark = pytest.mark.django_db

STACK = """Traceback (most recent call last):
  File "/srv/app/worker.py", line 113, in step
    run()
  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run
    return runner.run(main)
  File "/srv/app/storage.py", line 88, in write
    os.pwrite(fd, block, offset)
OSError: disk is gone
"""
MINUTE = timedelta(minutes=1)


def page_of(client, incident):
    return " ".join(client.get(reverse("incident", args=[incident.pk])).content.decode().split())


def info(text, at, *, release="1.4.2", **fields):
    store(
        event(text, type=EventType.INFO, level=Level.INFO, kind="", tags={"release": release}, **fields),
        now=NOW - at,
    )


def test_the_stack_trace_marks_own_frames_and_folds_those_of_libraries(alice):
    page = page_of(alice, ask(stack=STACK))
    assert '<li class="own raised"><span class="at"><bdi>storage.py:88</bdi>' in page
    assert "<bdi>os.pwrite(fd, block, offset)</bdi>" in page
    assert "1 library frame (<bdi>asyncio</bdi>)" in page


def test_a_trace_of_an_unknown_format_is_shown_as_its_text(alice):
    page = page_of(alice, ask(stack="it broke & nobody knows where"))
    assert "it broke &amp; nobody knows where</pre>" in page
    assert 'class="stack"' not in page


def test_the_last_events_of_the_process_end_with_the_incident(alice):
    for number in range(25):
        info(f"copied {number}", 30 * MINUTE - number * MINUTE)
    info("another process", MINUTE, process="index")
    incident = ask()
    info("afterwards", timedelta())
    found = incident_evidence.events_before(incident)
    assert [row.text for row in found] == [*(f"copied {number}" for number in range(6, 25)), "disk is gone"]
    page = page_of(alice, incident)
    assert "Last 20 events of this process" in page
    assert "this incident" in page
    assert "afterwards" not in page


def test_changes_before_it_are_the_release_rules_and_restarts(alice):
    info("old", 40 * MINUTE)
    info("new", 20 * MINUTE, release="1.4.3")
    incident = ask(tags={"release": "1.4.3"})
    Incarnation.objects.create(
        process=incident.process, number=6, first_seen=NOW - timedelta(hours=9), ended_at=NOW - 10 * MINUTE,
        ending="crashed",
    )  # fmt: skip
    for at, target in ((NOW - 5 * MINUTE, "rule:12"), (NOW + MINUTE, "rule:13"), (NOW - timedelta(days=2), "rule:14")):
        AuditEntry.objects.create(at=at, actor="user:bob", action="change", target=target)
    changes = incident_evidence.changes_before(incident)
    assert changes.release == incident_evidence.ReleaseChange("1.4.3", "1.4.2", NOW - 20 * MINUTE)
    assert [entry.target for entry in changes.rules] == ["rule:12"]
    page = page_of(alice, incident)
    assert "<bdi>1.4.2</bdi> → <b><bdi>1.4.3</bdi></b> <b>20 m before</b>" in page
    assert "incarnation 6 ended 10 m before" in page


def test_facts_that_are_empty_take_no_room(alice):
    page = page_of(alice, ask(message=None))
    for heading in ("Message in progress", "Recent changes", "Tags", "Previous decisions", "Latest decisions", "other"):
        assert f"<h2>{heading}" not in page
    assert "deadline" not in page.partition("<main")[2].partition("</main>")[0]


def test_others_of_the_problem_are_counted_by_node_before_and_after_the_decision(alice):
    incident = ask()
    others = [ask(process=f"p{number}", node=node) for number, node in enumerate(["ship2", "ship2", "ship3"])]
    page = page_of(alice, incident)
    assert "3 other processes of this problem" in page
    assert "◆ 2</span> on <a" in page
    assert f'rel="next" href="/incidents/{others[0].pk}/"' in page
    answer(incident)
    assert "3 other processes of this problem" in page_of(alice, incident)
    elsewhere = ask("another problem", kind="X", node="ship4")
    for other in others:
        answer(other)
    assert incident_evidence.next_pending(incident, [incident.problem_id]) == elsewhere.pk


def test_a_decision_is_applied_to_the_others_also_after_it_was_made(alice):
    incident = ask()
    others = [ask(process=f"p{number}") for number in range(3)]
    assert "Apply the same decision to 3" in page_of(alice, incident)
    answer(incident, Action.CONTINUE, outcome=OutcomeState.APPLIED, reason="it is back")
    page = page_of(alice, incident)
    assert "Apply Continue to the other 3" in page
    form = {
        "action": "continue",
        "reason": "it is back",
        "scope": "canary",
        "canary": str(incident.pk),
        "request_id": "r",
    }
    assert alice.post(reverse("problems-decision", args=[incident.problem_id]), form).status_code == 302
    bulk = BulkDecision.objects.get()
    assert (bulk.canary_id, bulk.count, bulk.then_rest) == (incident.pk, 1 + len(others), True)


def test_a_take_and_comments_are_shown_and_can_be_given(alice, viewer):
    incident = ask()
    assert "not taken" in page_of(alice, incident)
    assert "Add comment" not in page_of(viewer, incident)
    address = reverse("incident", args=[incident.pk])
    assert alice.post(f"{address}take/").status_code == 302
    page = page_of(viewer, incident)
    assert "taken by <bdi>alice</bdi>" in page
    assert "Give back" in page_of(alice, incident)
    assert alice.post(f"{address}comment/", {"text": "a new disk is on its way"}).status_code == 302
    assert "<bdi>a new disk is on its way</bdi>" in page_of(viewer, incident)
    assert alice.post(f"{address}release/").status_code == 302
    assert "not taken" in page_of(alice, incident)


def test_the_status_line_draws_the_steps_to_come():
    incident = ask()
    Node.objects.update(clock_skew_s=0.24)

    def steps():
        fresh = decisions.with_relations().get(pk=incident.pk)
        return [(step.word, step.mark) for step in status_line(fresh, NOW)]

    begin = [("raised", ""), ("stored", "")]
    ahead = [(word, "ahead") for word in ("decided", "sent", "delivered to ship1", "applied")]
    assert steps() == [*begin, ("pending", "here"), *ahead]
    fresh = decisions.with_relations().get(pk=incident.pk)
    assert status_line(fresh, NOW)[0].note == "clock of ship1, +0.2 s"
    answer(incident, Action.KILL)
    assert steps() == [*begin, ("decided kill by alice", ""), ("to be sent", "here"), *ahead[2:]]


def test_buttons_stay_where_they_are_when_nothing_can_be_decided(alice, viewer):
    incident = ask()
    for client, disabled in ((alice, 0), (viewer, 3)):
        page = page_of(client, incident)
        assert page.count('name="action"') == 3
        assert page.count('aria-disabled="true"') == disabled
    answer(incident, outcome=OutcomeState.APPLIED)
    page = page_of(alice, incident)
    assert page.count('name="action"') == page.count('aria-disabled="true"') == 3


def test_the_page_costs_the_same_number_of_queries_however_much_there_is(alice):
    incident = ask(stack=STACK)

    def count():
        with CaptureQueriesContext(connection) as asked:
            page_of(alice, incident)
        return len(asked)

    few = count()
    for number in range(30):
        answer(ask(process=f"old{number}", node=f"ship{number}"), outcome=OutcomeState.APPLIED)
        ask(process=f"p{number}", node=f"ship{number}")
        store(event("before", process=incident.process.name))
    assert count() <= few + 1
    assert few <= 30
