"""Nodes and processes are alive, late or gone."""

from datetime import datetime, timedelta

import pytest

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
from errorkernel.domain.values import Action, EventType
from errorkernel.live import rendering
from errorkernel.models import Incident, Node, Process
from errorkernel.store import kernel_heartbeats
from errorkernel.store import nodes as fleet
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import system_status
from tests.support.fleet_data import NOW, SECOND, hello, report, take_in
from tests.support.heartbeats import heard_node, record_hellos

# Liveness


@pytest.mark.parametrize(
    ("silence", "expected"),
    [
        (timedelta(0), "alive"), (LATE_AFTER - SECOND, "alive"), (LATE_AFTER, "late"), (GONE_AFTER - SECOND, "late"),
        (GONE_AFTER, "gone"), (timedelta(days=9), "gone"), (-timedelta(hours=1), "alive"),
    ],
)  # fmt: skip
def test_one_missed_heartbeat_is_late_and_three_are_gone(silence: timedelta, expected: str) -> None:
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
def test_an_open_incident_says_that_its_node_is_gone_and_takes_it_back() -> None:
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
def test_a_node_that_never_sent_a_heartbeat_is_not_missed_and_a_decided_incident_says_nothing() -> None:
    by_http, answered = report(type=EventType.ACTION), report(type=EventType.ACTION)
    take_in(by_http, node="http")
    take_in(answered)
    record_hellos([("ship1", hello())], now=NOW)
    beats(since=timedelta(0))
    decisions.decide(answered.id, Action.CONTINUE, actor=Actor("user:a", NOW))
    assert decisions.note_missing_nodes(now=NOW + timedelta(days=1)) == []
