"""Bulk decisions are carried out: each incident once, over crashes."""

import pytest

from errorkernel.domain.values import Action
from errorkernel.models import AuditEntry, BulkDecisionItem, Decision, Outbox
from errorkernel.store.incidents import bulk_decisions, bulk_progress, decisions
from tests.support.bulk_data import ALICE, approve, carry_out, gone, many, proposed
from tests.support.page_data import NOW, answer, ask

pytestmark = pytest.mark.django_db


def test_each_is_decided_by_the_one_way_to_decide_with_an_audit_row_of_its_own():
    made = proposed(many(45))
    assert not Decision.objects.exists()
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    made.refresh_from_db()
    assert made.state == "done"
    assert bulk_progress.results(made) == {"pending": 0, "decided": 45, "already_decided": 0, "withdrawn": 0}
    assert set(Decision.objects.values_list("actor", "action", "reason")) == {
        ("user:alice", "continue", "the disk is back")
    }
    rows = AuditEntry.objects.filter(action="decide", actor="user:alice", origin__endswith=f"bulk_decision:{made.pk}")
    assert rows.count() == Outbox.objects.count() == 45
    told = AuditEntry.objects.filter(target=f"bulk_decision:{made.pk}").order_by("id")
    assert [one.action for one in told] == ["propose", "approve", "done"]


def test_what_opens_after_it_was_shown_is_not_decided():
    made = proposed(many(3))
    unseen = ask(process="later")
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    unseen.refresh_from_db()
    assert unseen.state == "open"


def test_who_was_quicker_stands_and_who_is_gone_is_told_as_gone():
    first, second, third = many(3)
    made = proposed([first, second, third])
    answer(first, Action.KILL, by="bob")
    gone(second)
    approve(made.pk, ALICE, watch_s=60)
    carry_out()
    assert bulk_progress.results(made) == {"pending": 0, "decided": 1, "already_decided": 1, "withdrawn": 1}
    assert bulk_decisions.items(made).get(result="already_decided").incident.decision.actor == "user:bob"
    assert Decision.objects.get(incident=third).actor == "user:alice"


def test_a_crash_in_the_middle_decides_nothing_twice_and_the_rest_later(monkeypatch):
    made = proposed(many(30))
    approve(made.pk, ALICE, watch_s=60)
    bulk_decisions.step(now=NOW)
    given = Decision.objects.count()
    real, calls = decisions.decide, []

    def dies_at_the_fifth(*args, **fields):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(decisions, "decide", dies_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            bulk_decisions.step(now=NOW)
    assert Decision.objects.count() == given == BulkDecisionItem.objects.filter(result="decided").count()
    carry_out()
    assert Decision.objects.count() == 30
    assert bulk_progress.results(made)["decided"] == 30


def test_no_step_decides_more_than_it_may_hold_the_database_for():
    made = proposed(many(bulk_decisions.AT_ONCE + 1))
    approve(made.pk, ALICE, watch_s=60)
    assert len(bulk_decisions.step(now=NOW).changed) == bulk_decisions.AT_ONCE
    assert len(bulk_decisions.step(now=NOW).changed) == 1
