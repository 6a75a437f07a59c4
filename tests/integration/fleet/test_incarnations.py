"""Incarnations of processes."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from errorkernel.domain.liveness import (
    LATE_AFTER,
)
from errorkernel.domain.values import Action, EventType, Heartbeat, Outcome, OutcomeState, ProcessReport
from errorkernel.models import ErrorEvent, Incarnation, Incident, Node, Process
from errorkernel.store import incarnations
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest import heartbeats
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from tests.support.fleet_data import NOW, SECOND, hello, lives, report, take_in
from tests.support.heartbeats import record_hellos


@pytest.mark.django_db
def test_incarnations_are_told_by_reports_heartbeats_and_outcomes() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked, report(), report(type=EventType.INFO))
    assert lives() == [(1, "", 2)]
    decision = decisions.decide(asked.id, Action.KILL, actor=Actor("user:a", NOW))
    outcome = Outcome(incident=asked.id, state=OutcomeState.APPLIED, decision_id=decision.pk, new_incarnation=2)
    take_in(outcomes=(outcome,))
    assert lives() == [(1, "killed", 2), (2, "", 0)]
    assert Incarnation.objects.get(number=1).incident_id == asked.id
    take_in(report(incarnation=2), report(incarnation=2))
    record_hellos([("ship1", hello(incarnation=3))], now=NOW)
    assert lives() == [(1, "killed", 2), (2, "crashed", 2), (3, "", 0)]
    assert Incarnation.objects.get(number=3).pid == 103
    record_hellos([("ship1", hello("stopped", 3))], now=NOW)
    record_hellos([("ship1", hello(incarnation=4))], now=NOW)
    take_in(report(incarnation=5, type=EventType.INFO))
    assert lives()[2:] == [(3, "stopped", 0), (4, "unknown", 0), (5, "", 0)]


@pytest.mark.django_db
def test_how_long_somebody_waited_does_not_believe_a_wrong_clock() -> None:
    for name, clock_off in (("behind", timedelta(hours=-2)), ("ahead", timedelta(hours=2)), ("none", timedelta(0))):
        at = NOW + clock_off
        record_hellos([(name, Heartbeat(version="1", at=at))], now=NOW)
        asked = report(
            type=EventType.ACTION, process=name, occurred_at=at if clock_off else datetime(1970, 1, 2, tzinfo=UTC)
        )
        record(Batch(events=[(name, asked)]), NameCache(), now=NOW + SECOND)
        decisions.decide(asked.id, Action.CONTINUE, actor=Actor("user:a", NOW + 4 * SECOND))
        assert decisions.waits_of([asked.id]) == [("continue", "user:a", 4 if clock_off else 3)]


@pytest.mark.django_db
def test_an_incident_that_comes_again_after_its_event_was_pruned_is_not_asked_again() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    ErrorEvent.objects.all().delete()
    take_in(asked, report())
    assert (Incident.objects.count(), ErrorEvent.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_several_incarnations_in_one_batch_are_all_told_and_only_the_newest_lives() -> None:
    take_in(report(incarnation=2), report(incarnation=4), report(incarnation=4), report(incarnation=3))
    assert lives() == [(2, "unknown", 1), (3, "unknown", 1), (4, "", 2)]


@pytest.mark.django_db
def test_a_heartbeat_costs_as_many_statements_for_a_hundred_processes_as_for_one(
    django_assert_max_num_queries: Any,
) -> None:
    def fleet_of(number: int, state: str = "running") -> Heartbeat:
        told = (ProcessReport(f"p{i}", state, number, pid=i, since=NOW) for i in range(100))
        return Heartbeat(version="1", at=NOW, processes=tuple(told))

    with django_assert_max_num_queries(22):
        record_hellos([("ship1", fleet_of(1))], now=NOW)
    with django_assert_max_num_queries(9):
        record_hellos([("ship1", fleet_of(1))], now=NOW + SECOND)
    assert set(Process.objects.values_list("last_seen", flat=True)) == {NOW + SECOND}
    with django_assert_max_num_queries(22):
        record_hellos([("ship1", fleet_of(2))], now=NOW + SECOND)
    assert lives() == [(1, "unknown", 0)] * 100 + [(2, "", 0)] * 100
    with django_assert_max_num_queries(22):
        record_hellos([("ship1", fleet_of(2, "stopped"))], now=NOW + SECOND)
    assert lives() == [(1, "unknown", 0)] * 100 + [(2, "stopped", 0)] * 100
    assert list(Process.objects.values_list("state", "incarnation").distinct().order_by()) == [("stopped", 2)]


@pytest.mark.django_db
def test_a_counter_that_was_set_back_is_believed_when_no_larger_number_can_be_on_its_way() -> None:
    record_hellos([("ship1", hello(incarnation=50))], now=NOW)
    assert record_hellos([("ship1", hello("blocked", incarnation=1))], now=NOW + 30 * SECOND) == []
    assert Process.objects.values_list("state", "incarnation", "last_seen").get() == ("running", 50, NOW)
    later = NOW + LATE_AFTER
    assert record_hellos([("ship1", hello("blocked", incarnation=1))], now=later) == ["copy"]
    assert Process.objects.values_list("state", "incarnation", "last_seen").get() == ("blocked", 1, later)
    assert record_hellos([("ship1", hello("running", incarnation=1))], now=later) == []


@pytest.mark.django_db
def test_a_node_that_is_removed_while_its_heartbeat_is_taken_in_comes_back_with_the_next() -> None:
    record_hellos([("ship1", hello())], now=NOW)
    Node.objects.all().delete()
    assert heartbeats.of_processes("ship1", hello().processes, now=NOW) == []
    assert not Process.objects.exists()
    record_hellos([("ship1", hello())], now=NOW)
    assert Process.objects.get().name == "copy"


@pytest.mark.django_db
def test_a_heartbeat_that_names_no_incarnation_leaves_the_one_that_is_known() -> None:
    record_hellos([("ship1", hello(incarnation=5))], now=NOW)
    told = Heartbeat(version="1", at=NOW, processes=(ProcessReport("copy", "blocked"),))
    record_hellos([("ship1", told)], now=NOW + SECOND)
    assert Process.objects.values_list("state", "incarnation", "last_seen").get() == ("blocked", 5, NOW + SECOND)


@pytest.mark.django_db
def test_an_incarnation_that_its_node_ended_by_itself_is_not_laid_to_whoever_decided_too_late(viewer: Client) -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    decisions.decide(asked.id, Action.CONTINUE, actor=Actor("user:alice", NOW))
    alone = Outcome(
        incident=asked.id, state=OutcomeState.WITHDRAWN, incarnation=1, new_incarnation=2, by_itself=Action.KILL
    )
    take_in(outcomes=(alone,))
    incident = Incident.objects.get(pk=asked.id)
    assert (incident.state, incident.by_itself) == ("stale", "kill")
    assert lives() == [(1, "killed", 1), (2, "", 0)]
    page = viewer.get(reverse("process", args=["ship1", incident.process_id])).content.decode()
    assert "decided <b>kill</b> by the node" in page
    assert "alice" not in page
    found = viewer.get(f"/api/v1/processes/{incident.process_id}/incarnations").json()["items"]
    first = next(one for one in found if one["number"] == 1)
    assert (first["answer"]["action"], first["answer"]["by"]) == ("kill", "node:ship1")


@pytest.mark.django_db
def test_what_a_node_says_it_did_by_itself_is_passed_over_where_a_decision_was_obeyed() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    decision = decisions.decide(asked.id, Action.CONTINUE, actor=Actor("user:a", NOW))
    done = Outcome(
        incident=asked.id, state=OutcomeState.APPLIED, decision_id=decision.pk, by_itself=Action.KILL, new_incarnation=2
    )
    take_in(outcomes=(done,))
    incident = Incident.objects.get(pk=asked.id)
    assert (incident.state, incident.by_itself) == ("applied", "")


@pytest.mark.django_db
def test_an_outcome_that_comes_after_the_next_incarnation_puts_its_ending_right() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    decision = decisions.decide(asked.id, Action.KILL, actor=Actor("user:a", NOW))
    record_hellos([("ship1", hello(incarnation=2))], now=NOW)
    assert lives() == [(1, "crashed", 1), (2, "", 0)]
    outcome = Outcome(incident=asked.id, state=OutcomeState.APPLIED, decision_id=decision.pk, new_incarnation=2)
    take_in(outcomes=(outcome,))
    assert lives() == [(1, "killed", 1), (2, "", 0)]


@pytest.mark.django_db
def test_restarts_of_the_last_day_are_told_of_each_process(viewer: Client) -> None:
    now = datetime.now(UTC)
    day = timedelta(hours=24)
    for number, age in ((1, 3 * day), (2, day / 2), (3, day / 4)):
        take_in(report(incarnation=number), now=now - age)
    take_in(report(process="young", incarnation=1), now=now)
    for number in range(incarnations.KEPT + 5):
        take_in(report(process="wild", incarnation=number), now=now)
    keys = dict(Process.objects.values_list("name", "pk"))
    counted = incarnations.restarts(keys.values(), now - day)
    assert counted == {keys["copy"]: 2, keys["young"]: 0, keys["wild"]: incarnations.KEPT}
    page = viewer.get("/nodes/ship1/").content.decode()
    pids_and_restarts = re.findall(r'<td class="num off wide">([^<]*)</td>', page)
    assert pids_and_restarts[1::2] == ["2", f"≥ {incarnations.KEPT}", "0"]
    one = viewer.get(f"/nodes/ship1/{keys['copy']}/").content.decode()
    assert "<dt>Restarts, 24 h</dt><dd>2</dd>" in one


@pytest.mark.django_db
def test_reports_and_heartbeats_of_dead_incarnations_bring_none_back_and_numbers_without_end_fill_nothing() -> None:
    take_in(report(incarnation=7))
    take_in(report(incarnation=6))
    record_hellos([("ship1", hello(incarnation=5))], now=NOW)
    assert lives() == [(7, "", 1)]
    take_in(report(incarnation=7), report(incarnation=None))
    assert lives() == [(7, "", 2)]
    for number in range(8, 8 + 2 * incarnations.KEPT):
        take_in(report(incarnation=number))
    assert len(lives()) == incarnations.KEPT
    take_in(report(incarnation=2**62))
    assert lives() == [(2**62, "", 1)]


@pytest.mark.django_db
def test_the_same_report_again_counts_no_second_failure() -> None:
    one = report()
    take_in(one)
    take_in(one, one)
    assert lives() == [(1, "", 1)]
