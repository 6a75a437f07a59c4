"""The list of events: histogram, facets, completion, export, and the neighbours of an event in a search."""

import csv
import io
import json
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse

from errorkernel.domain.rollups import minute_of
from errorkernel.domain.values import EventType, Level
from errorkernel.models import AuditEntry, ErrorEvent
from errorkernel.store import event_search, facets
from errorkernel.store.event_search import Columns
from errorkernel.web.console import event_export
from tests.support.page_data import NOW, event, person, store

LIST = reverse("events")
EXPORT = reverse("event-export")
RANGE = {"since": "2026-11-24T09:00", "until": "2026-11-24T11:00"}


@pytest.fixture
def alice(db) -> Client:
    return person("alice", "viewer")


@pytest.fixture
def history(alice) -> Client:
    """Five events of an hour: two errors, a warning and two infos, on two nodes."""
    hour = NOW - timedelta(minutes=50)
    store(event("disk full", tags={"release": "1.0", "mount": "/data"}), now=hour)
    store(
        event("disk full", tags={"release": "2.0"}), event("slow", type=EventType.INFO, level=Level.WARNING), node="n2"
    )
    store(event("copied", type=EventType.INFO, level=Level.INFO, process="w"), now=NOW + timedelta(seconds=1))
    store(event("=cmd()", type=EventType.INFO, level=Level.INFO, process="w"), now=NOW + timedelta(seconds=2))
    return alice


def columns(client: Client, **query: str) -> list[list[int]]:
    page = client.get(LIST, RANGE | query).context["histogram"]
    return [len(column.bars) for column in page.chart.columns if column.bars], page.total


def test_the_histogram_shows_the_range_whatever_is_searched(history):
    for query, total, bars in (
        ({}, 5, [1, 3]), ({"q": "level>=error"}, 2, [1, 1]), ({"level": "error"}, 2, [1, 1]),
        ({"q": "disk"}, 2, [1, 1]), ({"node": "n2"}, 2, [2]), ({"q": "nothing-like-this"}, 0, []),
        ({"q": "since:2026-11-24T09:30 slow", "since": "", "until": "2026-11-24T10:30"}, 1, [1]),
        ({"since": "0001-01-01T00:00", "until": "0001-01-01T00:01"}, 0, []),
        ({"since": "", "q": "since:30000d"}, 5, [3]),
    ):  # fmt: skip
        assert columns(history, **query) == (bars, total), query


@pytest.mark.parametrize(
    ("length", "step", "count"),
    [(timedelta(0), 1, 1), (timedelta(minutes=5), 1, 6), (timedelta(hours=1), 2, 31), (timedelta(hours=24), 30, 49),
     (timedelta(days=7), 180, 57), (timedelta(days=30), 720, 61), (timedelta(days=9000), 43200, 60)],
)  # fmt: skip
def test_a_histogram_has_few_columns_that_cover_the_range(length, step, count):
    found = Columns.between(NOW - length, NOW)
    assert (found.step_min, found.count) == (step, min(count, 60)) or found.count <= 60
    assert found.first % found.step_min == 0
    assert found.end > NOW
    assert length > timedelta(days=2000) or found.first <= minute_of(NOW - length)


def test_a_range_far_back_is_read_where_it_is(history, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr("errorkernel.web.console.event_list.SCAN_EVENTS", 2)
    with django_assert_max_num_queries(30):
        page = history.get(LIST, {"until": "2026-11-24T09:30"})
    assert [row.text for row in page.context["events"]] == ["disk full"]
    assert event_search.numbers_between(NOW + timedelta(days=1), None) == (2**63 - 1, None)
    assert event_search.numbers_between(None, NOW - timedelta(days=1)) == (0, 0)


def test_facets_count_levels_nodes_processes_releases_and_types_in_one_pass(history):
    found = facets.event_facets(ErrorEvent.objects.all())
    assert dict(found.levels) == {"error": 2, "warning": 1, "info": 2}
    assert dict(found.nodes) == {"ship1": 3, "n2": 2}
    assert dict(found.processes) == {"copy-files": 3, "w": 2}
    assert dict(found.releases) == {"1.0": 1, "2.0": 1}
    assert dict(found.types) == {"error": 2, "info": 3}
    page = history.get(LIST, {"q": "disk", "range": "7d"} | RANGE)
    (release,) = [one for one in page.context["facets"] if one.title == "Release"]
    assert sorted((value.name, value.count) for value in release.values) == [("1.0", 1), ("2.0", 1)]
    assert "q=disk+release%3A" in release.values[0].address
    assert "since=2026-11-24" in release.values[0].address
    assert "Counted in the newest 10,000 events of the range." in page.content.decode()


def test_a_search_with_a_mistake_shows_it_and_nothing_else(history):
    page = history.get(LIST, {"q": "nod:x"})
    assert page.status_code == 400
    assert page.content.decode().count('id="query-error"') == 1
    assert page.context["histogram"] is None


def test_an_event_leads_to_its_neighbours_in_the_search(history):
    first, second = ErrorEvent.objects.filter(text="disk full").order_by("seq")
    page = history.get(reverse("event", args=[second.seq]), {"q": "disk"} | RANGE).content.decode()
    assert f"/events/{first.seq}/?q=disk&amp;since=2026-11-24T09%3A00" in page
    assert 'rel="prev"' not in page
    assert f"/events/{second.seq + 1}/" in history.get(reverse("event", args=[second.seq])).content.decode()
    assert 'data-copy-from="event-id"' in page
    assert history.get(reverse("event", args=[second.seq]), {"serch": "x"}).status_code == 400


@async_to_sync
async def content(response) -> str:
    return b"".join([part async for part in response.streaming_content]).decode()


def test_events_are_exported_as_they_are_shown(history, monkeypatch):
    monkeypatch.setattr(event_export, "_READ_AT_ONCE", 2)
    rows = list(csv.DictReader(io.StringIO(content(history.get(EXPORT, RANGE | {"format": "csv"})))))
    assert [row["text"] for row in rows] == ["'=cmd()", "copied", "slow", "disk full", "disk full"]
    assert list(rows[0]) == list(event_export.COLUMNS)
    made = history.get(EXPORT, RANGE | {"format": "ndjson", "q": "disk"})
    assert made.headers["Content-Disposition"] == 'attachment; filename="events.ndjson"'
    lines = [json.loads(line) for line in content(made).splitlines()]
    assert [(line["node"], line["release"], line["tags"].get("mount")) for line in lines] == [
        ("n2", "2.0", None), ("ship1", "1.0", "/data"),
    ]  # fmt: skip
    monkeypatch.setattr(event_export, "ROWS_MAX", 3)
    assert len(content(history.get(EXPORT, {"format": "ndjson"})).splitlines()) == 3
    entries = AuditEntry.objects.filter(action="export").order_by("id")
    assert [(entry.actor, entry.after.get("q")) for entry in entries] == [
        ("user:alice", None), ("user:alice", "disk"), ("user:alice", None),
    ]  # fmt: skip
    assert history.get(EXPORT, {"q": "nod:x"}).status_code == 400
    assert history.get(EXPORT, {"format": "xml"}).status_code == 400
    assert Client().get(EXPORT).status_code == 302


def options(client: Client, text: str, page: str = "events", at: int | None = None) -> list[tuple[str, int | None]]:
    found = client.get(reverse("complete"), {"q": text, "page": page, "at": len(text) if at is None else at}).json()
    return [(option["insert"], option["count"]) for option in found["options"]]


def test_the_search_is_completed_with_counts(history):
    assert options(history, "lev")[:2] == [("level>=error", 2), ("level>=warning", 3)]
    assert options(history, "lev")[-1] == ("text:lev", None)
    assert options(history, "x node:")[0] == ("node:ship1", 3)
    assert options(history, "node:SHI") == [("node:ship1", 3)]
    assert options(history, "-(process:c") == [("process:copy-files", 3)]
    assert options(history, "release:") == [("release:1.0", 1), ("release:2.0", 1)]
    assert options(history, "tag.m")[0] == ("tag.mount:", 1)
    assert options(history, "tag.mount:") == [("tag.mount:/data", 1)]
    assert options(history, "level>=w") == [("level>=warning", None)]
    assert ("release:", None) in options(history, "rel")
    assert options(history, 'text:"a node:') == [], "inside quotes"
    assert options(history, "node>=a") == options(history, "nod:a") == []
    assert options(history, "node:x y", at=4) == [], "in the middle of a word"
    assert options(history, "assigned:", "problems")[:2] == [("assigned:me", None), ("assigned:nobody", None)]
    assert options(history, "state:m", "problems") == [("state:muted", None)]
    assert history.get(reverse("complete"), {"page": "other"}).status_code == 400
    assert options(history, '"' * 999) == options(history, "a" * 2000 + " node:") == []
