"""The read model of the triage: groups by problem, their order, their evidence, and a bounded number of queries."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from errorkernel.domain.values import Action, Level, OutcomeState
from errorkernel.store import problems
from errorkernel.store.incidents import takes
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import triage
from tests.support.bulk_data import known, proposed
from tests.support.page_data import NOW, answer, ask

pytestmark = pytest.mark.django_db

STACK = 'Traceback:\n  File "/app/worker.py", line 113, in step\n  File "/app/storage.py", line 88, in write\n'


def blocked(process, text="disk is gone", **fields):
    return ask(text, process=process, kind=fields.pop("kind", "OSError"), **fields)


def test_merged_problems_are_one_group_with_its_evidence() -> None:
    release = {"tags": {"release": "1.4.3"}}
    first = blocked("ingest-01", stack=STACK, now=NOW - timedelta(minutes=6), **release)
    blocked("ingest-02", stack=STACK, node="ship2", now=NOW - timedelta(minutes=5), deadline_s=900, **release)
    other = blocked("other", "schema mismatch", kind="Schema", level=Level.CRITICAL)
    third = blocked("ingest-03", "no space", kind="Space", node="ship2")
    problems.merge(third.problem_id, first.problem_id, "one disk", Actor("user:alice", NOW))
    found = triage.read(NOW)
    assert [group.problem.pk for group in found.groups] == [first.problem_id, other.problem_id]
    group, numbers = found.groups[0], found.groups[0].summary
    assert (numbers.pending, numbers.level, numbers.oldest_at) == (3, "error", NOW - timedelta(minutes=6))
    assert [(part.name, part.count) for part in numbers.nodes.shown] == [("ship2", 2), ("ship1", 1)]
    assert [(part.name, part.count) for part in numbers.releases.shown] == [("1.4.3", 2)]
    assert [(part.name, part.count) for part in numbers.processes.shown] == [("ingest-*", 3)]
    assert numbers.deadline_at == NOW + timedelta(minutes=10)
    assert [str(frame) for frame in group.frames] == ["worker.py:113 step", "storage.py:88 write"]
    assert (group.sample, sum(group.trend), len(group.trend)) == (first, 3, triage.TREND_HOURS)
    assert (found.totals.processes, found.totals.problems) == (4, 2)
    assert found.totals.oldest_at == numbers.oldest_at


def test_the_record_counts_what_came_back() -> None:
    for minutes in (50, 40, 30):
        earlier = blocked("ingest-01", now=NOW - timedelta(minutes=minutes))
        answer(earlier, now=NOW - timedelta(minutes=minutes - 1), outcome=OutcomeState.APPLIED)
    killed = blocked("ingest-02", now=NOW - timedelta(minutes=20))
    answer(killed, Action.KILL, now=NOW - timedelta(minutes=19), outcome=OutcomeState.APPLIED)
    blocked("ingest-03")
    (group,) = triage.read(NOW).groups
    assert [(record.action, record.times, record.came_back) for record in group.record] == [
        ("continue", 3, 2),
        ("kill", 1, 0),
    ]


def test_a_take_and_a_bulk_decision_are_in_the_group() -> None:
    alice = known("alice")
    asked = [blocked(f"ingest-{number}") for number in range(3)]
    takes.take_problem(asked[0].problem_id, 30, alice)
    takes.take_incident(asked[1].pk, 30, known("bob"))
    bulk = proposed(asked, alice, action=Action.KILL, two_above=2)
    (group,) = triage.read(NOW).groups
    assert (group.summary.taken, group.summary.taken_alone) == (triage.Taken("alice", NOW + timedelta(minutes=30)), 1)
    assert group.summary.bulk is not None
    assert (group.summary.bulk.bulk, group.summary.bulk.results["pending"]) == (bulk, 3)
    assert triage.read(NOW).totals.approvals == 1
    later = triage.read(NOW + timedelta(minutes=31)).groups[0].summary
    assert (later.taken, later.taken_alone, later.bulk) == (None, 0, None)
    shown = triage.members(asked[0].problem_id, NOW, first=1, count=2)
    assert (shown.total, [member.taken.by for member in shown.shown if member.taken]) == (3, ["bob", "alice"])


def test_the_number_of_queries_does_not_grow_with_groups() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            triage.read(NOW)
        return len(found)

    known("alice")
    proposed([blocked("a-1", "one"), blocked("a-2", "one")], known("bob"))
    one = queries()
    for number in range(8):
        asked = [blocked(f"b{number}-{place}", f"cause {'x' * number}", kind=f"Kind{'x' * number}") for place in (1, 2)]
        proposed(asked, known(f"person-{number}"))
    assert len(triage.read(NOW).groups) == 9
    assert queries() == one
    assert one <= 24
