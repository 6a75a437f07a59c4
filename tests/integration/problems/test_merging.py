"""Problems are merged and split."""

import random

import pytest

from errorkernel.domain.problem_state import Mute, ProblemError
from errorkernel.models import AuditEntry, ErrorEvent, Problem
from errorkernel.store import problems, rollups
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.problems import IsPart
from tests.support.problem_data import ALICE, HOUR, NOW, last_entry, met, report, state, take_in

pytestmark = pytest.mark.django_db


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
