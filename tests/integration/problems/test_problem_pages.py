"""Problems on pages and over the API."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from errorkernel.domain.problem_state import Mute, ProblemState
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.domain.values import Action, EventType, Outcome, OutcomeState
from errorkernel.live import rendering
from errorkernel.live.filter import LiveFilter
from errorkernel.live.frames import Frame
from errorkernel.models import AuditEntry, ErrorState, Incident, Problem
from errorkernel.store import problems
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes, evaluation
from errorkernel.store.status import triage
from errorkernel.web.console.bulk_decisions import found_by
from tests.support.problem_data import ALICE, NOW, met, report, state, take_in

pytestmark = pytest.mark.django_db


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
    assert f"problem {part.pk}<" in alice.get(f"/problems/{part.pk}/").content.decode()
    assert f"problem {part.pk} ·" in alice.get("/problems/").content.decode()
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
    """In the list of pending incidents, on an incident, in a bulk decision, in the map and for a rule."""
    whole, part = met("disk full", type=EventType.ACTION), met("no space left", 2, type=EventType.ACTION)
    problems.merge(part.pk, whole.pk, "one disk", ALICE)
    assert [(row.problem, row.pending) for row in triage.read_numbers(NOW).summaries] == [(whole.pk, 3)]
    for asked in Incident.objects.all():
        page = alice.get(f"/incidents/{asked.pk}/").content.decode()
        assert "2 other processes of this" in " ".join(page.split())
        assert f"/problems/{whole.pk}/decision/" in page
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


def test_the_page_tells_how_often_a_decision_helped(alice: Client) -> None:
    for at, action in ((0, Action.CONTINUE), (1, Action.CONTINUE), (2, Action.KILL), (300, Action.KILL)):
        now = NOW + at * timedelta(minutes=1)
        asked = report(type=EventType.ACTION)
        take_in(asked, now=now)
        made = decisions.decide(asked.id, action, actor=Actor("user:alice", now), reason="")
        done = Outcome(asked.id, OutcomeState.APPLIED, decision_id=made.pk)
        decisions.record_outcome("ship1", done, now=now)
    page = " ".join(alice.get(f"/problems/{Problem.objects.get().pk}/").content.decode().split())
    assert 'applied 2, came back within 1 h <b class="worse">2</b>' in page
    assert 'applied 2, came back within 1 h <b class="better">0</b>' in page
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


def test_the_page_has_the_newest_stack_and_counts_by_node_and_release(alice: Client) -> None:
    stack = 'Traceback (most recent call last):\n  File "/srv/app/storage.py", line 88, in write\n    pwrite()\n'
    for at, node, release in ((0, "ship1", "1.4.2"), (1, "ship2", "1.4.3"), (2, "ship2", "1.4.3")):
        take_in(report(stack=stack, tags={"release": release}), node=node, now=NOW + at * timedelta(minutes=1))
    address = f"/problems/{Problem.objects.get().pk}/"
    page = " ".join(alice.get(address).content.decode().split())
    assert '<li class="own raised"><span class="at"><bdi>storage.py:88</bdi>' in page
    assert '<bdi>ship2</bdi></a></td><td class="num">2</td>' in page
    assert "<bdi>1.4.3</bdi> 2 · <bdi>1.4.2</bdi> 1" in page
    assert "Resolve anyway" not in page


def test_resolve_says_first_that_processes_are_pending_and_all_can_be_decided(alice: Client) -> None:
    problem = met("disk full", 2, type=EventType.ACTION)
    page = " ".join(alice.get(f"/problems/{problem.pk}/").content.decode().split())
    assert "2 processes are pending on this problem and stay pending." in page
    assert "<button>Resolve anyway</button>" in page
    form = {"action": "continue", "scope": "all", "reason": "", "next": f"/problems/{problem.pk}/"}
    assert alice.post(f"/problems/{problem.pk}/decision/", form).status_code == 302
    assert not Incident.objects.filter(state="open").exists()
