"""What nodes report of themselves, on pages and over the API."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from errorkernel.domain.access_denials import Denial
from errorkernel.domain.liveness import (
    GONE_AFTER,
)
from errorkernel.domain.values import EventType
from errorkernel.models import Node, Problem, Process
from errorkernel.store import kernel_heartbeats
from errorkernel.store import nodes as fleet
from errorkernel.store.accounts import access_denials
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.nodes import dropped_words, skew_words
from tests.support.fleet_data import NOW, hello, report, take_in
from tests.support.heartbeats import record_hellos

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
def test_the_api_tells_liveness_and_incarnations(viewer: Client) -> None:
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
