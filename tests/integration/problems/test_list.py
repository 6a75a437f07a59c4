"""The list of problems: what is in it, its order, its facets, and changes of many at once."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from errorkernel.domain.query import edit
from errorkernel.domain.query.fields import PROBLEM_FIELDS
from errorkernel.domain.query.parse import parse
from errorkernel.domain.values import EventType, Level
from errorkernel.models import AuditEntry, Problem
from errorkernel.store import facets, problems
from errorkernel.store.facets import Chosen
from errorkernel.store.platform.actor import Actor
from tests.support.page_data import NOW, ask, event, person, store

LIST = reverse("problems")
INFOS = reverse("infos")
CHANGE = reverse("problems-change-many")


@pytest.fixture
def alice(db) -> Client:
    return person("alice", "operator")


def met(text: str, *, node: str = "ship1", now=NOW, count: int = 1, **fields) -> Problem:
    """A problem with ``count`` events."""
    made = [event(text, fingerprint=(text,), **fields) for _ in range(count)]
    store(*made, node=node, now=now)
    return Problem.objects.order_by("-pk")[0]


def info(text: str, **fields) -> Problem:
    return met(text, type=EventType.INFO, level=Level.INFO, **fields)


def listed(client: Client, **query: str) -> list[str]:
    return [row.title for row, _, _ in client.get(LIST, query).context["problems"]]


def facet(client: Client, title: str, **query: str) -> dict[str, int]:
    (found,) = [one for one in client.get(LIST, query).context["facets"] if one.title == title]
    return {value.name: value.count for value in [*found.values, *found.more]}


def test_an_info_is_a_problem_only_if_it_has_blocked_a_process(alice):
    met("disk full")
    met("slow", type=EventType.INFO, level=Level.WARNING)
    info("copied")
    ask("paused", level=Level.INFO, fingerprint=("paused",))
    assert set(listed(alice)) == {"disk full", "slow", "paused"}
    assert [row.title for row, _, _ in alice.get(INFOS).context["problems"]] == ["copied"]
    assert {one["title"] for one in alice.get("/api/v1/problems").json()["items"]} == {
        "disk full",
        "slow",
        "copied",
        "paused",
    }
    assert "Select problem" not in alice.get(INFOS).content.decode()


def test_pending_problems_come_first_then_the_level_then_the_last_event(alice):
    met("old critical", level=Level.CRITICAL, now=NOW - timedelta(hours=3))
    met("older error", now=NOW - timedelta(hours=2), count=3)
    met("error", now=NOW - timedelta(hours=1))
    met("warning", type=EventType.INFO, level=Level.WARNING)
    ask("blocked warning", level=Level.WARNING, now=NOW - timedelta(hours=9), fingerprint=("b",))
    assert listed(alice) == ["blocked warning", "old critical", "error", "older error", "warning"]
    assert listed(alice, sort="count")[0] == "older error"
    assert listed(alice, sort="recent")[0] == "warning"
    assert set(listed(alice, sort="trend")) == set(listed(alice))
    assert listed(alice, q="pending>0") == ["blocked warning"]
    assert len(listed(alice, q="pending:0")) == 4
    page = alice.get(LIST).content.decode()
    assert page.count('class="spark"') == page.count('class="spark-') == 5, "each row has its chart"


def test_facets_count_the_hits_and_choose_values(alice):
    met("a", node="n1", tags={"release": "1.0"})
    met("b", node="n2", tags={"release": "2.0"}, process="w")
    store(event("b", fingerprint=("b",)), node="n1")
    met("c", type=EventType.INFO, level=Level.WARNING, node="n2")
    muted = met("d", node="n3")
    problems.assign(muted.pk, "alice", Actor("user:alice", NOW))
    problems.resolve(muted.pk, "", Actor("user:alice", NOW))
    assert facet(alice, "Node") == {"n1": 2, "n2": 2}
    assert facet(alice, "Release") == {"1.0": 1, "2.0": 1}
    assert facet(alice, "Process") == {"copy-files": 3, "w": 1}
    assert facet(alice, "Level") == {"error": 2, "warning": 1}
    assert facet(alice, "Level", q="level:warning") == {"warning": 1, "error": 2}, "the others can still be chosen"
    assert facet(alice, "Status") == {"pending": 0, "open": 3, "reopened": 0, "muted": 0, "resolved": 1, "all": 4}
    assert facet(alice, "Assigned", q="state:*") == {"Unassigned": 3, "Assigned to me": 1}
    (level,) = [one for one in alice.get(LIST, {"q": "level:error"}).context["facets"] if one.title == "Level"]
    assert alice.get(LIST + level.values[1].address).context["query"] == "level:error OR level:warning"
    assert alice.get(LIST + level.values[0].address).context["query"] == ""


def test_facets_read_a_bounded_part_and_say_so(alice, monkeypatch, django_assert_max_num_queries):
    for number in range(6):
        met(f"p{number}", node=f"n{number}")
    monkeypatch.setattr(facets, "HITS_READ", 4)
    with django_assert_max_num_queries(30):
        page = alice.get(LIST).content.decode()
    assert "Counted in the newest 4 hits." in page
    chosen = Chosen(None, None, None)
    found = facets.problem_facets(problems.unmerged(), chosen, "alice", ())
    assert sum(found.nodes.values()) == sum(found.levels.values()) == 4


@pytest.mark.parametrize(
    ("query", "field", "value", "becomes"),
    [
        ("", "node", "a b", 'node:"a b"'), ("node:a", "node", "a", ""),
        ("node:a x", "node", "b", "x (node:a OR node:b)"),
        ("(node:a OR node:b) x", "node", "a", "x node:b"), ("level>=error", "level", "error", "level:critical"),
        ("level>=error", "level", "warning", "level:error OR level:critical OR level:warning"),
        ("node:a* x", "node", "b", "node:a* x node:b"), ("a OR b", "node", "c", "(a OR b) node:c"),
        ("", "release", "", 'release:""'), ("state:*", "state", "*", ""),
    ],
)  # fmt: skip
def test_a_value_is_added_to_a_query_or_taken_out(query, field, value, becomes):
    changed = edit.toggled(parse(query, PROBLEM_FIELDS | {"release": PROBLEM_FIELDS["node"]}), field, value)
    assert str(changed) == becomes
    assert parse(str(changed), PROBLEM_FIELDS) == changed


def change(client: Client, *chosen: Problem, action: str, **fields: str):
    return client.post(CHANGE, {"problem": [one.pk for one in chosen], "action": action, **fields}, follow=True)


def test_many_problems_are_changed_each_with_its_audit_row(alice):
    first, second, third = met("a"), met("b"), met("c")
    page = change(alice, first, second, action="assign", to="alice", next="?q=level%3Aerror").content.decode()
    assert "2 problems are assigned." in page
    assert 'value="level:error"' in page, "the list as it was"
    change(alice, first, second, action="mute", **{"for": "1h"})
    page = change(alice, first, third, action="resolve").content.decode()
    assert "2 problems are resolved." in page
    page = change(alice, second, third, action="resolve").content.decode()
    assert f"1 problem is resolved. Problem {third.pk} is unchanged: The problem is already resolved." in page
    assert set(Problem.objects.values_list("state", "assignee__username")) == {
        ("resolved", "alice"),
        ("resolved", None),
    }
    rows = AuditEntry.objects.exclude(action="add").values_list("action", "target", "actor")
    assert [row[:2] for row in rows.order_by("id")] == [
        *(("assign", f"problem:{one.pk}") for one in (first, second)),
        *(("mute", f"problem:{one.pk}") for one in (first, second)),
        *(("resolve", f"problem:{one.pk}") for one in (first, third, second)),
    ]
    assert {row[2] for row in rows} == {"user:alice"}


def test_resolving_blocked_problems_says_so_first(alice):
    one = ask("disk is gone").problem
    asked = change(alice, one, action="resolve")
    assert asked.status_code == 409
    assert "Pending processes: 1, on 1 of these." in asked.content.decode()
    assert Problem.objects.get().state == "open"
    assert "1 problem is resolved." in change(alice, one, action="resolve", confirmed="on").content.decode()


def test_a_merge_asks_for_its_target(alice):
    first, second = met("a"), met("b")
    asked = change(alice, first, second, action="merge")
    assert asked.status_code == 400
    assert asked.content.decode().count('name="into"') == 2
    change(alice, first, second, action="merge", into=str(second.pk))
    assert Problem.objects.get(pk=first.pk).merged_into_id == second.pk


def test_a_change_of_nothing_or_by_somebody_who_may_not_is_refused(alice):
    one = met("a")
    assert "Select at least one problem." in alice.post(CHANGE, {"action": "resolve"}).content.decode()
    assert change(alice, one, action="drop").status_code == 400
    assert change(alice, one, action="assign", to="nobody-like-this").status_code == 409
    assert change(person("bob", "viewer"), one, action="resolve").status_code == 403
    assert Problem.objects.get().state == "open"


def test_the_api_changes_many_problems_and_names_the_unchanged(alice):
    one = met("a")
    body = {"problems": [one.pk, one.pk + 9], "action": "resolve", "reason": "new disk"}
    found = alice.post("/api/v1/problems/change-many", body, content_type="application/json")
    assert found.json()["changes"] == [
        {"problem": one.pk, "code": "", "error": ""},
        {"problem": one.pk + 9, "code": "not_found", "error": f"There is no problem {one.pk + 9}."},
    ]
    blocked = ask("disk is gone").problem
    refused = alice.post(
        "/api/v1/problems/change-many", body | {"problems": [blocked.pk]}, content_type="application/json"
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "pending_incidents")
