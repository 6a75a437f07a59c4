"""What pages show of incidents."""

from datetime import UTC, datetime, timedelta

import pytest
from django.template.loader import render_to_string
from django.urls import reverse

from errorkernel.domain.values import (
    Action,
    Outcome,
    OutcomeState,
)
from errorkernel.models import AuditEntry, Decision
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import decision_history
from errorkernel.templatetags.console import actor_name, brief, duration
from errorkernel.templatetags.timeline import blocked_since, timeline
from tests.support.page_data import NOW, answer, ask

pytestmark = pytest.mark.django_db


def test_an_opened_incident_tells_what_was_decided_before_and_what_came_of_it(alice):
    first = ask(now=NOW)
    answer(first, Action.CONTINUE, now=NOW + timedelta(seconds=5), outcome=OutcomeState.APPLIED)
    second = ask(now=NOW + timedelta(minutes=5))
    answer(second, Action.KILL, now=NOW + timedelta(minutes=6), outcome=OutcomeState.APPLIED, new_incarnation=8)
    third = ask(now=NOW + timedelta(hours=5))
    ask(node="ship2", now=NOW)
    found = decision_history.outcomes(decision_history.of_problems([third.problem_id]))
    assert [(one.action, one.done, one.came_back) for one in found] == [("continue", 1, 1), ("kill", 1, 0)]
    html = alice.get(reverse("incident", args=[third.pk])).content.decode()
    assert 'came back within 1 h <b class="worse">1</b>' in html
    assert "applied: incarnation 8" in html
    assert "ship2" in html


def words(incident, now=NOW):
    fresh = decisions.with_relations().get(pk=incident.pk)
    return [(step.word, step.mark) for step in timeline(fresh, now)]


def test_the_truth_line_grows_step_by_step_and_claims_nothing_early():
    incident = ask()
    begin = [("raised", "done"), ("stored", "done")]
    assert words(incident) == [*begin, ("pending", "now")]
    decision = decisions.decide(incident.pk, Action.KILL, actor=Actor("user:alice", NOW), reason="stuck")
    answered = [*begin, ("decided kill by alice", "done")]
    assert words(incident) == [*answered, ("to be sent", "now"), ("delivered to ship1", "open"), ("applied", "open")]
    Decision.objects.filter(pk=decision.pk).update(sent_at=NOW)
    sent = [*answered, ("sent", "done")]
    assert words(incident) == [*sent, ("not delivered to ship1 yet", "now"), ("applied", "open")]
    decisions.mark_delivered([incident.pk], now=NOW)
    received = [*sent, ("delivered to ship1", "done")]
    assert words(incident) == [*received, ("not applied yet", "now")]
    done = Outcome(incident=incident.pk, state=OutcomeState.APPLIED, decision_id=decision.pk, new_incarnation=8)
    decisions.record_outcome("ship1", done, now=NOW)
    assert words(incident) == [*received, ("applied: incarnation 8", "good")]


def test_what_a_node_did_by_itself_is_said_and_no_decision_is_taken_for_it(alice):
    alone = {"state": OutcomeState.WITHDRAWN, "by_itself": Action.KILL, "detail": "Nobody could be reached."}
    first, second = ask(), ask(process="index")
    answer(second, Action.CONTINUE)
    for one in (first, second):
        decisions.record_outcome("ship1", Outcome(incident=one.pk, **alone), now=NOW)
        one.refresh_from_db()
    said = "decided kill by the node while it was isolated"
    assert words(first)[-1] == (said, "bad")
    assert (first.state, second.state) == ("withdrawn", "stale")
    assert words(second)[-1] == ("stale: the node had decided kill while it was isolated", "bad")
    page = alice.get(reverse("incident", args=[first.pk])).content.decode()
    assert said in page
    assert "Nobody could be reached." in page
    entry = AuditEntry.objects.filter(target=f"incident:{first.pk}", action="outcome").get()
    assert (entry.actor, entry.reason, entry.after["by_itself"]) == ("node:ship1", "Nobody could be reached.", "kill")
    late = alice.post(
        reverse("incidents-decision", args=[first.pk]), {"action": "continue", "reason": "x", "request_id": "1"}
    )
    assert late.status_code == 409
    assert "Your decision was not stored: the incident is no longer pending." in late.content.decode()


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (OutcomeState.STALE, "stale: the process had restarted"),
        (OutcomeState.FAILED, "failed"),
        (OutcomeState.APPLIED, "applied"),
    ],
)
def test_a_card_says_how_it_ended_and_offers_no_decision_any_more(outcome, says):
    incident = ask()
    answer(incident, outcome=outcome, detail="in its own words")
    fresh = decisions.with_relations().get(pk=incident.pk)
    html = render_to_string("errorkernel/_incident.html", {"incident": fresh, "now": NOW})
    assert says in html
    assert "in its own words" in html
    assert "<form" not in html


def test_a_withdrawn_incident_says_that_nobody_had_decided():
    incident = ask()
    gone = Outcome(incident=incident.pk, state=OutcomeState.WITHDRAWN)
    decisions.record_outcome("ship1", gone, now=NOW)
    assert words(incident)[-1] == ("withdrawn before a decision", "bad")


def test_a_pushed_card_is_for_everybody_so_it_bears_no_token_and_no_request_id(django_assert_num_queries):
    incident = decisions.with_relations().get(pk=ask().pk)
    with django_assert_num_queries(0):
        html = render_to_string("errorkernel/_incident.html", {"incident": incident, "now": NOW})
    assert "csrfmiddlewaretoken" not in html
    assert 'name="request_id" value=""' in html
    assert f'action="/incidents/{incident.pk}/decision/"' in html


def test_waiting_is_counted_by_our_clock_however_wrong_the_nodes_is():
    incident = ask()
    incident.node.clock_skew_s = -3600.0
    incident.raised_at = incident.opened_at - timedelta(hours=1, seconds=2)
    assert blocked_since(incident) == incident.opened_at - timedelta(seconds=2)
    incident.raised_at = incident.opened_at + timedelta(days=1)
    assert blocked_since(incident) == incident.opened_at
    incident.raised_at = datetime(1970, 1, 1, tzinfo=UTC)
    assert blocked_since(incident) == incident.opened_at


def test_words_for_people_and_spans():
    assert [actor_name(one) for one in ("user:alice", "rule:12", "deadline")] == ["alice", "rule 12", "its deadline"]
    assert [duration(s) for s in (0, 59, 252, 11100, 187200)] == ["0 s", "59 s", "4 m 12 s", "3 h 5 m", "2 d 4 h"]
    assert brief({"id": "1"}) == "#1"
    assert brief({"method": "m"}) == "m"
