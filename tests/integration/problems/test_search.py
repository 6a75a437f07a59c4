"""Problems by the hour, and searched."""

import re

import pytest
from django.contrib.auth.models import Group, User

from errorkernel.domain.problem_state import Mute
from errorkernel.domain.query.fields import PROBLEM_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.values import Level
from errorkernel.store import problems, rollups
from errorkernel.store.search import problem_q
from errorkernel.templatetags.problems import by_hour, spark
from tests.support.paths import ROOT
from tests.support.problem_data import ALICE, HOUR, NOW, met, report, take_in

pytestmark = pytest.mark.django_db


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
