"""Takes of incidents and problems, and comments on incidents, by form and API."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from errorkernel.domain.query.fields import PROBLEM_FIELDS
from errorkernel.domain.query.parse import parse
from errorkernel.models import AuditEntry, Comment, Incident
from errorkernel.store import problems
from errorkernel.store.incidents import takes
from errorkernel.store.incidents.takes import CannotTake
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart
from errorkernel.store.search import problem_q
from tests.support.bulk_data import known
from tests.support.page_data import NOW, answer, ask, person

pytestmark = pytest.mark.django_db


def test_a_take_ends_by_time_by_release_and_with_its_account() -> None:
    alice, asked = known("alice"), ask()

    def by(after_s: int = 0) -> str:
        row = Incident.objects.select_related("taken_by").get(pk=asked.pk)
        taken = takes.take_of(row, NOW + timedelta(seconds=after_s))
        return taken.by if taken else ""

    change = Incident.objects.get(pk=asked.pk).change
    takes.take_incident(asked.pk, 30, alice)
    assert Incident.objects.get(pk=asked.pk).change > change
    assert (by(), by(1799), by(1800)) == ("alice", "alice", "")
    User.objects.update(is_active=False)
    assert by() == ""
    User.objects.update(is_active=True)
    assert takes.take_incident(asked.pk, 5, known("bob")).previous == "alice"
    assert by() == "bob"
    assert takes.release_incident(asked.pk, alice).previous == "bob"
    assert takes.release_incident(asked.pk, alice).previous == ""
    assert by() == ""
    rows = AuditEntry.objects.filter(target=f"incident:{asked.pk}", action__in=["take", "release"]).order_by("id")
    assert [(row.action, row.actor, row.before.get("taken_by"), row.after["taken_by"]) for row in rows] == [
        ("take", "user:alice", None, "user:alice"),
        ("take", "user:bob", "user:alice", "user:bob"),
        ("release", "user:alice", "user:bob", None),
    ]


def test_what_cannot_be_taken() -> None:
    alice, asked = known("alice"), ask()
    for minutes in (0, -1, takes.MINUTES_MAX + 1):
        with pytest.raises(CannotTake):
            takes.take_incident(asked.pk, minutes, alice)
    other = ask("something else", kind="Other", process="other")
    problems.merge(other.problem_id, asked.problem_id, "", alice)
    with pytest.raises(IsPart):
        takes.take_problem(other.problem_id, 30, alice)
    takes.take_incident(asked.pk, 30, alice)
    answer(asked)
    with pytest.raises(CannotTake, match="no longer pending"):
        takes.take_incident(asked.pk, 30, alice)


def test_problems_are_found_by_who_has_taken_them() -> None:
    alice, bob = known("alice"), known("bob")
    disk, cable, part = (ask(f"{kind} failed", kind=kind, process=kind) for kind in ("Disk", "Cable", "Wire"))
    free = ask("free", kind="Free", process="free")
    problems.merge(part.problem_id, cable.problem_id, "", alice)
    takes.take_problem(disk.problem_id, 30, alice)
    takes.take_incident(part.pk, 60, bob)

    def found(text: str, after_min: int = 0) -> set[int]:
        now = NOW + timedelta(minutes=after_min)
        condition = problem_q(parse(text, PROBLEM_FIELDS), now, alice.user_id)
        return set(problems.unmerged().filter(condition).values_list("pk", flat=True))

    assert found("taken:me") == found("taken:alice") == {disk.problem_id}
    assert found("taken:b*") == {cable.problem_id}
    assert found("taken:nobody") == {free.problem_id}
    assert found("-taken:nobody") == {disk.problem_id, cable.problem_id}
    assert found("taken:me", 30) == set()
    answer(part)
    assert found("taken:bob") == set()


def test_takes_by_form_and_api() -> None:
    alice, bob, viewer = person("alice", "operator"), person("bob", "operator"), person("victor", "viewer")
    asked = ask(now=timezone.now())
    incident, problem = f"/api/v1/incidents/{asked.pk}", f"/api/v1/problems/{asked.problem_id}"
    assert alice.get(incident).json()["taken_by"] is None
    taken = alice.post(f"{incident}/take", {}, "application/json").json()
    assert (taken["taken_by"], taken["taken_over_from"]) == ("user:alice", None)
    assert bob.post(f"{incident}/take", {"minutes": 5}, "application/json").json()["taken_over_from"] == "user:alice"
    assert bob.get("/api/v1/incidents?state=open").json()["items"][0]["taken_by"] == "user:bob"
    assert alice.post(f"{problem}/take", {"minutes": 5}, "application/json").json()["taken_by"] == "user:alice"
    assert alice.get(problem).json()["taken_until"] > timezone.now().isoformat()[:19]
    assert alice.post(f"{problem}/release", {}, "application/json").json()["taken_by"] is None
    for body in ({"minutes": 0}, {"minutes": 481}, {"minutes": "x"}, {"minute": 3}):
        assert alice.post(f"{incident}/take", body, "application/json").status_code == 400
    assert viewer.post(f"{incident}/take", {}, "application/json").status_code == 403
    page = alice.post(f"/incidents/{asked.pk}/take/", {"next": "/"}, follow=True)
    assert "took it over from bob" in page.text
    assert alice.post(f"/problems/{asked.problem_id}/take/", {}, headers={"X-Steward-Card": "1"}).status_code == 204
    answer(asked)
    late = alice.post(f"{incident}/take", {}, "application/json")
    assert (late.status_code, late.json()["code"]) == (409, "not_pending")
    assert alice.get(incident).json()["taken_by"] is None


def test_a_comment_on_an_incident_is_stored_once() -> None:
    alice = person("alice", "operator")
    asked = ask()
    form = {"text": "the cable was loose", "request_id": "one"}
    for _ in range(2):
        assert alice.post(f"/incidents/{asked.pk}/comment/", form).status_code == 302
    assert alice.post(f"/incidents/{asked.pk}/comment/", form | {"text": "it was not"}).status_code == 302
    for _ in range(2):
        body = {"text": "by program", "request_id": 4}
        made = alice.post(f"/api/v1/incidents/{asked.pk}/comment", body, "application/json")
        assert (made.status_code, made.json()["incident"]) == (200, str(asked.pk))
    texts = ["the cable was loose", "it was not", "by program"]
    assert [row.text for row in Comment.objects.order_by("id")] == texts
    assert AuditEntry.objects.filter(action="comment", target=f"incident:{asked.pk}").count() == 3
    found = alice.get(f"/api/v1/incidents/{asked.pk}").json()
    assert [row["text"] for row in found["comments"]] == texts
    in_problem = alice.get(f"/api/v1/problems/{asked.problem_id}").json()["comments"]
    assert [row["incident"] for row in in_problem] == [str(asked.pk)] * 3
    assert alice.post(f"/incidents/{asked.pk}/comment/", {"text": " "}).status_code == 400
    problems.comment(asked.problem_id, "about all", Actor("user:bob", NOW))
    assert alice.get(f"/api/v1/incidents/{asked.pk}").json()["comments"][-1]["incident"] is None
