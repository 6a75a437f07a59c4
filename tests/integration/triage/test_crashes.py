"""A group decision with a canary: a crash at each of its steps, and several people and kernels at once."""

import itertools
import threading
from datetime import timedelta

import pytest
from django.db import connections

from errorkernel.domain.values import Action
from errorkernel.models import AuditEntry, BulkDecision, Decision, Outbox
from errorkernel.store.incidents import bulk_decisions, group_decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.incidents.group_decisions import Choice
from errorkernel.store.platform import audit
from tests.support.bulk_data import known, obeyed
from tests.support.page_data import NOW, ask

WATCH_S = 60
COUNT = 3


def start(problem, actor, action=Action.CONTINUE):
    choice = Choice(action, "the disk is back")
    return group_decisions.decide(problem, choice, actor, watch_s=WATCH_S, two_above=0)[0]


def follow(now):
    while bulk_decisions.step(now=now).looked:
        pass


@pytest.mark.django_db(transaction=True)
def test_a_crash_at_any_step_decides_nothing_twice_and_the_rest_later(monkeypatch) -> None:
    alice, real = known("alice"), audit.record

    def run(crash_at: int) -> bool:
        """Whether it crashed; what crashed is repeated."""
        asked = [ask(f"cause {'x' * crash_at}", kind=f"K{'x' * crash_at}", process=f"p{n}") for n in range(COUNT)]
        calls, crashed = itertools.count(1), []

        def dies(*entries):
            if next(calls) == crash_at:
                crashed.append(1)
                raise KeyboardInterrupt
            real(*entries)

        monkeypatch.setattr(audit, "record", dies)

        def until_it_works(work):
            try:
                return work()
            except KeyboardInterrupt:
                return work()

        bulk = until_it_works(lambda: start(asked[0].problem_id, alice))
        until_it_works(lambda: obeyed(bulk.canary))
        until_it_works(lambda: follow(NOW + timedelta(seconds=WATCH_S)))
        monkeypatch.setattr(audit, "record", real)
        bulk.refresh_from_db()
        assert (bulk.state, bulk_decisions.results(bulk)["decided"]) == ("done", COUNT), crash_at
        assert AuditEntry.objects.filter(action="apply-rest", target=f"bulk_decision:{bulk.pk}").count() == 1
        assert Decision.objects.filter(incident__in=[one.pk for one in asked]).count() == COUNT
        return bool(crashed)

    runs = 1
    while run(runs):
        runs += 1
    assert runs > 6
    assert Decision.objects.count() == AuditEntry.objects.filter(action="decide").count() == Outbox.objects.count()
    assert BulkDecision.objects.count() == runs


@pytest.mark.django_db(transaction=True)
def test_people_and_kernels_at_once_decide_each_incident_once() -> None:
    people = [known(name) for name in ("alice", "bob", "carol")]
    asked = [ask(process=f"p{n}") for n in range(COUNT)]
    refused: list[CannotBulk] = []
    errors: list[Exception] = []

    def together(*works):
        def run(work):
            try:
                work()
            except CannotBulk as exc:
                refused.append(exc)
            except Exception as exc:
                errors.append(exc)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    actions = (Action.CONTINUE, Action.KILL, Action.STOP)
    together(*(lambda a=a, p=p: start(asked[0].problem_id, p, a) for a, p in zip(actions, people, strict=True)))
    bulk = BulkDecision.objects.get()
    assert [error.code for error in refused] == ["bulk_decision_in_progress"] * 2
    obeyed(bulk.canary)
    together(*[lambda: follow(NOW + timedelta(seconds=WATCH_S))] * 3)
    assert errors == []
    assert Decision.objects.filter(action=bulk.action, actor=bulk.actor).count() == Decision.objects.count() == COUNT
    assert AuditEntry.objects.filter(action="apply-rest").count() == 1
