"""Rules that act on processes of Steward and ctrl nodes: when they may, when never, and that each event counts once."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from errorkernel.domain.process_actions import ActionKind, ActionOutcome
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition, RuleError
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.models import AuditEntry, Node, ProcessAction
from errorkernel.models import Rule as Row
from errorkernel.senders.steward.protocol import rule_policy
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.process_control import Ended
from errorkernel.senders.steward.store import actions, rule_evaluation
from errorkernel.senders.steward.store.actions import ActionRequest, LeaseHolder
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STEWARD = Dialect(True, True, Format.GOB, Compression.NONE, "A23", declared=True)
SHIP = "ship1@steward"
GUESSED = {"process": "guessed_from_text"}
KILL = RuleDefinition("kill it", "process:REQ*", RuleAction.KILL, "it hangs", enabled=True, controlled_nodes=(SHIP,))
WHO = Actor("user:alice", NOW)
A = LeaseHolder("a", 30)


# Pure


@pytest.mark.parametrize(
    ("tags", "relay", "certain"),
    [
        (GUESSED, "", True), ({"process": "named_in_text"}, "", True), ({"process": "not_named"}, "", False),
        ({}, "", False), (GUESSED, "hub", False), (GUESSED | {"process_or": "REQHttpGetScheduled"}, "", False),
        (GUESSED | {"part_of": "1"}, "", False), (GUESSED | {"node_in_text": "ship2"}, "", False),
        (GUESSED | {"about_node": "ship2"}, "", False), (GUESSED | {"waited": "61 s at the broker"}, "", False),
        (GUESSED | {"clock": "local", "prefix": "none", "source": "ctrl"}, "", True),
    ],
)  # fmt: skip
def test_only_an_error_that_can_be_of_one_process_alone_is_acted_on(tags: Any, relay: str, certain: bool) -> None:
    assert rule_policy.is_certain(tags, relay) is certain


def test_a_clock_that_is_hours_off_does_not_make_an_error_old_and_a_delay_does() -> None:
    two_hours = 7200.0
    assert rule_policy.is_of_now(two_hours + 1, [two_hours, two_hours + 2])
    assert rule_policy.is_of_now(-two_hours, [-two_hours])
    assert not rule_policy.is_of_now(two_hours + 301, [two_hours, two_hours + 301])
    assert not rule_policy.is_of_now(-two_hours + 301, [-two_hours])


@pytest.mark.parametrize("name", ["ship*@steward", "ship1", "*", "", "ship1@steward\n", "x" * 80 + "@steward"])
def test_a_rule_names_such_nodes_whole_or_not_at_all(name: str) -> None:
    with pytest.raises(RuleError) as refused:
        replace(KILL, controlled_nodes=(name,)).check()
    assert refused.value.field == "controlled_nodes"


# The store


@pytest.fixture
def ship1(db: None) -> Node:
    return Node.objects.create(name=SHIP, family="steward", dialect=msgspec.to_builtins(STEWARD))


def reported(*, at: datetime = NOW, occurred_at: datetime | None = NOW, node: str = SHIP, **more: Any) -> Event:
    usual: dict[str, Any] = {
        "id": uuid.uuid4(), "type": EventType.ERROR, "level": Level.ERROR, "process": "REQHttpGet",
        "text": "error: methodREQHttpGet: method timed out", "tags": GUESSED, "occurred_at": occurred_at,
    }  # fmt: skip
    event = Event(**usual | more)
    record(Batch(events=[(node, event)]), NameCache(), now=at)
    return event


def judge(now: datetime = NOW, *, two_above: int = 0) -> list[ProcessAction]:
    while rule_evaluation.step(now=now, two_above=two_above):
        pass
    return list(ProcessAction.objects.order_by("id"))


def end_all(at: datetime = NOW) -> None:
    for action in actions.claim(A, now=at, limit=99):
        actions.end(action, A, Ended(ActionOutcome.DONE, "done"), now=at)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_rule_that_names_the_node_orders_an_action_once(ship1: Node) -> None:
    rule = changes.add(KILL, actor=WHO)
    event = reported()
    [action] = judge()
    assert (action.plan, action.method, action.actor) == ("kill", "REQHttpGet", f"rule:{rule.pk}")
    assert (action.rule_id, action.rule_revision, action.reason) == (rule.pk, 1, "it hangs")
    assert action.event_seq
    rule.refresh_from_db()
    assert rule.uses == 1
    entry = AuditEntry.objects.get(actor=f"rule:{rule.pk}")
    assert (entry.action, entry.target) == ("steward kill", f"node:{SHIP}")
    assert "revision 1" in entry.after["rule"]
    # It comes again, and the rules are asked again.
    end_all()
    record(Batch(events=[(SHIP, event)]), NameCache(), now=NOW)
    assert judge() == [action]


@pytest.mark.parametrize(
    "given",
    [
        {"controlled_nodes": ()},
        {"controlled_nodes": ("ship2@steward",)},
        {"enabled": False},
        {"action": RuleAction.CONTINUE},
        {"action": RuleAction.ASK},
        {"action": RuleAction.ESCALATE},
        {"condition": "process:REQCliCommand"},
        {"condition": "repeat>1"},
        {"expires_at": NOW},
    ],
)
def test_any_other_rule_does_nothing(ship1: Node, given: Any) -> None:
    changes.add(replace(KILL, **given), actor=WHO)
    reported()
    assert judge() == []


@pytest.mark.parametrize(
    "given",
    [
        {"type": EventType.INFO},
        {"tags": {"process": "not_named"}, "process": "(not named)"},
        {"tags": GUESSED | {"process_or": "REQHttpGetScheduled"}},
        {"tags": GUESSED | {"part_of": "0193b0de"}},
        {"tags": GUESSED | {"waited": "3600 s at the broker"}},
        {"relay_from_node": "hub"},
        {"process": "REQErrorLog"},
        {"occurred_at": None},
        {"node": "ship2@steward"},
    ],
)
def test_nothing_is_done_because_of_an_error_that_leaves_a_doubt(ship1: Node, given: Any) -> None:
    Node.objects.create(name="ship2@steward", family="steward", dialect=msgspec.to_builtins(STEWARD))
    rule = changes.add(KILL, actor=WHO)
    reported(**given)
    assert judge() == []
    rule.refresh_from_db()
    assert rule.uses == 0


def test_a_node_of_ours_is_never_acted_on_whatever_it_is_called(ship1: Node) -> None:
    Node.objects.update(family="")
    changes.add(KILL, actor=WHO)
    reported()
    assert judge() == []


def test_the_first_rule_that_names_the_node_has_the_word(ship1: Node) -> None:
    changes.add(replace(KILL, action=RuleAction.CONTINUE, controlled_nodes=()), actor=WHO)
    changes.add(replace(KILL, action=RuleAction.ASK, condition="repeat:1"), actor=WHO)
    third = changes.add(replace(KILL, action=RuleAction.STOP), actor=WHO)
    reported()
    assert judge() == []
    reported()
    [action] = judge()
    assert (action.rule_id, action.plan) == (third.pk, "stop")


def test_what_is_older_than_the_rule_or_than_some_minutes_stays_undone(ship1: Node) -> None:
    reported()
    changes.add(KILL, also_waiting=True, actor=WHO)
    assert judge() == []
    reported(occurred_at=at(1))
    # No kernel looked at it for so long.
    assert judge(at(301)) == []
    # A node was cut off for an hour, and reports then what it had to say an hour ago.
    reported(at=at(3600), occurred_at=at(10))
    assert judge(at(3600)) == []
    reported(at=at(3601), occurred_at=at(3601))
    assert len(judge(at(3601))) == 1


def test_an_error_that_came_while_something_was_done_is_of_what_is_gone(ship1: Node) -> None:
    changes.add(KILL, actor=WHO)
    wish = ActionRequest(ActionKind.KILL, "REQHttpGet", "it hangs")
    actions.request(SHIP, wish, actor=Actor("user:alice", NOW))
    reported()
    assert len(judge()) == 1
    reported(at=at(5))
    end_all(at(6))
    assert len(judge(at(7))) == 1
    reported(at=at(8))
    assert len(judge(at(8))) == 2


def test_a_rule_that_goes_round_in_a_loop_is_suspended_and_told(ship1: Node) -> None:
    rule = changes.add(replace(KILL, loop_limit=2), actor=WHO)
    for second in (0, 10, 20, 30):
        reported(at=at(second), occurred_at=at(second))
        judge(at(second))
        end_all(at(second + 1))
    rule.refresh_from_db()
    assert rule.suspended_reason.startswith("A loop: it acted on REQHttpGet of ship1@steward 2 times")
    assert (rule.uses, ProcessAction.objects.count()) == (2, 2)
    assert AuditEntry.objects.filter(action="suspend", target=f"rule:{rule.pk}").exists()
    # Cleared, it has its chances again: only what the new revision does counts.
    changes.resume(rule.pk, "mended", actor=WHO)
    reported(at=at(40), occurred_at=at(40))
    assert len(judge(at(40))) == 3


def test_its_actions_count_among_those_that_rules_end_at_once(ship1: Node) -> None:
    rule = changes.add(replace(KILL, storm_limit=1000), actor=WHO)
    for method in ("REQHttpGet", "REQCliCommand", "REQToFile"):
        reported(process=method)
    assert len(judge(two_above=2)) == 2
    rule.refresh_from_db()
    assert rule.suspended_reason.startswith("Too many for a rule")


def test_a_storm_over_many_processes_suspends_the_rule_and_uses_run_out(ship1: Node) -> None:
    stormy = changes.add(replace(KILL, storm_limit=2, condition="process:REQ*"), actor=WHO)
    methods = ["REQHttpGet", "REQCliCommand", "REQToFile", "REQTailFile"]
    for method in methods:
        reported(process=method)
    assert len(judge()) == 2
    stormy.refresh_from_db()
    assert stormy.suspended_reason.startswith("A storm")
    changes.remove(stormy.pk, "no", actor=WHO)
    end_all()
    once = changes.add(replace(KILL, max_uses=1), actor=WHO)
    for method in methods:
        reported(process=method, at=at(70), occurred_at=at(70))
    assert [one.rule_id for one in judge(at(70))] == [stormy.pk, stormy.pk, once.pk]


def test_a_node_is_not_acted_on_without_end_and_what_is_refused_uses_nothing(ship1: Node) -> None:
    rule = changes.add(KILL, actor=WHO)
    for _ in range(actions.A_MINUTE_MAX):
        actions.request(SHIP, ActionRequest(ActionKind.LIST), actor=Actor("user:alice", NOW))
        end_all()
    reported()
    assert len(judge()) == actions.A_MINUTE_MAX
    rule.refresh_from_db()
    assert rule.uses == 0


def test_two_kernels_that_look_at_once_act_once(ship1: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is done between this one's look and its step."""
    changes.add(KILL, actor=WHO)
    reported()
    verdict, looked = rule_evaluation._verdict, []

    def overtaken(*given: Any) -> Any:
        if not looked:
            looked.append(1)
            rule_evaluation.step(now=NOW)
            end_all(at(-1))
        return verdict(*given)

    monkeypatch.setattr(rule_evaluation, "_verdict", overtaken)
    assert len(judge()) == 1


def test_many_events_that_no_rule_speaks_to_are_passed_and_the_next_is_found(ship1: Node) -> None:
    Row.objects.all().delete()
    changes.add(replace(KILL, condition="process:REQCliCommand"), actor=WHO)
    for _ in range(rule_evaluation.AT_ONCE + 3):
        reported()
    reported(process="REQCliCommand")
    assert [one.method for one in judge()] == ["REQCliCommand"]
