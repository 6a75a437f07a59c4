"""Problems are muted, resolved, assigned and commented."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from errorkernel.domain.problem_state import ActiveMute, Mute, ProblemError
from errorkernel.domain.values import EventType
from errorkernel.models import AuditEntry, Comment, Incident, Problem
from errorkernel.store import problem_maintenance, problems
from errorkernel.store.platform.actor import Actor
from tests.support.problem_data import ALICE, HOUR, NOW, last_entry, met, report, state, take_in

pytestmark = pytest.mark.django_db


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


def test_a_muted_problem_is_counted_on_and_its_incidents_wait() -> None:
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


def test_a_problem_is_assigned_to_who_may_decide_and_to_nobody_else() -> None:
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
    kept = Comment.objects.get()
    assert (kept.text, kept.author, kept.user) == ("look at the cable\nfirst", "user:alice", None)
    for wrong in ("", "  ", "a\0b", "x" * 4001):
        with pytest.raises(ProblemError):
            problems.comment(problem.pk, wrong, ALICE)
