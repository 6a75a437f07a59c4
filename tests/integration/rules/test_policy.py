"""Which rule decides: pure functions."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain import rule_policy as policy
from errorkernel.domain.rule_policy import IncidentFacts, RuleAction, RuleDefinition, RuleError, parse_condition
from tests.support.rule_data import NOW, rule

# Pure: who has the word


def question(**given) -> IncidentFacts:
    usual = {
        "id": UUID(int=1), "seq": 10, "node": "ship1", "process": "copy files", "kind": "OSError", "level": "error",
        "text": "no such file", "message": {"id": "8841", "method": "REQCopySrc"}, "problem": 42, "whole": 40,
        "fingerprint": "9f2c" * 8, "repeat": 4, "consecutive": 2, "received_at": NOW,
        "release": "1.4.2",
    }  # fmt: skip
    return IncidentFacts(**usual | given)


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("node:ship*", True), ("node:ship", False), ('process:"copy files"', True), ("process:copy*", True),
        ("method:REQCopySrc", True), ("kind:OS*", True), ("problem:42", True), ("problem:43", False),
        ("problem:40", True), ("-problem:40", False),
        ("fingerprint:9f2c*", True), ("fingerprint:9f2c", False), ("level>=error", True), ("level>error", False),
        ('text:"such file"', True), ("file", True), ("repeat>=4", True), ("repeat>4", False), ("consecutive>=2", True),
        ("consecutive>=3", False), ("release:1.4*", True), ("release:1.5", False),
        ("node:ship1 -process:copy*", False), ("node:x OR level:error", True),
    ],
)  # fmt: skip
def test_a_condition_is_a_query_over_the_fields_of_an_incident(condition, matches):
    assert rule(condition).matches(question()) is matches


@pytest.mark.parametrize(
    "condition", ["", "  ", "since:2h", "type:action", "id:1", "node:", "consecutive>=many", "x\0"]
)
def test_a_condition_that_is_blank_or_speaks_of_something_else_is_refused_with_its_position(condition):
    with pytest.raises(RuleError) as refused:
        parse_condition(condition)
    assert refused.value.field == "condition"
    assert 0 <= refused.value.position <= len(condition)


def test_the_first_rule_that_matches_has_the_word():
    first, second = rule("process:copy*", 1, action=RuleAction.ASK), rule("node:ship1", 2)
    assert policy.decide([first, second], question(), NOW).rule is first
    assert policy.decide([second, first], question(), NOW).rule is second
    assert policy.decide([rule("node:other")], question(), NOW) is None


@pytest.mark.parametrize(
    "over",
    [{"enabled": False}, {"expires_at": NOW}, {"uses": 3, "max_uses": 3}, {"after_seq": 10}],
    ids=["off", "expired", "used up", "younger than the question"],
)
def test_a_rule_that_is_over_is_passed_by(over):
    second = rule(number=2)
    assert policy.decide([rule(**over), second], question(), NOW).rule is second


def test_a_suspended_rule_holds_what_it_matches_and_hands_nothing_down():
    held = policy.decide([rule(suspended=True), rule(number=2)], question(), NOW)
    assert (held.held, held.rule.id) == (True, 1)
    assert not policy.decide([rule("node:other", suspended=True), rule(number=2)], question(), NOW).held


def test_guards_speak_only_at_their_limit():
    assert policy.storm(49, 50) is None
    assert "50 decisions of this rule within 60 s" in policy.storm(50, 50)
    assert policy.loop(4, 5) is None
    assert "5 times in a row" in policy.loop(5, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", " "), ("name", "x" * 101), ("reason", ""), ("reason", "x" * 1001), ("name", "a\0b"), ("max_uses", 0),
     ("storm_limit", 0), ("loop_limit", -1), ("max_uses", 10**7), ("expires_at", datetime(2026, 1, 1))],
)  # fmt: skip
def test_a_wording_that_cannot_be_names_the_field(field, value):
    given = {"name": "n", "condition": "node:x", "action": RuleAction.KILL, "reason": "r", field: value}
    with pytest.raises(RuleError) as refused:
        RuleDefinition(**given).check()
    assert refused.value.field == field


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(node=names, process=names, problem=st.integers(0, 2**63 - 1))
def test_what_is_remembered_matches_exactly_what_it_was_made_of(node, process, problem):
    condition = policy.remembered(node, process, problem)
    asked = question(node=node, process=process, problem=problem)
    if len(condition) > 1000:
        return  # its author has to shorten it
    assert rule(condition).matches(asked)
    for other in ({"node": node + "x"}, {"process": process + "x"}, {"problem": problem + 1}):
        assert not rule(condition).matches(question(**{"node": node, "process": process, "problem": problem} | other))


rule_values = st.builds(
    rule,
    st.sampled_from(["node:ship1", "process:copy*", "node:other", "consecutive>=2", "-kind:*"]),
    st.integers(1, 9),
    enabled=st.booleans(),
    suspended=st.booleans(),
    after_seq=st.integers(0, 20),
    uses=st.integers(0, 3),
    max_uses=st.none() | st.integers(1, 3),
    expires_at=st.none() | st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
)


@given(rules=st.lists(rule_values, max_size=6))
def test_nobody_before_the_rule_that_speaks_could_have_spoken(rules):
    verdict = policy.decide(rules, question(), NOW)
    alone = [policy.decide([one], question(), NOW) for one in rules]
    first = next((one for one in alone if one), None)
    assert verdict == first
    if verdict and not verdict.held:
        assert not verdict.rule.is_over(NOW)
