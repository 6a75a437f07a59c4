"""Rules are changed, moved and removed."""

import pytest

from errorkernel.domain import rule_policy as policy
from errorkernel.domain.rule_policy import RuleError
from errorkernel.models import AuditEntry, Decision
from errorkernel.models import Rule as Row
from errorkernel.store.rules import changes as rules
from errorkernel.store.rules.changes import RuleChanged
from tests.support.rule_data import WHO, add, again, ask, db, judge, wording

# Changing them


@db
def test_every_change_raises_the_revision_and_is_on_record():
    made = add(enabled=False)
    changed = rules.change(made.pk, 1, wording("node:ship2", enabled=True), actor=WHO)
    assert changed.revision == 2
    entry = AuditEntry.objects.get(action="change")
    assert entry.before == {"revision": 1, "condition": "node:ship*", "enabled": False}
    assert entry.after == {"revision": 2, "condition": "node:ship2", "enabled": True}
    with pytest.raises(RuleChanged):
        rules.change(made.pk, 1, wording(), actor=WHO)
    with pytest.raises(RuleError):
        rules.change(made.pk, 2, wording("since:2h"), actor=WHO)
    assert again(made).condition == "node:ship2"


@db
def test_uses_survive_a_change():
    made = add()
    ask()
    judge()
    rules.change(made.pk, 1, wording(name="other"), actor=WHO)
    assert again(made).uses == 1


@db
def test_rules_move_within_their_order():
    first, second, third = add(name="1"), add(name="2"), add(name="3")
    rules.move(third.pk, -1, actor=WHO)
    assert [one.name for one in rules.listed()] == ["1", "3", "2"]
    rules.move(first.pk, 99, actor=WHO)
    assert [(one.name, one.position) for one in rules.listed()] == [("3", 1), ("2", 2), ("1", 3)]
    rules.move(third.pk, -1, actor=WHO)
    assert again(third).revision == 2  # what does not move does not change
    assert again(second).revision == 1


@db
def test_a_removed_rule_decides_nothing_and_still_says_what_it_was():
    made = add()
    incident = ask()
    judge()
    rules.remove(made.pk, "no longer true", actor=WHO)
    other = ask(process="other")
    judge()
    assert again(other).state == "open"
    assert Decision.objects.get(incident=incident).rule.name == "go on"
    assert list(rules.listed()) == []
    with pytest.raises(Row.DoesNotExist):
        rules.resume(made.pk, "", actor=WHO)


@db
def test_a_condition_that_cannot_be_read_any_more_is_passed_by():
    made, then = add(), add()
    Row.objects.filter(pk=made.pk).update(condition="nonsense:x")
    ask()
    judge()
    assert Decision.objects.get().rule == then


@db
def test_there_is_a_bound_on_rules(monkeypatch):
    monkeypatch.setattr(policy, "RULES_MAX", 2)
    add(), add()
    with pytest.raises(RuleError, match="2 rules"):
        add()
