"""The console's pages: who may see and do what, what they say, and that they stay quick and safe with any data."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from msgspec import structs

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import (
    Action,
    Event,
    EventType,
    Heartbeat,
    Level,
    Message,
    Outcome,
    OutcomeState,
    ProcessReport,
)
from errorkernel.live import rendering
from errorkernel.live.frames import Frame, Status
from errorkernel.models import AuditEntry, Decision, ErrorEvent, ErrorState, Incident, Node, Outbox, Problem, Process
from errorkernel.senders.steward.protocol import text_record
from errorkernel.store import kernel_heartbeats
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.event_rows import stored as events_stored
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.console import actor_name, brief, duration, lateness, one_line, visible
from errorkernel.templatetags.timeline import blocked_since, timeline
from errorkernel.web.console.incidents import record_of
from tests.support.heartbeats import heard_node, record_hellos

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 10, 0, 0, 204000, tzinfo=UTC)
# PostgreSQL stores no NUL, and what nodes send has none left when it is stored (protocol/sanitize).
NUL = "\x00" if connection.vendor == "sqlite" else ""
HOSTILE = f"<script>alert(1)</script>\u202eevil\x1b[31m{NUL}" + "W" * 2000


def event(text="no such file", *, process="copy-files", **fields):
    return Event(
        **{
            "id": uuid7(),
            "type": EventType.ERROR,
            "level": Level.ERROR,
            "process": process,
            "text": text,
            "kind": "FileNotFoundError",
            "incarnation": 7,
            "occurred_at": NOW - timedelta(milliseconds=200),
            **fields,
        }
    )


def store(*events, node="ship1", now=NOW):
    return record(Batch(events=[(node, one) for one in events]), NameCache(), now=now)


def ask(text="disk is gone", *, node="ship1", now=NOW, **fields):
    message = Message(id="8841", method="REQCopySrc", from_node="central", to_node="ship1", data="x")
    raised = event(text, type=EventType.ACTION, occurred_at=now, **{"message": message, **fields})
    store(raised, node=node, now=now)
    return Incident.objects.get(pk=raised.id)


def answer(incident, action=Action.CONTINUE, *, by="alice", now=NOW, reason="because", outcome=None, **fields):
    decision = decisions.decide(incident.pk, action, actor=Actor(f"user:{by}", now), reason=reason)
    if outcome:
        decisions.mark_delivered([incident.pk], now=now)
        done = Outcome(incident=incident.pk, state=outcome, decision_id=decision.pk, **fields)
        decisions.record_outcome(incident.node.name, done, now=now)
    return decision


def person(name, group=None):
    user = User.objects.create_user(name)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer():
    return person("vera", "viewer")


@pytest.fixture
def alice():
    return person("alice", "operator")


@pytest.fixture
def bob():
    return person("bob", "operator")


def every_page(incident):
    return [
        reverse("live"),
        reverse("events"),
        reverse("event", args=[incident.seq]),
        reverse("incidents"),
        reverse("incident", args=[incident.pk]),
        reverse("problems"),
        reverse("problem", args=[incident.problem_id]),
        reverse("nodes"),
        reverse("node", args=[incident.node.name]),
        reverse("audit"),
    ]


def send(client, incident, action, reason="", *, script=False, **fields):
    headers = {"X-Steward-Card": "1"} if script else {}
    data = {"action": action, "reason": reason, **fields}
    return client.post(reverse("incidents-decision", args=[incident.pk]), data, headers=headers)


# Who may see what


def test_every_page_answers_for_viewers_and_operators(viewer, alice):
    incident = ask()
    for page in every_page(incident):
        assert viewer.get(page).status_code == 200, page
        assert alice.get(page).status_code == 200, page


def test_every_page_says_in_its_help_what_it_is_for(alice):
    for page in every_page(ask()):
        said = alice.get(page).content.decode().split('<dialog id="help"')[1].split("<h3>Keys")[0]
        assert len(re.sub(r"<[^>]+>", "", said)) > 80, page


def test_every_page_answers_on_an_empty_database(viewer):
    for name in ("live", "events", "incidents", "problems", "nodes", "audit"):
        assert viewer.get(reverse(name)).status_code == 200, name


def test_nobody_sees_a_page_without_a_login(client):
    incident = ask()
    for page in every_page(incident):
        response = client.get(page)
        assert response.status_code == 302, page
        assert response["Location"].startswith(reverse("login")), page


def test_a_login_without_a_group_sees_nothing_and_is_told_what_to_do():
    nobody = person("nobody")
    incident = ask()
    for page in every_page(incident):
        response = nobody.get(page)
        assert response.status_code == 403, page
        assert "This needs the group <b><bdi>viewer</bdi></b>" in response.content.decode()
        assert "in no group" in response.content.decode()


def test_who_may_not_is_told_which_group_it_takes_what_they_are_and_the_way_back(viewer, alice):
    for client, page, group, own in (
        (viewer, "/settings/", "administrator", "viewer"), (viewer, "/bulk-decisions/new/", "operator", "viewer"),
        (alice, "/settings/", "administrator", "operator"), (alice, "/first-node/", "administrator", "operator"),
    ):  # fmt: skip
        refused = client.get(page, headers={"Referer": "http://testserver/nodes/"})
        told = refused.content.decode()
        assert refused.status_code == 403
        assert f"This needs the group <b><bdi>{group}</bdi></b>" in told
        assert f"(<bdi>{own}</bdi>)" in told
        assert 'href="/"' in told
        assert 'href="http://testserver/nodes/"' in told
    elsewhere = viewer.get("/settings/", headers={"Referer": "https://elsewhere.example/x"}).content.decode()
    assert "elsewhere" not in elsewhere


def test_an_open_question_says_to_a_viewer_why_there_are_no_buttons(viewer, alice):
    incident = ask()
    page = reverse("incident", args=[incident.pk])
    assert "That needs the group <b>operator</b>" in viewer.get(page).content.decode()
    assert "That needs the group" not in alice.get(page).content.decode()
    answer(incident)
    assert "That needs the group" not in viewer.get(page).content.decode()


def test_the_page_that_one_is_on_is_marked_also_behind_more(viewer):
    for name, marked in (
        ("live", False),
        ("problems", False),
        ("nodes", True),
        ("dead-letters", True),
        ("audit", True),
    ):
        page = viewer.get(reverse(name)).content.decode()
        assert f'href="{reverse(name)}" aria-current="page"' in page, name
        assert ('<summary aria-current="page">' in page) is marked, name
        assert len(set(re.findall(r'href="([^"]*)" aria-current="page"', page))) == 1, name


def test_what_does_not_exist_is_a_404(viewer):
    for page in ("/events/1/", f"/events/{2**70}/", f"/incidents/{uuid4()}/", "/problems/7/", f"/problems/{2**70}/"):
        assert viewer.get(page).status_code == 404, page
    assert viewer.get("/nodes/unknown/").status_code == 404


def test_a_person_logs_in_and_comes_back_to_the_page_that_was_asked_for(client):
    User.objects.create_superuser("admin", password="pw")
    asked = client.get("/problems/")
    response = client.post(asked["Location"], {"username": "admin", "password": "pw", "next": "/problems/"})
    assert response["Location"] == "/problems/"
    assert client.get("/problems/").status_code == 200
    assert client.post("/logout/").status_code == 302
    assert client.get("/problems/").status_code == 302


def test_pages_hold_no_inline_script_or_style_that_their_policy_would_block(alice):
    incident = ask(HOSTILE)
    answer(ask("other"), outcome=OutcomeState.APPLIED)
    for page in every_page(incident):
        response = alice.get(page)
        html = response.content.decode()
        assert "script-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<[^>]+\s(style|on\w+)=", html), page
        scripts = re.findall(r"<script[^>]*>", html)
        # What has a type that is no script is data: it does not run.
        assert all("src=" in tag or 'type="application/json"' in tag for tag in scripts), page


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
        html = render_to_string("errorkernel/_event.html", {"event": row})
    assert 'data-seq="1"' in html
    assert "■ error" in html
    assert 'href="/events/1/"' in html
    assert "REQCopySrc #8841" in html
    assert "<script>" not in html


def test_a_row_from_the_table_is_the_row_that_was_pushed():
    pushed = store(event(message=Message(id="1", method="m")), event("x", type=EventType.ACTION)).rows
    stored = [EventRow.of(one) for one in events_stored().order_by("seq")]
    render = [render_to_string("errorkernel/_event.html", {"event": row}) for row in pushed]
    assert render == [render_to_string("errorkernel/_event.html", {"event": row}) for row in stored]


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


def test_the_live_page_counts_what_waits_and_says_how_many_more_there_are(alice):
    for n in range(7):
        ask(f"question {n}", process=f"p{n}", now=NOW + timedelta(seconds=n))
    html = alice.get("/").content.decode()
    assert "<title>(7) Live · Steward</title>" in html
    assert "<b data-more-count>2</b> more pending incidents" in html
    assert html.index("question 0") < html.index("question 6")


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
    assert "3 nodes, 1 late, 1 gone" in re.sub(r"<[^>]*>", "", html)
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


def test_an_opened_incident_tells_what_was_answered_before_and_what_came_of_it(alice):
    first = ask(now=NOW)
    answer(first, Action.CONTINUE, now=NOW + timedelta(seconds=5), outcome=OutcomeState.APPLIED)
    second = ask(now=NOW + timedelta(minutes=5))
    answer(second, Action.KILL, now=NOW + timedelta(minutes=6), outcome=OutcomeState.APPLIED, new_incarnation=8)
    third = ask(now=NOW + timedelta(hours=5))
    ask(node="ship2", now=NOW)
    past = [Incident.objects.get(pk=one.pk) for one in (first, second)]
    records = {one.action: (one.times, one.came_back) for one in record_of(past, third)}
    assert records == {"continue": (1, 1), "kill": (1, 0)}
    html = alice.get(reverse("incident", args=[third.pk])).content.decode()
    assert "1× the problem came back within an hour" in html
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


def test_what_a_node_did_by_itself_is_said_and_no_answer_is_taken_for_it(alice):
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
def test_a_card_says_how_it_ended_and_offers_no_answer_any_more(outcome, says):
    incident = ask()
    answer(incident, outcome=outcome, detail="in its own words")
    fresh = decisions.with_relations().get(pk=incident.pk)
    html = render_to_string("errorkernel/_incident.html", {"incident": fresh, "now": NOW})
    assert says in html
    assert "in its own words" in html
    assert "<form" not in html


def test_a_withdrawn_question_says_that_nobody_had_answered():
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


# Answering


def test_an_answer_works_without_script_and_leads_back_to_the_page(alice):
    incident = ask()
    response = send(alice, incident, "kill", "stuck", next="/?x=1", request_id="r1")
    assert (response.status_code, response["Location"]) == (302, "/?x=1")
    decision = Decision.objects.get()
    assert (decision.action, decision.actor, decision.reason) == ("kill", "user:alice", "stuck")
    assert decision.user is not None
    assert Incident.objects.get().state == "decided"
    assert Outbox.objects.count() == 1
    entry = AuditEntry.objects.get(action="decide")
    assert entry.origin.startswith("127.0.0.1 session ")
    assert "You decided kill" in alice.get("/").content.decode()


def test_the_page_after_an_answer_is_one_of_ours(alice):
    incident = ask()
    response = send(alice, incident, "continue", next="https://evil.example/")
    assert response["Location"] == reverse("incident", args=[incident.pk])


def test_sending_the_same_form_twice_counts_once(alice):
    incident = ask()
    for _ in range(2):
        assert send(alice, incident, "continue", request_id="same").status_code == 302
    assert Decision.objects.count() == 1
    response = send(alice, incident, "kill", "now kill", request_id="same")
    assert response.status_code == 409
    assert "You decided continue" in response.content.decode()


def test_the_second_person_is_told_who_was_first_and_why(alice, bob):
    incident = ask()
    assert send(bob, incident, "kill", "disk is being <b>replaced</b>").status_code == 302
    response = send(alice, incident, "continue")
    html = response.content.decode()
    assert response.status_code == 409
    assert re.search(r"bob decided kill \d\.\d s earlier: disk is being &lt;b&gt;replaced", html)
    assert Decision.objects.get().actor == "user:bob"


def test_a_script_gets_the_card_alone(alice, bob):
    incident = ask()
    won = send(bob, incident, "continue", script=True)
    lost = send(alice, incident, "kill", "why not", script=True)
    for response, status in ((won, 200), (lost, 409)):
        html = response.content.decode()
        assert response.status_code == status
        assert response["X-Steward-Card"] == "1"
        assert html.lstrip().startswith("<article")
        assert re.search(r"decided <b>continue</b> by\s+<bdi>bob</bdi>", html)
    assert "bob decided continue" in lost.content.decode()


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_killing_needs_a_reason_and_keeps_what_was_typed(alice, action, script):
    incident = ask()
    response = send(alice, incident, action, "   ", script=script)
    assert response.status_code == 400
    assert "needs a reason" in response.content.decode()
    response = send(alice, incident, action, "x" * 1001, script=script)
    assert response.status_code == 400
    assert "x" * 1001 in response.content.decode()
    assert Incident.objects.get().state == "open"


def test_what_is_not_an_answer_is_refused(alice):
    incident = ask()
    for action in ("", "delete", "Kill"):
        assert send(alice, incident, action, "why").status_code == 400
    unknown = Incident(pk=UUID(int=7))
    assert send(alice, unknown, "continue").status_code == 404
    assert send(alice, unknown, "kill").status_code == 404
    assert alice.get(reverse("incidents-decision", args=[incident.pk])).status_code == 302
    assert Incident.objects.get().state == "open"


def test_a_question_that_no_longer_stands_cannot_be_answered(alice):
    incident = ask()
    decisions.record_outcome("ship1", Outcome(incident=incident.pk, state=OutcomeState.WITHDRAWN), now=NOW)
    response = send(alice, incident, "continue")
    assert response.status_code == 409
    assert "no longer pending" in response.content.decode()


def test_viewers_and_strangers_cannot_answer(viewer, client):
    incident = ask()
    assert send(viewer, incident, "continue").status_code == 403
    assert send(client, incident, "continue").status_code == 302
    assert send(client, incident, "continue", script=True).status_code == 401
    assert Incident.objects.get().state == "open"
    assert 'data-may-decide="no"' in viewer.get("/").content.decode()


def test_an_answer_without_its_token_is_refused():
    person("alice", "operator")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    incident = ask()
    response = send(strict, incident, "continue")
    assert response.status_code == 403
    assert "Request rejected" in response.content.decode()
    assert Incident.objects.get().state == "open"


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
    html = viewer.get("/audit/").content.decode()
    assert html.count('data-label="Actor"') == 100
    older = re.search(r'href="([^"]+)"\s+rel="next"', html)[1]
    assert viewer.get(f"/audit/{older}").content.decode().count('data-label="Actor"') == 53
    about = viewer.get(f"/audit/?target=incident:{incident.pk}").content.decode()
    assert about.count('data-label="Actor"') == 3
    assert "it &lt;hangs&gt;" in about
    assert reverse("incident", args=[incident.pk]) in about


def test_a_time_in_the_audit_trail_is_shown_as_one_and_what_only_looks_like_one_as_it_is(viewer):
    after = {"escalated_at": "2026-11-29T19:06:20.237301+00:00", "name": "2026-11-31T19:06:20Z"}
    AuditEntry.objects.create(at=NOW, actor="deadline", action="escalate", target="t", after=after)
    html = viewer.get("/audit/").content.decode()
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
