"""Lists: paged, filtered, bounded."""

import json
import re
from datetime import UTC, datetime

import pytest
from django.urls import reverse
from msgspec import structs

from errorkernel.domain.values import (
    Action,
    EventType,
    Level,
    OutcomeState,
)
from errorkernel.live import rendering
from errorkernel.live.frames import Frame, Status
from errorkernel.models import AuditEntry, ErrorEvent
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.event_rows import stored as events_stored
from tests.support.page_data import NOW, answer, ask, event, every_page, store

pytestmark = pytest.mark.django_db


# Lists


def test_stored_events_are_paged_by_number_whatever_arrives_meanwhile(viewer):
    store(*[event(f"number {n}") for n in range(250)])

    def page(query):
        html = viewer.get(f"/events/{query}").content.decode()
        older = re.search(r'href="([^"]+)"\s+rel="next"', html)
        return [int(seq) for seq in re.findall(r'data-seq="(\d+)"', html)], older and older[1].replace("&amp;", "&")

    first, older = page("")
    store(event("in between"))
    second, older = page(older)
    third, last = page(older)
    assert first + second + third == list(range(250, 0, -1))
    assert last is None


def test_stored_events_are_narrowed_by_what_stands_in_the_address(viewer):
    store(event("a"), event("b", level=Level.CRITICAL), node="ship1")
    store(event("c", process="http get&x"), event("d", type=EventType.ACTION), node="ship2")
    problem = ErrorEvent.objects.get(seq=1).problem_id

    def found(**query):
        html = viewer.get("/events/", query).content.decode()
        return [int(seq) for seq in re.findall(r'data-seq="(\d+)"', html)]

    assert found(node="ship1") == [2, 1]
    assert found(process="http get&x") == [3]
    assert found(node="ship1", process="http get&x") == []
    assert found(level="critical") == [2]
    assert found(type="action") == [4]
    assert found(problem=problem) == [1]
    assert found(**{"from": 2, "to": 3}) == [3, 2]
    assert found(node="no such node") == []


@pytest.mark.parametrize(
    "query",
    [
        "/events/?before=x",
        "/events/?level=loud",
        f"/events/?problem={2**64}",
        "/events/?node=a%00b",
        "/audit/?before=-1",
        "/problems/?sort=size",
        "/problems/?page=1e3",
        "/incidents/?page=x",
        "/events/?before=%C2%B2",
    ],
)
def test_an_address_that_cannot_be_right_is_answered_with_a_sentence(viewer, query):
    response = viewer.get(query)
    assert response.status_code == 400
    assert re.search(r"must (be|not)", response.content.decode())


def test_the_audit_trail_is_paged_and_narrowed_to_one_thing(viewer):
    incident = ask()
    answer(incident, Action.KILL, reason="it <hangs>", outcome=OutcomeState.APPLIED, new_incarnation=8)
    AuditEntry.objects.bulk_create([AuditEntry(at=NOW, actor="system", action="x", target="t") for _ in range(150)])
    html = viewer.get("/audit/?show=all").content.decode()
    assert html.count('data-label="Actor"') == 100
    older = re.search(r'href="([^"]+)"\s+rel="next"', html)[1]
    assert viewer.get("/audit/" + older.replace("&amp;", "&")).content.decode().count('data-label="Actor"') == 53
    about = viewer.get(f"/audit/?target=incident:{incident.pk}").content.decode()
    assert about.count('data-label="Actor"') == 3
    assert "it &lt;hangs&gt;" in about
    assert reverse("incident", args=[incident.pk]) in about


def test_a_time_in_the_audit_trail_is_shown_as_one_and_what_only_looks_like_one_as_it_is(viewer):
    after = {"escalated_at": "2026-11-29T19:06:20.237301+00:00", "name": "2026-11-31T19:06:20Z"}
    AuditEntry.objects.create(at=NOW, actor="deadline", action="escalate", target="t", after=after)
    html = viewer.get("/audit/?show=all").content.decode()
    assert "2026-11-29 19:06:20.237 UTC" in html
    assert "2026-11-31T19:06:20Z" in html


def test_ten_thousand_rows_stay_quick(viewer):
    for start in range(0, 10_000, 1000):
        store(*[event(f"kind {n % 50}", kind=f"E{n % 500}", process=f"p{n % 40}") for n in range(start, start + 1000)])
    incident = ask()
    for page in [
        *every_page(incident),
        "/events/?node=ship1&process=p3",
        "/events/?level=critical",
        "/events/?before=500",
    ]:
        started = datetime.now(UTC)
        assert viewer.get(page).status_code == 200
        assert (datetime.now(UTC) - started).total_seconds() < 2, page


def test_a_frame_that_no_websocket_would_take_comes_in_several_without_gap_or_loss():
    worst = "\u202e\x1b" * 1000
    cards = [ask(worst * 30, process=f"p{number}", kind=worst[:150]) for number in range(25)]
    for one in cards:
        answer(one, Action.KILL, reason=worst[:999], outcome=OutcomeState.FAILED, detail=worst)
    rows = [EventRow.of(one) for one in events_stored().order_by("seq")] * 3
    rows = [structs.replace(row, seq=seq) for seq, row in enumerate(rows, 11)]
    shown = rendering.load_cards([one.pk for one in cards])
    status = Status(kernel_age_s=None, broker=True, lag=0, nodes=0, nodes_late=0, nodes_gone=0)
    parts = {"rows": rendering.render_rows(rows), "cards": rendering.render_cards(shown)}
    whole = Frame(5, 90, **parts, skipped=6, pending=3, status=status, is_snapshot=True)
    pieces = whole.pieces()
    assert max(len(one.text.encode()) for one in pieces) < 700_000 < len(whole.text.encode())
    bodies = [json.loads(one.text) for one in pieces]
    covering = [one for one in bodies if one["from"] <= one["to"]]
    assert [one["from"] for one in covering] == [5, *(one["to"] + 1 for one in covering[:-1])]
    assert covering[-1]["to"] == 90
    assert [row["seq"] for one in covering for row in one["events"]] == [row.seq for row in rows]
    assert [one["skipped"] for one in bodies][:2] == [6, 0]
    assert {one["from"] for one in bodies[len(covering) :]} == {91}
    filled = [card["id"] for one in bodies for card in one["incidents"] if card["html"]]
    assert filled == [card["id"] for card in bodies[-1]["incidents"]] == [str(one.pk) for one in shown]
    assert ["snapshot" in one for one in bodies] == [False] * (len(bodies) - 1) + [True]
    assert bodies[-1]["counts"]["waiting"] == 3
    assert Frame(11, 11, parts["rows"][:1]).pieces()[0].first == 11
