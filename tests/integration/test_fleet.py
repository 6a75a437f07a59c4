"""What is known of nodes and processes: liveness, lives, refused attempts; pure parts first, then with the database."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from errorkernel.broker import log_tailer
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.log_tailer import LogTailer
from errorkernel.domain.access_denials import KEYS_MAX, Denial, DenialCounter
from errorkernel.domain.ids import uuid7
from errorkernel.domain.liveness import (
    GONE_AFTER,
    LATE_AFTER,
    Expectation,
    Heard,
    Liveness,
    expect,
    learned_interval_s,
    of_node,
    of_process,
    with_pause,
)
from errorkernel.domain.values import Action, Event, EventType, Heartbeat, Level, Outcome, OutcomeState, ProcessReport
from errorkernel.live import rendering
from errorkernel.models import AccessDenial, Decision, ErrorEvent, Incarnation, Incident, Node, Problem, Process
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import incarnations, kernel_heartbeats
from errorkernel.store import nodes as fleet
from errorkernel.store.accounts import access_denials
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest import heartbeats
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import system_status
from errorkernel.templatetags.nodes import dropped_words, skew_words
from errorkernel.web.node_api import contacts
from errorkernel.web.node_api.tokens import NodeTokens
from tests.support.heartbeats import heard_node, record_hellos

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = "UAOI5IC5I6STIJGV57UQOQKPXJRW3BHPXCV4E6F5ULW4464UCWJ4IB7J"


def hello(state: str = "running", incarnation: int = 1, **fields: Any) -> Heartbeat:
    process = ProcessReport("copy", state, incarnation, pid=100 + incarnation, since=NOW)
    return Heartbeat(version="1", at=NOW, processes=(process,), **fields)


def report(*, incarnation: int | None = 1, process: str = "copy", **fields: Any) -> Event:
    given = {"type": EventType.ERROR, "level": Level.ERROR, "text": "no", "kind": "E", **fields}
    return Event(id=uuid7(), process=process, incarnation=incarnation, **given)


def take_in(*events: Event, outcomes: tuple[Outcome, ...] = (), now: datetime = NOW, node: str = "ship1") -> None:
    batch = Batch(events=[(node, one) for one in events], outcomes=[(node, one) for one in outcomes])
    record(batch, NameCache(), now=now)


@pytest.fixture
def viewer() -> Client:
    user = User.objects.create_user("vera")
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client


# Liveness


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        (timedelta(0), "alive"), (LATE_AFTER - SECOND, "alive"), (LATE_AFTER, "late"), (GONE_AFTER - SECOND, "late"),
        (GONE_AFTER, "gone"), (timedelta(days=9), "gone"), (-timedelta(hours=1), "alive"),
    ],
)  # fmt: skip
def test_one_missed_hello_is_late_and_three_are_gone(silence: timedelta, expected: str) -> None:
    assert of_node(Heard(expect(NOW - silence)), NOW) == expected


def test_a_process_is_as_its_node_unless_the_node_says_otherwise() -> None:
    at = NOW - SECOND
    heard = Heard(expect(at))
    assert of_process(heard, at, "running", at, NOW) is Liveness.ALIVE
    assert of_process(heard, at, "stopped", at, NOW) is Liveness.GONE
    assert of_process(heard, at, "running", at - GONE_AFTER, NOW) is Liveness.GONE, "its node names it no more"
    assert of_process(heard, at, "", at - GONE_AFTER, NOW) is Liveness.ALIVE, "its node never named it"
    late = NOW - LATE_AFTER
    assert of_process(Heard(expect(late)), late, "running", NOW, NOW) is Liveness.LATE
    assert of_process(Heard(None), None, "", NOW, NOW) is Liveness.NEVER


@pytest.mark.parametrize(
    ("pauses", "interval_s"),
    [([], 30), ([120], 120), ([10, 10, 10], 30), ([120, 3, 120], 120), ([120, 600, 120], 120), ([600, 30], 30)],
)
def test_the_interval_of_heartbeats_is_learned_from_their_pauses(pauses: list[float], interval_s: float) -> None:
    # One restart between two heartbeats (a short pause) or one outage (a long one) changes nothing.
    assert learned_interval_s(pauses) == interval_s


def test_only_the_last_pauses_count_and_an_outage_is_none() -> None:
    pauses: list[float] = []
    for pause_s in (30, 30, 120, 7200, -5, 120, 120):
        pauses = with_pause(pauses, pause_s)
    assert pauses == [120, 120, 120]


def test_a_node_with_another_interval_is_late_after_one_and_gone_after_three() -> None:
    late_at, gone_at = expect(NOW, 120)
    assert (late_at - NOW, gone_at - NOW) == (timedelta(seconds=180), timedelta(seconds=360))
    heard = Heard(Expectation(late_at, gone_at))
    assert [of_node(heard, NOW + timedelta(seconds=age)) for age in (120, 200, 400)] == ["alive", "late", "gone"]


@pytest.mark.django_db
def test_the_filters_of_the_lists_agree_with_the_pure_functions() -> None:
    number = 0
    moments = [NOW - part for part in (timedelta(0), LATE_AFTER - SECOND, LATE_AFTER, GONE_AFTER - SECOND, GONE_AFTER)]
    for heartbeat_at, http_at in [(None, None), (None, NOW), *((moment, None) for moment in moments)]:
        for state in ("", "running", "stopped"):
            for before in (timedelta(0), GONE_AFTER - SECOND, GONE_AFTER):
                number += 1
                node = heard_node(f"n{number}", heartbeat_at, http_at=http_at)
                seen = (heartbeat_at or NOW) - before
                Process.objects.create(node=node, name="p", state=state, first_seen=seen, last_seen=seen)
    for wanted in Liveness:
        nodes = Node.objects.filter(fleet.nodes_by_liveness(wanted, NOW))
        assert set(nodes) == {one for one in Node.objects.all() if of_node(one.heard, NOW) is wanted}
        processes = Process.objects.filter(fleet.processes_by_liveness(wanted, NOW))
        assert set(processes) == {
            one
            for one in Process.objects.select_related("node")
            if of_process(one.node.heard, one.node.heartbeat_at, one.state, one.last_seen, NOW) is wanted
        }
    assert sum(fleet.count_nodes(NOW).values()) == number


def beats(*, since: timedelta, broker: bool = True) -> None:
    """What a kernel writes that has seen the broker so, or without, from ``since`` after NOW on."""
    kernel_heartbeats.record("host:1", started_at=NOW, lag=0 if broker else None, now=NOW + since)


def missing(now: datetime) -> tuple[int, int]:
    """How many nodes are late, and how many gone, as every page says it at ``now``."""
    how = system_status.read(now)
    return how.late, how.gone


@pytest.mark.django_db
def test_no_node_is_missed_while_nobody_can_hear_it_nor_right_after() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    record_hellos([("ship1", hello()), ("ship2", hello())], now=NOW)
    beats(since=timedelta(0))
    beats(since=SECOND, broker=False)
    back = GONE_AFTER * 2
    for later in (LATE_AFTER, GONE_AFTER, back - SECOND):
        assert missing(NOW + later) == (0, 0)
        assert decisions.note_missing_nodes(now=NOW + later) == []
    beats(since=back)
    beats(since=back + LATE_AFTER - SECOND)
    assert missing(NOW + back + LATE_AFTER - SECOND) == (0, 0)
    record_hellos([("ship2", hello())], now=NOW + back + SECOND)
    assert missing(NOW + back + LATE_AFTER) == (0, 1)
    assert decisions.note_missing_nodes(now=NOW + back + LATE_AFTER) == [asked.id]
    beats(since=back + GONE_AFTER, broker=False)
    record_hellos([("ship1", hello())], now=NOW + back + GONE_AFTER)
    assert decisions.note_missing_nodes(now=NOW + back + GONE_AFTER) == [asked.id], "what was heard is taken back"


@pytest.mark.django_db
def test_a_kernel_that_starts_after_none_lived_misses_nobody_yet_and_beside_another_it_does() -> None:
    record_hellos([("ship1", hello())], now=NOW)
    beats(since=timedelta(0))
    kernel_heartbeats.record("host:2", started_at=NOW, lag=0, now=NOW + GONE_AFTER)
    assert missing(NOW + GONE_AFTER) == (0, 0)
    beats(since=GONE_AFTER)
    assert missing(NOW + GONE_AFTER) == (0, 1)


@pytest.mark.django_db
def test_an_open_question_says_that_its_node_is_gone_and_takes_it_back() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    beats(since=timedelta(0))
    record_hellos([("ship1", hello())], now=NOW)
    assert decisions.note_missing_nodes(now=NOW + LATE_AFTER - SECOND) == []
    for after, word in ((LATE_AFTER, "late"), (GONE_AFTER, "gone")):
        change = Incident.objects.get().change
        assert decisions.note_missing_nodes(now=NOW + after) == [asked.id]
        assert decisions.note_missing_nodes(now=NOW + after) == [], "said once"
        assert Incident.objects.get().change > change, "a browser takes the card for a newer one"
        [card] = rendering.load_cards([asked.id])
        assert f"is {word}" in bytes(rendering.render_cards([card])[0].encoded).decode()
    record_hellos([("ship1", hello())], now=NOW + timedelta(hours=1))
    assert decisions.note_missing_nodes(now=NOW + timedelta(hours=1)) == [asked.id]
    [card] = rendering.load_cards([asked.id])
    assert "node-missing" not in bytes(rendering.render_cards([card])[0].encoded).decode()


@pytest.mark.django_db
def test_a_node_that_never_said_hello_is_not_missed_and_an_answered_question_says_nothing() -> None:
    by_http, answered = report(type=EventType.ACTION), report(type=EventType.ACTION)
    take_in(by_http, node="http")
    take_in(answered)
    record_hellos([("ship1", hello())], now=NOW)
    beats(since=timedelta(0))
    decisions.decide(answered.id, Action.CONTINUE, actor=Actor("user:a", NOW))
    assert decisions.note_missing_nodes(now=NOW + timedelta(days=1)) == []


# Lives


def lives() -> list[tuple[int, str, int]]:
    return [(one.number, one.ending, one.failures) for one in Incarnation.objects.order_by("number", "process")]


@pytest.mark.django_db
def test_lives_are_told_by_reports_hellos_and_outcomes() -> None:
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
def test_a_question_that_comes_again_after_its_event_was_pruned_is_not_asked_again() -> None:
    asked = report(type=EventType.ACTION)
    take_in(asked)
    ErrorEvent.objects.all().delete()
    take_in(asked, report())
    assert (Incident.objects.count(), ErrorEvent.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_several_lives_in_one_batch_are_all_told_and_only_the_newest_lives() -> None:
    take_in(report(incarnation=2), report(incarnation=4), report(incarnation=4), report(incarnation=3))
    assert lives() == [(2, "unknown", 1), (3, "unknown", 1), (4, "", 2)]


@pytest.mark.django_db
def test_a_hello_costs_as_many_statements_for_a_hundred_processes_as_for_one(
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
def test_a_node_that_is_removed_while_its_hello_is_taken_in_comes_back_with_the_next() -> None:
    record_hellos([("ship1", hello())], now=NOW)
    Node.objects.all().delete()
    assert heartbeats.of_processes("ship1", hello().processes, now=NOW) == []
    assert not Process.objects.exists()
    record_hellos([("ship1", hello())], now=NOW)
    assert Process.objects.get().name == "copy"


@pytest.mark.django_db
def test_a_hello_that_names_no_incarnation_leaves_the_one_that_is_known() -> None:
    record_hellos([("ship1", hello(incarnation=5))], now=NOW)
    told = Heartbeat(version="1", at=NOW, processes=(ProcessReport("copy", "blocked"),))
    record_hellos([("ship1", told)], now=NOW + SECOND)
    assert Process.objects.values_list("state", "incarnation", "last_seen").get() == ("blocked", 5, NOW + SECOND)


@pytest.mark.django_db
def test_a_life_that_its_node_ended_by_itself_is_not_laid_to_whoever_answered_too_late(viewer: Client) -> None:
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
def test_an_outcome_that_comes_after_the_next_life_puts_its_ending_right() -> None:
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
    assert re.findall(r'data-label="Restarts, 24 h" class="num">([^<]*)</td>', page) == [
        "2",
        f"≥ {incarnations.KEPT}",
        "0",
    ]
    one = viewer.get(f"/nodes/ship1/{keys['copy']}/").content.decode()
    assert "<dt>Restarts, 24 h</dt><dd>2</dd>" in one


@pytest.mark.django_db
def test_reports_and_hellos_of_dead_lives_bring_none_back_and_numbers_without_end_fill_nothing() -> None:
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


# What nodes tell of themselves


@pytest.mark.parametrize(
    ("skew_s", "words"),
    [
        (None, "not reported"), (1.9, "no skew measured"), (-2.5, "2 s behind"),
        (250.0, "4 min ahead"),
        (-7300.0, "2 h behind"), (90000.0, "1 d ahead"),
    ],
)  # fmt: skip
def test_a_wrong_clock_is_said_in_words(skew_s: float | None, words: str) -> None:
    assert skew_words(skew_s) == words


def test_what_was_dropped_is_said_by_kind_where_it_is_known() -> None:
    assert dropped_words(Node()) == "not reported"
    assert dropped_words(Node(dropped=0)) == "none"
    assert dropped_words(Node(dropped=1)) == "1 event dropped from the full journal"
    told = Node(dropped=1204, dropped_infos=1203, dropped_errors=1)
    assert dropped_words(told) == "1,203 infos and 1 error dropped from the full journal"


@pytest.mark.django_db
def test_pages_of_nodes_and_processes_say_it_all(viewer: Client) -> None:
    now = datetime.now(UTC)
    asked = report(type=EventType.ACTION)
    take_in(asked, now=now)
    told = hello(incarnation=2, dropped=3, dropped_infos=2, dropped_errors=1, refused=4)
    record_hellos([("ship1", told)], now=now)
    access_denials.record({Denial("publish", "ek.evt.other<b>", "ship1", "", "10.1.1.1"): 12}, now=now)
    access_denials.record({Denial("connect", "", "", "key:UX", "10.1.1.2"): 2}, now=now)
    page = viewer.get(reverse("node", args=["ship1"])).content.decode()
    for words in ("publish on ek.evt.other&lt;b&gt;", "12×, last", "2 infos and 1 error", "Clock"):
        assert words in page
    process = Process.objects.get()
    assert reverse("process", args=["ship1", process.pk]) in page
    page = viewer.get(reverse("process", args=["ship1", process.pk])).content.decode()
    for words in ("crashed", "running", str(asked.id)):
        assert words in page
    assert "with key UX" in viewer.get(reverse("nodes")).content.decode()
    for wrong in (["ship2", process.pk], ["ship1", process.pk + 1], ["ship1", 2**70]):
        assert viewer.get(reverse("process", args=wrong)).status_code == 404


@pytest.mark.django_db
def test_where_more_wait_than_are_shown_their_number_leads_to_all_of_them(viewer: Client) -> None:
    fleet.add_node("ship1", actor=Actor.system(NOW))
    take_in(*(report(type=EventType.ACTION, process=f'copy "{n < 12:d}"') for n in range(18)))
    process = Process.objects.get(name='copy "1"')
    problem = Problem.objects.get()
    for page, waiting in (("/nodes/ship1/", 18), (f"/nodes/ship1/{process.pk}/", 12), (f"/problems/{problem.pk}/", 18)):
        shown = " ".join(viewer.get(page).content.decode().split())
        assert shown.count('<article class="incident ') == 10, page
        link = re.search(rf'<a class="pending-link" href="([^"]+)">.*? All {waiting} pending incidents</a>', shown)
        assert link, page
        room = " ".join(viewer.get(link[1].replace("&amp;", "&")).content.decode().split())
        assert room.count('<article class="incident ') == waiting, link[1]


@pytest.mark.django_db
def test_the_api_tells_liveness_and_lives(viewer: Client) -> None:
    now = datetime.now(UTC)
    asked = report(type=EventType.ACTION)
    take_in(asked, now=now)
    take_in(report(), node="silent", now=now)
    record_hellos([("ship1", hello(incarnation=2, dropped=3, dropped_infos=2, dropped_errors=1))], now=now)

    def items(path: str) -> list[dict[str, Any]]:
        answer = viewer.get("/api/v1/" + path)
        assert answer.status_code == 200, answer.content
        return list(answer.json()["items"])

    [node] = items("nodes?liveness=alive")
    assert (node["name"], node["liveness"], node["dropped_infos"], node["dropped_errors"]) == ("ship1", "alive", 2, 1)
    assert 0 <= node["heartbeat_age_s"] < 60
    assert abs(node["clock_skew_s"]) > 0
    [silent] = items("nodes?liveness=no_heartbeat")
    assert (silent["name"], datetime.fromisoformat(silent["contact_at"])) == ("silent", now)
    assert items("nodes?liveness=never") == []
    [process] = items("processes?liveness=alive")
    assert (process["node"], process["liveness"], process["pid"]) == ("ship1", "alive", 102)
    found = items(f"processes/{process['id']}/incarnations?order=desc")
    assert [(one["number"], one["ending"]) for one in found] == [(2, None), (1, "crashed")]
    assert viewer.get("/api/v1/nodes?liveness=well").status_code == 400
    assert viewer.get("/api/v1/processes/999999/incarnations").status_code == 404
    assert viewer.post(f"/api/v1/processes/{process['id']}/incarnations").status_code == 405
    kernel_heartbeats.record("host:1", started_at=now, lag=0, now=now)
    assert decisions.note_missing_nodes(now=now + GONE_AFTER) == [asked.id]
    [incident] = items("incidents?node=ship1")
    assert incident["node_liveness"] == "gone"


# Refused attempts


def line(client: str, what: str) -> str:
    return f"[9] 2026/11/24 08:50:56.306896 [ERR] 10.0.0.9:52086 - cid:7 - {client}{what}"


NAME = r'"v2:python3:we \"ird\" - \"node-victim/nkey:U\" - Publish Violation - Subject \"x\"" - '


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(NAME + f'"node-a-b/nkey:{KEY}" - ', 'Publish Violation - Subject "ek.evt.b"'),
         Denial("publish", "ek.evt.b", "a-b", f"key:{KEY}", "10.0.0.9")),
        (line(f'"node-a/nkey:{KEY}" - ', 'Subscription Violation - Subject "x.y", Queue: "q", SID 2'),
         Denial("subscribe", "x.y", "a", f"key:{KEY}", "10.0.0.9")),
        (line(f'"v2" - "node-a/nkey:{KEY}" - ', 'Publish Violation - Reply "_R_.x"'),
         Denial("publish", "(answer to) _R_.x", "a", f"key:{KEY}", "10.0.0.9")),
        (line("", f'authentication error - Nkey "{KEY}"'), Denial("connect", "", "", f"key:{KEY}", "10.0.0.9")),
        (line("", 'authentication error - User "u\\n"'), Denial("connect", "", "", "user:u\n", "10.0.0.9")),
        (line("", 'authentication error - Token "[REDACTED]"'), Denial("connect", "", "", "", "10.0.0.9")),
        (line("", "authentication error"), Denial("connect", "", "", "", "10.0.0.9")),
        ("[9] 2026/11/24 08:50:56.306896 [INF] Server is ready", None), ("", None), ("\x00\xff", None),
    ],
)  # fmt: skip
def test_a_line_of_the_brokers_log_is_read_and_no_name_of_a_client_can_forge_one(
    text: str, expected: Denial | None
) -> None:
    assert log_tailer.parse(text) == expected


def test_the_log_is_followed_through_rotation_and_halves_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("old\n")
    tail = LogTailer(path)
    assert tail.read() == []
    with path.open("a") as out:
        out.write("one\ntw")
    assert tail.read() == ["one"]
    with path.open("a") as out:
        out.write("o\n")
    assert tail.read() == ["two"]
    with path.open("a") as out:
        out.write("last\n")
    os.rename(path, tmp_path / "server.log.1")
    path.write_text("new\n")
    assert [*tail.read(), *tail.read(), *tail.read()] == ["last", "new"]
    path.write_text("")
    tail.read()
    with path.open("a") as out:
        out.write("after a cut\n")
    assert [*tail.read(), *tail.read()] == ["after a cut"]


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    tail = LogTailer(tmp_path / "log")
    assert tail.read() == []
    (tmp_path / "log").write_text("first\n")
    assert tail.read() == ["first"]


def test_a_storm_of_different_attempts_is_few_in_memory() -> None:
    tally = DenialCounter()
    for number in range(10_000):
        tally.add(Denial("publish", f"ek.evt.{number}", "a"))
    tally.add(Denial("connect", "", "", "key:U"))
    taken = tally.take()
    assert (len(taken), sum(taken.values())) == (KEYS_MAX + 2, 10_001)
    assert tally.take() == {}


@pytest.mark.django_db
def test_the_same_attempt_is_one_row_and_rows_are_bounded() -> None:
    for minute in range(3):
        access_denials.record({Denial("publish", "ek.evt.b", "a"): 4}, now=NOW + minute * 60 * SECOND)
    row = AccessDenial.objects.get()
    assert (row.count, row.first_at, row.last_at) == (12, NOW, NOW + 120 * SECOND)
    for hour in range(1, 4):
        later = NOW + timedelta(hours=2 * hour)
        access_denials.record({Denial("publish", f"x.{hour}.{number}\0", "a"): 1 for number in range(300)}, now=later)
        access_denials.record(
            {Denial("connect", "", "", f"key:{hour}.{number}"): 1 for number in range(600)}, now=later
        )
        half = access_denials.KEPT_OF_A_NODE // 2
        assert AccessDenial.objects.get(node="a", target="…").count == hour * (300 - half)
    assert AccessDenial.objects.filter(node="a").count() == access_denials.KEPT_OF_A_NODE
    assert AccessDenial.objects.filter(node="").count() == access_denials.KEPT_OF_UNKNOWN_SENDERS
    assert not AccessDenial.objects.filter(target="ek.evt.b").exists(), "the oldest made way"


@pytest.mark.django_db
def test_whoever_comes_with_the_key_or_token_of_a_node_that_is_shut_out_is_known_by_it() -> None:
    made = fleet.add_node("ship1", actor=Actor.system(NOW))
    old = public_nkey(made.nkey_seed)
    fleet.renew_node("ship1", actor=Actor.system(NOW))
    token_digest = Node.objects.get().token_digest
    access_denials.record(
        {Denial("connect", "", "", f"key:{old}"): 1, Denial("http", "/api/v1/", "", f"token:{token_digest}"): 1,
         Denial("http", "/api/v1/", "", "token:" + "0" * 64): 1}, now=NOW,
    )  # fmt: skip
    found = {(one.operation, one.node): one.credential for one in AccessDenial.objects.all()}
    assert found["connect", "ship1"] == f"key:{old}"
    assert found["http", "ship1"] == f"token:{token_digest[:12]}", "never the whole digest"
    assert ("http", "") in found
    assert all(UUID(int=0).hex not in claimed for claimed in found.values())


# Quarantine


def quarantined(*names: str) -> Event:
    """The question about these, as a supervisor's node asks it."""
    tags = {"quarantined": names[0]} | {f"quarantined {n}": name for n, name in enumerate(names[1:], 2)}
    given = {"type": EventType.ACTION, "kind": "Quarantined", "text": f"{names[0]} is quarantined", "tags": tags}
    return report(process="copiers", **given)


@pytest.mark.django_db
def test_who_is_quarantined_is_told_with_its_question_and_cleared_by_who_may_answer(viewer: Client) -> None:
    User.objects.create_user("olga").groups.add(Group.objects.get(name="operator"))
    operator = Client()
    operator.force_login(User.objects.get(username="olga"))
    take_in(report(incarnation=4))
    states = [ProcessReport(name, "quarantined", 4, since=NOW) for name in ("copy", "a, b")]
    states.append(ProcessReport("index", "running", 1, since=NOW))
    record_hellos([("ship1", Heartbeat(version="1", at=NOW, processes=tuple(states)))], now=NOW)
    assert lives() == [(1, "", 0), (4, "crashed", 0), (4, "crashed", 1)]
    asked = quarantined("copy", "a, b")
    take_in(asked)
    copy, sibling, other = (Process.objects.get(name=name) for name in ("copy", "a, b", "index"))
    pages = ["/nodes/ship1/", *(f"/nodes/ship1/{one.pk}/" for one in (copy, sibling))]
    for page in pages:
        seen, shown = (one.get(page).content.decode() for one in (viewer, operator))
        for html in (seen, shown):
            assert "■ quarantined" in html
            assert f"/incidents/{asked.id}/" in html
        assert "Start again" in shown
        assert "Start again" not in seen
    assert "■ quarantined" not in operator.get(f"/nodes/ship1/{other.pk}/").content.decode()
    clear = {"action": "continue", "request_id": "1", "next": pages[1]}
    assert viewer.post(f"/incidents/{asked.id}/decision/", clear).status_code == 403
    cleared = operator.post(f"/incidents/{asked.id}/decision/", clear, follow=True)
    assert cleared.redirect_chain == [(pages[1], 302)]
    html = cleared.content.decode()
    assert "■ quarantined" in html
    assert "Start again" not in html
    assert Decision.objects.get().action == "continue"
    record_hellos([("ship1", hello(incarnation=5))], now=datetime.now(UTC))
    html = " ".join(operator.get(pages[1]).content.decode().split())
    assert "■ quarantined" not in html
    told = html.split("<h2>Restarts</h2>")[1].split("</tr>")
    began_by = f'/incidents/{asked.id}/">decided <b>continue</b> by</a> <bdi>olga'
    assert [began_by in row for row in told[1:3]] == [True, False], "of the life that began by it"


# The map


@pytest.mark.django_db
def test_the_map_opens_node_by_node_and_process_by_process(viewer: Client) -> None:
    take_in(report(), report(), report(kind="F", level=Level.CRITICAL), report(process="index"))
    take_in(report(process="index"), node="ship2")
    record_hellos([("quiet", Heartbeat(version="1", at=NOW))], now=NOW)
    copy = Process.objects.get(name="copy")

    def shown(address: str) -> str:
        return viewer.get(address).content.decode()

    closed = shown("/map/")
    assert "3 error states" in closed
    assert "1 error state," in closed
    assert closed.count('aria-expanded="false"') == 2  # one that has met nothing has nothing to open
    assert "copy" not in closed
    node = shown("/map/?node=ship1")
    assert f"/nodes/ship1/{copy.pk}/" in node
    assert 'class="level-critical"' in node
    process = shown(f"/map/?node=ship1&process={copy.pk}")
    for problem in Problem.objects.filter(error_states__process=copy):
        assert f"/problems/{problem.pk}/" in process
    assert process.count('aria-expanded="true"') == 2
    assert {one.node_id for one in copy.error_states.all()} == {copy.node_id}
    for wrong, status in (("node=none", 404), ("node=ship2&process=1", 404), ("process=x", 400), ("node=%00", 400)):
        assert viewer.get(f"/map/?{wrong}").status_code == status, wrong
    assert Client().get("/map/").status_code == 302


@pytest.mark.django_db
def test_a_node_that_the_broker_does_not_know_yet_is_no_denial() -> None:
    # `steward node add` and `renew` try the new key until the broker accepts it.
    fleet.add_node("ship1", Actor.system(NOW))
    key = Node.objects.get(name="ship1").public_key
    new, stranger = Denial("connect", claimed=f"key:{key}"), Denial("connect", claimed="key:U")
    assert access_denials.record({new: 3, stranger: 2, Denial("publish", "x", "ship1"): 1}, now=NOW) == {
        "connect": 2,
        "publish": 1,
    }


@pytest.mark.django_db(transaction=True)
async def test_a_request_with_a_nodes_token_is_a_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "DELAY_S", 0.0)
    threads = DatabaseThreads("test")
    made = await threads.run(fleet.add_node, "ship1", Actor.system(NOW))
    known = NodeTokens(threads)
    assert await known.node(made.token) == "ship1"
    assert known.contacts.stored is not None
    await known.contacts.stored
    assert await threads.run(Node.objects.filter(name="ship1", http_at__isnull=False).exists)
    known.contacts.note("ship1")
    assert known.contacts.stored.done(), "one write per node and half minute"
    threads.close()
