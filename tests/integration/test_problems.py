"""What people do with problems: muted, resolved, assigned, merged; what ends that by itself; that totals stay right."""

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.ids import uuid7
from errorkernel.domain.problem_state import ActiveMute, Mute, ProblemError, ProblemState
from errorkernel.domain.query.predicate import PROBLEM_FIELDS, QueryError, parse
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.domain.values import Action, Event, EventType, Level
from errorkernel.live import rendering
from errorkernel.live.filter import LiveFilter
from errorkernel.live.frames import Frame
from errorkernel.models import AuditEntry, ErrorEvent, ErrorState, Incident, Problem, ProblemComment
from errorkernel.store import problem_maintenance, problems, rollups
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart
from errorkernel.store.rules import changes, evaluation
from errorkernel.store.search import problem_q
from errorkernel.store.status.triage_order import Waiting
from errorkernel.templatetags.problems import by_hour, spark
from errorkernel.web.console.bulk_decisions import found_by
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALICE = Actor("user:alice", NOW, origin="127.0.0.1 session 1")


def report(text: str = "disk full", **fields: Any) -> Event:
    given = {"type": EventType.ERROR, "level": Level.ERROR, "kind": "OSError", "process": "copy", **fields}
    return Event(id=uuid7(), text=text, **given)


def take_in(*events: Event, node: str = "ship1", now: datetime = NOW, directory: NameCache | None = None) -> None:
    record(Batch(events=[(node, one) for one in events]), directory or NameCache(), now=now)


def met(text: str = "disk full", times: int = 1, **fields: Any) -> Problem:
    """The problem of ``text``, after so many more events of it."""
    node, now = fields.pop("node", "ship1"), fields.pop("now", NOW)
    take_in(*[report(text, **fields) for _ in range(times)], node=node, now=now)
    return Problem.objects.get(title=text, kind=fields.get("kind", "OSError"))


def state(problem: Problem) -> str:
    return Problem.objects.values_list("state", flat=True).get(pk=problem.pk)


def last_entry() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


# Mute


@pytest.mark.parametrize(
    ("muted", "met_with", "ends"),
    [
        (ActiveMute(None, None, None), {}, False),
        (ActiveMute(NOW, None, None), {}, True),
        (ActiveMute(NOW + HOUR, None, None), {}, False),
        (ActiveMute(None, 11, None), {}, False),
        (ActiveMute(None, 10, None), {}, True),
        (ActiveMute(None, None, ["1.0"]), {"releases": ["1.0"]}, False),
        (ActiveMute(None, None, ["1.0"]), {"releases": ["1.0", "1.1"]}, True),
        (ActiveMute(None, None, []), {}, False),
        (ActiveMute(None, None, []), {"releases": ["1.0"]}, True),
        (ActiveMute(NOW + HOUR, 10, ["1.0"]), {}, True),
    ],
)
def test_a_mute_ends_by_time_number_or_release(muted: ActiveMute, met_with: dict[str, Any], ends: bool) -> None:
    assert bool(muted.ended_by(**{"count": 10, "releases": [], "now": NOW} | met_with)) is ends


@pytest.mark.parametrize(
    "wrong", [Mute(until=NOW), Mute(until=datetime(2030, 1, 1)), Mute(more=0), Mute(more=2_000_000_000)]
)
def test_a_mute_that_cannot_be_is_refused_and_nothing_is_written(wrong: Mute) -> None:
    problem = met()
    with pytest.raises(ProblemError):
        problems.mute(problem.pk, wrong, "", ALICE)
    assert state(problem) == "open"
    assert not AuditEntry.objects.filter(target=f"problem:{problem.pk}").exists()


def test_a_muted_problem_is_counted_on_and_its_questions_wait() -> None:
    problem = met()
    problems.mute(problem.pk, Mute(), "known", ALICE)
    asked = report(type=EventType.ACTION)
    take_in(report(), asked)
    problem.refresh_from_db()
    assert (problem.count, problem.state, problem.state_actor) == (3, "muted", "user:alice")
    assert Incident.objects.filter(pk=asked.id, state="open").exists()
    entry = AuditEntry.objects.get(target=f"problem:{problem.pk}")
    assert (entry.action, entry.reason, entry.before["state"], entry.after["state"]) == (
        "mute",
        "known",
        "open",
        "muted",
    )
    assert entry.origin == "127.0.0.1 session 1"


def test_a_mute_until_three_more_ends_with_the_third_and_system_says_why() -> None:
    problem = met(times=2)
    problems.mute(problem.pk, Mute(more=3), "", ALICE)
    take_in(report(), report())
    assert state(problem) == "muted"
    take_in(report())
    assert state(problem) == "open"
    entry = last_entry()
    assert (entry.actor, entry.action, entry.before["state"], entry.after["count"]) == ("system", "unmute", "muted", 5)
    problem.refresh_from_db()
    assert problem.muted_until_count is None


def test_a_mute_until_another_release_ends_with_the_first_event_of_one() -> None:
    problem = met(tags={"release": "1.4.2"})
    problems.mute(problem.pk, Mute(another_release=True), "", ALICE)
    take_in(report(), report(tags={"release": "1.4.2"}))
    assert state(problem) == "muted"
    take_in(report(tags={"release": "1.5.0"}))
    assert state(problem) == "open"
    assert "1.5.0" in last_entry().reason


def test_a_mute_for_an_hour_ends_without_any_event_and_with_the_first_one_after_it() -> None:
    silent, loud = met(), met("disk gone")
    for one in (silent, loud):
        problems.mute(one.pk, Mute(until=NOW + HOUR), "", ALICE)
    assert problem_maintenance.end_mutes(now=NOW + HOUR / 2) == 0
    take_in(report("disk gone"), now=NOW + 2 * HOUR)
    assert (state(silent), state(loud)) == ("muted", "open")
    assert problem_maintenance.end_mutes(now=NOW + 2 * HOUR) == 1
    assert state(silent) == "open"
    assert problem_maintenance.end_mutes(now=NOW + 3 * HOUR) == 0
    assert AuditEntry.objects.filter(actor="system", action="unmute").count() == 2


# Resolve


def test_the_next_event_opens_a_resolved_problem_again_and_says_so() -> None:
    problem = met(times=4)
    problems.resolve(problem.pk, "new disk", ALICE)
    with pytest.raises(ProblemError):
        problems.resolve(problem.pk, "twice", ALICE)
    take_in(report(), report())
    problem.refresh_from_db()
    assert (problem.state, problem.state_actor, problem.since_resolved) == ("reopened", "system", 2)
    take_in(report())
    problem.refresh_from_db()
    assert problem.since_resolved == 3
    assert [one.action for one in AuditEntry.objects.order_by("pk")] == ["resolve", "reopen"]


def test_an_event_that_is_delivered_twice_opens_nothing() -> None:
    take_in(first := report())
    problem = Problem.objects.get()
    problems.resolve(problem.pk, "", ALICE)
    take_in(first)
    assert state(problem) == "resolved"


def test_what_stands_otherwise_is_said() -> None:
    problem = met()
    for act in (problems.unmute, problems.reopen, problems.split):
        with pytest.raises(ProblemError):
            act(problem.pk, "", ALICE)
        with pytest.raises(Problem.DoesNotExist):
            act(4711, "", ALICE)
    problems.resolve(problem.pk, "", ALICE)
    problems.reopen(problem.pk, "no", ALICE)
    assert state(problem) == "reopened"
    problems.mute(problem.pk, Mute(), "", ALICE)
    problems.unmute(problem.pk, "", ALICE)
    assert state(problem) == "open"
    with pytest.raises(ProblemError):
        problems.mute(problem.pk, Mute(), "x" * 1001, ALICE)


# Assign, comment


def test_a_problem_is_assigned_to_who_may_answer_and_to_nobody_else() -> None:
    problem = met()
    bob, vera = User.objects.create_user("bob"), User.objects.create_user("vera")
    bob.groups.add(Group.objects.get(name="operator"))
    vera.groups.add(Group.objects.get(name="viewer"))
    problems.assign(problem.pk, "bob", ALICE)
    for wrong in ("vera", "nobody there", "a\0b"):
        with pytest.raises(ProblemError):
            problems.assign(problem.pk, wrong, ALICE)
    assert Problem.objects.get().assignee == bob
    problems.assign(problem.pk, "", ALICE)
    assert Problem.objects.get().assignee is None
    assert (last_entry().before, last_entry().after) == ({"assignee": "bob"}, {"assignee": None})


def test_a_comment_stays_when_its_author_is_removed() -> None:
    problem, alice = met(), User.objects.create_user("alice")
    problems.comment(problem.pk, " look at the cable\r\nfirst ", Actor("user:alice", NOW, alice))
    alice.delete()
    kept = ProblemComment.objects.get()
    assert (kept.text, kept.author, kept.user) == ("look at the cable\nfirst", "user:alice", None)
    for wrong in ("", "  ", "a\0b", "x" * 4001):
        with pytest.raises(ProblemError):
            problems.comment(problem.pk, wrong, ALICE)


# Merge and split


def totals(problem: Problem) -> tuple[int, int]:
    problem.refresh_from_db()
    return problem.count, problem.nodes


def test_what_comes_of_a_merged_problem_is_counted_to_its_whole_and_a_split_gives_it_back() -> None:
    directory = NameCache()  # it remembers from before, as a running kernel does
    take_in(*[report("disk full") for _ in range(3)], directory=directory)
    take_in(*[report("no space left") for _ in range(5)], node="ship2", directory=directory)
    whole, part = Problem.objects.get(title="disk full"), Problem.objects.get(title="no space left")
    problems.merge(part.pk, whole.pk, "same disk", ALICE)
    assert totals(whole) == (8, 2)
    take_in(report("no space left"), report("disk full"), node="ship3", directory=directory, now=NOW + HOUR)
    assert totals(whole) == (10, 3)
    assert totals(part) == (6, 2)
    assert whole.last_seen == NOW + HOUR
    assert rollups.problems_by_hour([whole.pk], NOW + HOUR)[whole.pk][-2:] == [8, 2]
    problems.split(part.pk, "not the same", ALICE)
    assert (totals(whole), totals(part)) == ((4, 2), (6, 2))
    assert ErrorEvent.objects.filter(problem=part).count() == 6
    take_in(report("no space left"), node="ship3", directory=directory)
    assert (totals(whole), totals(part)) == ((4, 2), (7, 2))
    assert [one.action for one in AuditEntry.objects.order_by("pk")] == ["merge", "split"]
    assert last_entry().before["merged_into"] == whole.pk


def test_a_part_is_handled_as_its_whole_is() -> None:
    whole, part = met("disk full"), met("no space left")
    problems.merge(part.pk, whole.pk, "", ALICE)
    with pytest.raises(IsPart):
        problems.mute(part.pk, Mute(), "", ALICE)
    problems.resolve(whole.pk, "", ALICE)
    take_in(report("no space left"))
    assert state(whole) == "reopened"
    problems.mute(whole.pk, Mute(more=2), "", ALICE)
    take_in(report("no space left"), report("disk full"))
    assert state(whole) == "open"


def test_a_merge_or_a_split_ends_no_mute_and_counts_as_no_return() -> None:
    whole, part = met("disk full", 2), met("no space left", 50)
    problems.mute(whole.pk, Mute(more=4), "", ALICE)
    problems.merge(part.pk, whole.pk, "", ALICE)
    take_in(report("disk full"), report("no space left"))
    assert state(whole) == "muted"
    problems.split(part.pk, "", ALICE)
    take_in(report("disk full"))
    assert state(whole) == "muted", "three more have come: two while they were one, and this"
    take_in(report("disk full"))
    assert state(whole) == "open"
    problems.resolve(whole.pk, "", ALICE)
    problems.merge(part.pk, whole.pk, "", ALICE)
    whole.refresh_from_db()
    assert (whole.state, whole.since_resolved) == ("resolved", 0)


def test_parts_of_a_part_become_parts_of_the_whole() -> None:
    a, b, c = met("a", 1), met("b", 2), met("c", 4)
    problems.merge(a.pk, b.pk, "", ALICE)
    problems.merge(b.pk, c.pk, "", ALICE)
    assert problems.members(c.pk) == [c.pk, a.pk, b.pk]
    assert [totals(one)[0] for one in (a, b, c)] == [1, 2, 7]
    take_in(report("a"), report("b"))
    assert [totals(one)[0] for one in (a, b, c)] == [2, 3, 9]
    for wrong, into in ((a, c), (c, c), (c, a)):
        with pytest.raises(ProblemError):
            problems.merge(wrong.pk, into.pk, "", ALICE)
    with pytest.raises(ProblemError):
        problems.merge(c.pk, 4711, "", ALICE)
    problems.split(b.pk, "", ALICE)
    assert [totals(one)[0] for one in (a, b, c)] == [2, 3, 6]


@pytest.mark.parametrize("seed", range(5))
def test_after_any_merges_and_splits_the_totals_are_those_of_the_stored_events(seed: int) -> None:
    chance, names, directory = random.Random(seed), "abcd", NameCache()
    for name in names:
        take_in(report(name), directory=directory)
    for _ in range(40):
        match chance.randrange(3):
            case 0:
                events = [report(chance.choice(names)) for _ in range(chance.randrange(1, 4))]
                take_in(*events, node=f"ship{chance.randrange(4)}", directory=directory)
            case 1:
                roots = list(problems.unmerged())
                if len(roots) > 1:
                    part, whole = chance.sample(roots, 2)
                    problems.merge(part.pk, whole.pk, "", ALICE)
            case _:
                parts = list(Problem.objects.filter(merged_into__isnull=False))
                if parts:
                    problems.split(chance.choice(parts).pk, "", ALICE)
    for one in problems.unmerged():
        events = ErrorEvent.objects.filter(problem__in=problems.members(one.pk))
        assert (one.count, one.nodes) == (events.count(), events.values("node").distinct().count())
    for one in Problem.objects.filter(merged_into__isnull=False):
        assert one.count == ErrorEvent.objects.filter(problem=one).count()


# By the hour


def test_a_problems_hours_are_counted_once_an_event() -> None:
    first = report()
    take_in(first, report(), now=NOW - HOUR)
    take_in(first, report(), now=NOW)
    problem = met(times=3)
    assert rollups.problems_by_hour([problem.pk], NOW)[problem.pk] == [0] * 22 + [2, 4]


def test_the_picture_says_in_words_what_it_shows() -> None:
    shown = spark([0, 1, 1000, 0], NOW)
    assert "<title>1001 events in the last 4 hours; the maximum, 1000, in the hour from 09:00 UTC</title>" in shown
    assert '<path class="bars" d="M4 20v-1h3V20M8 20v-20h3V20"/>' in shown
    assert [count for _, count in by_hour([0, 1, 1000, 0], NOW)] == [0, 1000, 1, 0]
    assert 'aria-label="none in the last 24 hours"' in spark([0] * 24, NOW)


# Searching


def found(text: str, me: int | None = None) -> set[str]:
    return set(
        problems.unmerged().filter(problem_q(parse(text, PROBLEM_FIELDS), NOW, me)).values_list("title", flat=True)
    )


def test_problems_are_searched_in_the_one_language() -> None:
    bob = User.objects.create_user("bob")
    bob.groups.add(Group.objects.get(name="operator"))
    disk = met("disk full", 3, node="ship1")
    cable = met("cable cut", kind="NetError", level=Level.CRITICAL, node="ship2", now=NOW - 5 * HOUR, process="send")
    part = met("wire cut", node="relay", process="relay")
    problems.merge(part.pk, cable.pk, "", ALICE)
    problems.assign(disk.pk, "bob", ALICE)
    problems.mute(cable.pk, Mute(), "", ALICE)
    both = {"disk full", "cable cut"}
    expected = {
        "": both, "state:open": {"disk full"}, "state:muted": {"cable cut"}, "state:*": both, "state:resolved": set(),
        "assigned:bob": {"disk full"}, "assigned:me": {"disk full"}, "assigned:nobody": {"cable cut"},
        "assigned:b*": {"disk full"}, "-assigned:bob": {"cable cut"}, "level:critical": {"cable cut"},
        "level>=error": both, "kind:Net*": {"cable cut"}, "text:full": {"disk full"}, "cut": {"cable cut"},
        "neterror": {"cable cut"}, "node:relay": {"cable cut"}, "node:ship*": both, "process:send": {"cable cut"},
        "times>=3": {"disk full"}, "nodes=2": {"cable cut"}, "since:1h": both, "until:1h": set(),
        "state:muted OR assigned:me": both, "-node:ship2": {"disk full"},
    }  # fmt: skip
    assert {text: found(text, bob.pk) for text in expected} == expected
    assert found("assigned:me") == set()


def test_every_field_is_documented() -> None:
    table = (ROOT / "docs" / "problems.md").read_text().split("## The list")[1]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
    assert {name: tuple(re.findall("`([^`]+)`", ops)) for name, ops in rows} == {
        name: field.operators for name, field in PROBLEM_FIELDS.items()
    }


@pytest.mark.parametrize("wrong", ["state:gone", "method:x", "times:many", "assigned>1", "incident:*"])
def test_what_cannot_be_asked_of_a_problem_is_said(wrong: str) -> None:
    with pytest.raises(QueryError):
        parse(wrong, PROBLEM_FIELDS)


# Pages


def client_of(name: str, group: str) -> Client:
    user = User.objects.create_user(name)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def alice() -> Client:
    return client_of("alice", "operator")


@pytest.fixture
def vera() -> Client:
    return client_of("vera", "viewer")


ACTS = {
    "mute": {"for": "1h"}, "unmute": {}, "resolve": {}, "reopen": {}, "assign": {"to": "alice"},
    "comment": {"text": "hm"}, "merge": {"into": "2"}, "split": {},
}  # fmt: skip


def test_a_viewer_sees_everything_and_changes_nothing(vera: Client) -> None:
    problem, other = met(), met("no space left")
    for act, fields in ACTS.items():
        assert vera.post(f"/problems/{problem.pk}/{act}/", fields).status_code == 403
    page = vera.get(f"/problems/{problem.pk}/").content.decode()
    assert "<form" not in page.split("<main")[1].split("</main")[0]
    assert vera.get("/problems/").status_code == 200
    assert Client().post(f"/problems/{problem.pk}/mute/").status_code == 302
    assert not AuditEntry.objects.exists()
    assert other.count == 1


def test_each_act_leads_back_to_the_page_that_shows_it(alice: Client) -> None:
    problem = met()

    def act(name: str, **fields: str) -> str:
        response = alice.post(f"/problems/{problem.pk}/{name}/", fields, follow=True)
        assert response.redirect_chain == [(f"/problems/{problem.pk}/", 302)]
        return response.content.decode()

    assert "until 11 occurrences" in act("mute", **{"for": "10"}, reason="<known>")
    assert "until another release" in act("mute", **{"for": "release"})
    assert "until somebody unmutes it" in act("mute", **{"for": ""})
    assert "&lt;known&gt;" in act("unmute")
    assert "resolved" in act("resolve")
    assert "reopened" in act("reopen")
    assert "<dd><bdi>alice</bdi></dd>" in act("assign", to="alice").replace("\n", "")
    assert "<script>" not in act("comment", text="<script>alert(1)</script>").split("<main")[1]
    entry = AuditEntry.objects.filter(action="resolve").get()
    assert entry.actor == "user:alice"
    assert " session " in entry.origin
    assert alice.get(f"/problems/{problem.pk}/mute/").status_code == 302
    assert alice.post(f"/problems/{problem.pk}/explode/").status_code == 404
    assert alice.post("/problems/4711/mute/").status_code == 404


def test_the_list_shows_what_is_open_and_says_what_waits_on_the_rest(alice: Client) -> None:
    problem, other = met(), met("no space left")
    problems.mute(problem.pk, Mute(), "", ALICE)
    page = alice.get("/problems/").content.decode()
    assert f'id="problem-{other.pk}"' in page
    assert f'id="problem-{problem.pk}"' not in page
    assert "wait" not in page.split("<main")[1].split("<table")[0].replace("Waiting", "")
    take_in(report(type=EventType.ACTION))
    page = alice.get("/problems/").content.decode()
    assert "1 pending incident of a muted or resolved problem" in page
    assert f'id="problem-{problem.pk}"' in alice.get("/problems/?q=state:muted").content.decode()
    for sort in ("recent", "count", "nodes"):
        assert alice.get(f"/problems/?sort={sort}&q=state:*").content.decode().count('id="problem-') == 2
    wrong = alice.get("/problems/?q=state:gone")
    assert wrong.status_code == 400
    assert "at character 7" in wrong.content.decode()


def test_a_merged_problem_is_read_through_its_whole(alice: Client) -> None:
    whole, part = met("disk full"), met("no space left", type=EventType.ACTION)
    asked = Incident.objects.get()
    decisions.decide(asked.pk, Action.CONTINUE, actor=Actor("user:alice", NOW), reason="it is fine")
    merged = alice.post(f"/problems/{part.pk}/merge/", {"into": whole.pk, "reason": "one disk"}, follow=True)
    assert merged.redirect_chain == [(f"/problems/{whole.pk}/", 302)]
    page = merged.content.decode()
    for shown in ("it is fine", "one disk", "no space left", f"Split off problem {part.pk}"):
        assert shown in page
    assert alice.get(f"/problems/{part.pk}/")["Location"] == f"/problems/{whole.pk}/"
    assert alice.get(f"/events/?problem={whole.pk}").content.decode().count("data-seq=") == 2
    assert 'id="problem-' in alice.get("/problems/").content.decode()
    late = alice.post(f"/problems/{part.pk}/mute/", {"for": "1h"}, follow=True)
    assert f"merged into problem {whole.pk}" in late.content.decode()
    assert state(whole) == "open"
    split = alice.post(f"/problems/{part.pk}/split/", follow=True)
    assert split.redirect_chain == [(f"/problems/{part.pk}/", 302)]


def test_the_whole_is_chosen_from_a_list_or_named_as_it_stands_on_the_pages(alice: Client) -> None:
    whole, part = met("disk full"), met("no space left")
    assert f"\nproblem {part.pk}\n</p>" in alice.get(f"/problems/{part.pk}/").content.decode()
    assert f'class="num roomy">{part.pk}</td>' in alice.get("/problems/").content.decode()
    page = alice.get(f"/problems/{part.pk}/").content.decode()
    assert f'type="radio" name="alike" value="{whole.pk}"' in page
    assert f'name="alike" value="{part.pk}"' not in page
    for given in (
        {"alike": whole.pk, "into": ""}, {"into": f" {whole.pk} "}, {"into": f"problem {whole.pk}"},
        {"into": f"problem:{whole.pk}"}, {"into": f"https://console.example/problems/{whole.pk}/?a=1#comments"},
        {"into": f"/problems/{whole.pk}"}, {"alike": part.pk, "into": whole.pk},
    ):  # fmt: skip
        alice.post(f"/problems/{part.pk}/merge/", given)
        part.refresh_from_db()
        assert part.merged_into_id == whole.pk, given
        problems.split(part.pk, "", ALICE)
    refused = alice.post(f"/problems/{part.pk}/merge/", {"alike": whole.pk, "into": "/problems/x/"})
    assert refused.status_code == 400
    assert 'value="/problems/x/"' in refused.content.decode()
    assert f'value="{whole.pk}" checked' in " ".join(refused.content.decode().split())


def test_what_waits_on_a_part_waits_on_its_whole_everywhere(alice: Client) -> None:
    """In the waiting room, on an incident, in a preview of one answer to many, in the map, and for a rule."""
    whole, part = met("disk full", type=EventType.ACTION), met("no space left", 2, type=EventType.ACTION)
    problems.merge(part.pk, whole.pk, "one disk", ALICE)
    assert Waiting(NOW).largest_problems(5) == [(whole.pk, 3)]
    for asked in Incident.objects.all():
        page = alice.get(f"/incidents/{asked.pk}/").content.decode()
        assert "2 other pending incidents" in page
        assert f"?q=problem:{whole.pk}" in page
        assert "<b>3×</b>" in page
    assert found_by(f"problem:{whole.pk}").count() == 3
    assert found_by(f"problem:{part.pk}").count() == 2
    assert len(alice.get(f"/api/v1/map?problem={whole.pk}").json()["items"]) == 2
    changes.add(
        RuleDefinition("one disk", f"problem:{whole.pk}", RuleAction.KILL, "it is full", enabled=True),
        ALICE,
        also_waiting=True,
    )
    while found_now := evaluation.look(now=NOW):
        while found_now:
            evaluation.step(found_now, now=NOW)
    assert not Incident.objects.filter(state="open").exists()


def test_an_open_live_search_follows_a_merge() -> None:
    whole, part = met("disk full"), met("no space left")
    live = LiveFilter(f"problem:{whole.pk}", now=NOW)

    def passed(*rows: EventRow, skipped: int = 0) -> list[int]:
        numbers = [row.seq for row in rows]
        frame = Frame(min(numbers), max(numbers), rendering.render_rows(rows), skipped)
        return [row.event.problem for row in live.apply(frame).rows]

    before = stored_rows()
    assert passed(*before) == passed(*before, skipped=1) == [whole.pk]
    problems.merge(part.pk, whole.pk, "one disk", ALICE)
    later = record(Batch(events=[("ship1", report("no space left"))]), NameCache(), now=NOW).rows
    assert passed(*later) == [part.pk]
    assert passed(*stored_rows()) == passed(*stored_rows(), skipped=1) == [whole.pk, part.pk, part.pk]


def stored_rows() -> list[EventRow]:
    return rendering.stored_rows(1, 1000, 100)


@pytest.mark.parametrize(
    ("act", "fields", "said"),
    [
        ("merge", {"into": "x"}, "whole number"), ("merge", {"into": ""}, "number of the problem"),
        ("merge", {"into": "4711"}, "no problem 4711"), ("mute", {"for": "soon"}, "whole number"),
        ("mute", {"for": "0"}, "1 to"), ("assign", {"to": "nobody there"}, "no user"),
        ("comment", {"text": " "}, "needs a text"), ("unmute", {}, "not muted"),
        ("resolve", {"reason": "x" * 1001}, "the maximum is 1,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_on_the_page_of_the_problem(
    alice: Client, act: str, fields: dict[str, str], said: str
) -> None:
    problem = met()
    response = alice.post(f"/problems/{problem.pk}/{act}/", fields)
    assert response.status_code == 400
    assert said in response.content.decode()
    assert not AuditEntry.objects.exists()


def test_what_was_typed_is_still_there_when_it_could_not_be(alice: Client) -> None:
    problem = met()
    page = alice.post(f"/problems/{problem.pk}/merge/", {"into": "999999", "reason": "one disk"}).content.decode()
    assert 'name="into" value="999999"' in page
    assert page.count('value="one disk"') == 1
    assert "<details open><summary>Merge into" in page
    page = alice.post(f"/problems/{problem.pk}/mute/", {"for": "release", "reason": "x" * 1001}).content.decode()
    assert '<option value="release" selected>' in page
    assert f'value="{"x" * 1001}"' in page
    assert "<details open>" not in page


def test_why_somebody_resolved_it_is_not_lost_when_somebody_else_was_quicker(alice: Client) -> None:
    problem = met()
    resolved = f"/problems/{problem.pk}/resolve/"
    assert alice.post(resolved, {"reason": "a new disk"}).status_code == 302
    refused = alice.post(resolved, {"reason": "moved to <b>ship2</b>"})
    page = refused.content.decode()
    assert refused.status_code == 400
    assert "The problem is already resolved. Your text is below, as a comment that is not sent yet." in page
    assert "required>moved to &lt;b&gt;ship2&lt;/b&gt;</textarea>" in page
    assert page.count("moved to") == 1, "it is no reason to open it again"
    assert "as a comment" not in alice.post(resolved, {"reason": ""}).content.decode()


def test_the_page_tells_how_often_an_answer_helped(alice: Client) -> None:
    for at, action in ((0, Action.CONTINUE), (1, Action.CONTINUE), (2, Action.KILL), (300, Action.KILL)):
        now = NOW + at * timedelta(minutes=1)
        asked = report(type=EventType.ACTION)
        take_in(asked, now=now)
        decisions.decide(asked.id, action, actor=Actor("user:alice", now), reason="")
    page = " ".join(alice.get(f"/problems/{Problem.objects.get().pk}/").content.decode().split())
    assert '<b>continue</b> 2× <span class="dim">(2× the problem came back within an hour)' in page
    assert '<b>kill</b> 2× <span class="dim">(0× the problem came back within an hour)' in page
    assert ErrorState.objects.get().count == 4
    assert Problem.objects.get().state == ProblemState.OPEN


# Over HTTP


def test_the_same_is_done_over_http_by_who_may(alice: Client, vera: Client) -> None:
    problem, other = met(times=3), met("no space left")

    def post(act: str, body: Any = None, pk: int = problem.pk, client: Client = alice) -> tuple[int, Any]:
        told = client.post(f"/api/v1/problems/{pk}/{act}", body or {}, content_type="application/json")
        return told.status_code, told.json()

    assert post("mute", {"more": 2, "reason": "known"})[1]["muted_until_count"] == 5
    assert post("unmute")[1]["state"] == "open"
    assert post("unmute")[0] == 409
    assert post("resolve")[1]["state"] == "resolved"
    assert post("reopen")[1]["since_resolved"] == 0
    assert post("assign", {"to": "alice"})[1]["assignee"] == "alice"
    assert post("assign", {"to": None})[1]["assignee"] is None
    assert post("assign", {"to": "vera"})[0] == 409
    assert post("comment", {"text": "hm"})[0] == 200
    assert post("merge", {"into": other.pk})[1]["count"] == 4
    assert post("mute")[0] == 409
    assert post("split")[1]["merged_into"] is None
    assert post("mute", pk=4711)[0] == 404
    assert post("mute", pk=2**70)[0] == 404
    beyond = {"until": "9999-12-31T23:59:59-12:00"}
    for act, wrong in (
        ("mute", {"until": "2030-01-01T00:00:00"}),
        ("mute", beyond),
        ("merge", {}),
        ("comment", {"text": " "}),
    ):
        assert post(act, wrong)[0] == 400
    for act, fields in ACTS.items():
        assert post(act, fields, client=vera)[0] == 403
        assert Client().post(f"/api/v1/problems/{problem.pk}/{act}").status_code == 401
        assert alice.get(f"/api/v1/problems/{problem.pk}/{act}").status_code == 405
    by = AuditEntry.objects.filter(action="mute").get()
    assert (by.actor, " session " in by.origin) == ("user:alice", True)
    items = alice.get("/api/v1/problems").json()["items"]
    assert [(one["state"], one["merged_into"]) for one in items] == [("open", None), ("open", None)]
