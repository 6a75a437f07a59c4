"""What pages show of events, nodes and processes."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain.values import (
    Action,
    EventType,
    Heartbeat,
    Message,
    OutcomeState,
    ProcessReport,
)
from errorkernel.models import ErrorState, Node, Problem, Process
from errorkernel.senders.steward.protocol import text_record
from errorkernel.store import kernel_heartbeats
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.event_rows import stored as events_stored
from errorkernel.templatetags.console import lateness, one_line, visible
from errorkernel.templatetags.event_row import event_row
from tests.support.heartbeats import heard_node, record_hellos
from tests.support.page_data import HOSTILE, NOW, answer, ask, event, every_page, store

pytestmark = pytest.mark.django_db


# What the pages say


def test_hostile_text_is_shown_as_text_on_every_page(alice):
    fields = {
        "kind": "<b>kind</b>",
        "process": "<i>process</i>",
        "stack": HOSTILE,
        "tags": {"<u>tag</u>": HOSTILE},
        "relay_from_node": "<s>relay</s>",
        "message": Message(id="<em>", method="<svg onload=x>", from_node="<q>", to_node="<q>", data=HOSTILE),
    }
    # The wire decoder strips NUL before anything is stored; no database column could hold it.
    incident = ask(HOSTILE.replace("\x00", ""), **{**fields, "stack": "s", "tags": {"<u>tag</u>": "<v>"}})
    store(event(HOSTILE.replace("\x00", ""), **{**fields, "stack": "s", "tags": {}}))
    answer(incident, Action.KILL, reason=HOSTILE.replace("\x00", ""), outcome=OutcomeState.FAILED, detail="<tt>detail")
    for page in every_page(incident):
        html = alice.get(page).content.decode()
        for raw in (
            "<script>alert",
            "<b>kind",
            "<i>process",
            "<u>tag",
            "<s>relay",
            "<svg onload",
            "<em>",
            "<tt>detail",
        ):
            assert raw not in html, (page, raw)
        assert "\u202e" not in html, page
        assert "\x1b" not in html, page


def test_invisible_and_reordering_characters_are_written_out():
    assert visible("a\u202eb\x1b[31mc\x00\x7f") == r"a\u202eb\x1b[31mc\x00\x7f"
    assert visible("tab\tand\nnewline\r\n") == "tab\tand\nnewline\n"
    assert visible("שגיאה ⚠️ 👩‍🚀 می‌خواهم") == "שגיאה ⚠️ 👩‍🚀 می‌خواهم"


def test_a_row_holds_the_beginning_of_a_long_text_on_one_line():
    row = one_line("first\nsecond\r\n\r\nthird" + "A" * 70_000)
    assert row.startswith("first ↵ second ↵ thirdA")
    assert row.endswith("A…")
    assert len(row) < 320


def test_a_row_renders_without_a_request_or_a_query(django_assert_num_queries):
    row = store(event(HOSTILE.replace("\x00", ""), message=Message(id="8841", method="REQCopySrc"))).rows[0]
    with django_assert_num_queries(0):
        html = event_row(row)
    assert 'data-seq="1"' in html
    assert "■ error" in html
    assert 'href="/events/1/"' in html
    assert "REQCopySrc #8841" in html
    assert "<script>" not in html


def test_a_row_from_the_table_is_the_row_that_was_pushed():
    pushed = store(event(message=Message(id="1", method="m")), event("x", type=EventType.ACTION)).rows
    stored = [EventRow.of(one) for one in events_stored().order_by("seq")]
    render = [event_row(row) for row in pushed]
    assert render == [event_row(row) for row in stored]


def test_a_late_report_is_marked_with_its_age_and_a_fresh_one_is_not():
    fresh, late = store(event(), event(occurred_at=NOW - timedelta(hours=2, minutes=5))).rows
    assert lateness(fresh) == ""
    assert lateness(late) == "2 h"


def test_the_line_in_the_seeds_format():
    assert text_record.line(NOW, "ship1", "relay1", "it broke") == (
        "Tue Nov 24 10:00:00 2026, node: ship1, relayFromNode: relay1, it broke"
    )
    assert (
        text_record.line(datetime(2026, 3, 5, 1, 2, 3, tzinfo=UTC), "a", "", "b")
        == "Thu Mar  5 01:02:03 2026, node: a, b"
    )


def test_an_events_page_shows_everything_that_is_known(viewer):
    fields = {
        "stack": "Traceback\n  line 3",
        "tags": {"release": "1.4.2"},
        "relay_from_node": "relay1",
        "cut": ("error.stack",),
        "message": Message(id="8841", method="REQCopySrc", from_node="central", to_node="ship9", data="the data"),
    }
    row = store(event("open /data/a.tif: no such file", **fields)).rows[0]
    html = viewer.get(reverse("event", args=[row.seq])).content.decode()
    line = "Tue Nov 24 10:00:00 2026, node: ship1, relayFromNode: relay1, open /data/a.tif: no such file"
    for known in (line, "Traceback\n  line 3", "1.4.2", "error.stack", "REQCopySrc", "ship9", "the data", str(row.id)):
        assert known in html, known
    assert Problem.objects.get().why in html


def test_the_live_page_begins_where_its_rows_end(viewer):
    store(*[event(f"number {n}") for n in range(150)])
    html = viewer.get("/").content.decode()
    shown = [int(seq) for seq in re.findall(r'<li class="event [^>]*data-seq="(\d+)"', html)]
    assert shown == list(range(150, 110, -1))
    assert 'data-stream data-seq="150"' in html


def test_the_triage_page_counts_what_is_pending(alice):
    for n in range(7):
        ask(f"question {n}", process=f"p{n}", now=NOW + timedelta(seconds=n))
    html = alice.get("/").content.decode()
    assert "<title>(7) Triage · Steward</title>" in html
    assert "7 processes blocked by" in html


def test_a_list_that_is_cut_says_of_how_many_it_shows_the_latest(alice):
    store(*[event("no such file", process=f"p{n}", kind=f"Kind{n}") for n in range(27)])
    store(*[event("the same everywhere", process=f"p{n}") for n in range(28)])
    for n in range(12):
        answer(ask(f"question {n}", process="asks"))
    process = Process.objects.get(name="p0")
    problem = ErrorState.objects.filter(process__name="p27").get().problem_id
    shown = "{} of {}, latest first."
    for address, cut in {
        "/nodes/ship1/": shown.format(15, 27 + 28 + ErrorState.objects.filter(process__name="asks").count()),
        f"/problems/{problem}/": shown.format(15, 28),
        "/incidents/": shown.format(10, 12),
        reverse("process", args=["ship1", process.pk]): None,
    }.items():
        html = alice.get(address).content.decode()
        assert cut in html if cut else "latest first" not in html, address


def test_an_empty_live_page_teaches_how_to_report_here(viewer):
    html = viewer.get("/").content.decode()
    assert "curl http://testserver/api/v1/events" in html
    assert "steward node add" in html
    ids = {re.search(r'"id": "([0-9a-f-]{36})"', page)[1] for page in (html, viewer.get("/").content.decode())}
    assert len(ids) == 2  # a line that is pasted works, and is another report each time


def test_a_silent_kernel_and_a_lost_broker_are_said(viewer):
    def shown(banner):
        html = viewer.get("/").content.decode()
        return not re.search(rf'data-banner="{banner}"\s+hidden', html)

    now = datetime.now(UTC)
    assert shown("kernel")
    kernel_heartbeats.record("w", started_at=now, lag=0, now=now)
    assert not shown("kernel")
    assert not shown("broker")
    kernel_heartbeats.record("w", started_at=now, lag=None, now=now)
    assert shown("broker")
    kernel_heartbeats.record("w", started_at=now, lag=None, now=now - timedelta(seconds=40))
    assert shown("kernel")
    assert not shown("broker")  # an old heartbeat says nothing of the broker


def test_a_node_is_late_before_it_is_gone_and_its_processes_are_listed(viewer):
    now = datetime.now(UTC)
    reports = (ProcessReport("copy-files", "blocked", 8, 3391, now - timedelta(days=2)),)
    for name, silence in (("fresh", 5), ("tardy", 60), ("silent", 7200)):
        heard = now - timedelta(seconds=silence)
        record_hellos([(name, Heartbeat(version="1", at=heard, processes=reports))], now=heard)
    Node.objects.filter(name="fresh").update(demo=True)
    for ago in (60, 0):
        kernel_heartbeats.record("w", started_at=now, lag=0, now=now - timedelta(seconds=ago))
    html = viewer.get("/nodes/").content.decode()
    assert "1 node late, 1 node gone" in re.sub(r"<[^>]*>", "", html)
    assert "2 of 3 nodes are late or gone" in html
    for word in ("last heartbeat", "late, last heartbeat", "gone, last heartbeat", "demo"):
        assert word in html
    page = viewer.get("/nodes/fresh/").content.decode()
    for word in ("copy-files", "blocked", "3391"):
        assert word in page


def test_nodes_that_want_a_look_come_first_on_whatever_page(viewer):
    ask(node="m-waits")
    now = timezone.now()
    heard = {"a-fine": 5, "b-late": 50, "c-gone": 500, "d-out": 500, "m-waits": 5, "z-gone": 9000, "b-silent": None}
    for name, age in heard.items():
        heard_node(name, age and now - timedelta(seconds=age), enabled=name != "d-out")
    Node.objects.bulk_create([Node(name=f"n-{number:02}") for number in range(50)])

    def listed(page):
        return re.findall(
            r'<td class="main">\s*<a href="/nodes/([^/]+)/">', viewer.get(f"/nodes/?page={page}").content.decode()
        )

    urgent = ["c-gone", "z-gone", "b-late", "m-waits"]
    others = ["a-fine", "b-silent", "d-out", *(f"n-{number:02}" for number in range(50))]
    assert listed(1) + listed(2) == urgent + others
    assert len(listed(1)) == 50
