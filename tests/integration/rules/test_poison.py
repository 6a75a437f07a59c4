"""Messages that fail again and again, and dry runs."""

import re
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.rule_policy import RuleAction, parse_condition
from errorkernel.domain.values import Action, EventType, Level
from errorkernel.models import DeadLetter, ErrorState, Incident, Problem
from errorkernel.store import problems
from errorkernel.store.incidents import decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import evaluation
from errorkernel.store.search import incident_q
from errorkernel.web.console.dry_run import dry_run
from tests.support.paths import ROOT
from tests.support.rule_data import NOW, WHO, add, again, ask, db, event, judge, rule, store

# Poison


@db
def test_three_failures_in_a_row_on_one_message_dead_letter_it_once():
    store(event(), event())
    assert DeadLetter.objects.count() == 0
    incident = ask()
    letter = DeadLetter.objects.get()
    assert (letter.failures, letter.incident_id, letter.state) == (3, incident.pk, "kept")
    assert letter.message == {"id": "8841", "method": "REQCopySrc", "data": "x"}
    assert again(incident).state == "open"  # keeping it answers nothing
    store(event())
    assert (again(letter).failures, letter.incident_id) == (4, incident.pk)
    assert DeadLetter.objects.count() == 1


@db
def test_other_messages_between_and_infos_and_no_message_are_no_poison():
    for number in range(6):
        store(event(message=f"m{number % 2}"))
        store(event(message="", process="none"))
        store(event(type=EventType.INFO, process="info"))
    assert DeadLetter.objects.count() == 0


@db
def test_a_batch_with_an_incident_and_later_failures_keeps_the_incident():
    asked = event(type=EventType.ACTION)
    store(event(), event(), asked, event())
    letter = DeadLetter.objects.get()
    assert (letter.failures, letter.incident_id) == (4, asked.id)


@db
def test_a_message_that_was_sent_again_and_fails_again_is_kept_again():
    store(event(), event(), event())
    DeadLetter.objects.update(state=DeadLetter.State.RESENT)
    store(event())
    assert sorted(DeadLetter.objects.values_list("state", "failures")) == [("kept", 4)]


@db
def test_a_rule_can_match_poison():
    add("consecutive>=3", RuleAction.KILL)
    first = ask()
    judge()
    store(event())
    third = ask()
    judge()
    assert (again(first).state, again(third).state) == ("open", "decided")
    assert ErrorState.objects.get().consecutive == 3


# Dry run


def tried(condition, earlier=(), **given):
    return dry_run(parse_condition(condition), [parse_condition(one) for one in earlier], **given)


@db
def test_a_dry_run_finds_what_the_rule_would_have_had_the_word_on_and_how_it_ended():
    old = ask(process="old", now=NOW - timedelta(days=8))
    mine, yours, other = ask(), ask(process="yours"), ask(node="boat", process="x")
    decisions.decide(mine.pk, Action.KILL, actor=Actor("user:bob", NOW))
    found = tried("node:ship*", since=NOW - timedelta(days=7))
    assert (found.looked_at, found.matched, found.next) == (3, 2, None)
    assert dict(found.ended) == {"kill": 1, "nobody": 1}
    assert [one.pk for one in found.shown] == [yours.pk, mine.pk]
    below = tried("node:ship*", ["process:yours"], since=NOW - timedelta(days=7))
    assert (below.shown, below.matched, below.taken) == ([mine], 1, 1)
    assert tried("node:ship*", since=NOW - timedelta(days=9)).matched == 3
    assert old.pk != other.pk


@db
def test_a_dry_run_in_steps_finds_the_same_as_one_in_one_go(monkeypatch):
    for number in range(25):
        ask(process=f"p{number % 5}", now=NOW - timedelta(minutes=25 - number))
    since = NOW - timedelta(minutes=20)
    whole = tried("process:p1 OR process:p2", since=since)
    monkeypatch.setattr("errorkernel.web.console.dry_run.STEP_INCIDENTS", 3)
    start, looked_at, matched, shown = None, 0, 0, []
    while True:
        part = tried("process:p1 OR process:p2", since=since, start=start, budget_s=0)
        looked_at, matched, shown = looked_at + part.looked_at, matched + part.matched, shown + part.shown
        start = part.next
        if start is None:
            break
        assert 0 <= part.done(NOW) <= 1
    assert (looked_at, matched, shown) == (whole.looked_at, whole.matched, whole.shown)
    assert whole.looked_at == 20


conditions = st.sampled_from(
    ["node:ship1", "node:s*", "-node:ship1", "process:P*", "kind:oserror", "kind:*", "method:*", 'method:""',
     "method:m", "text:100%", "text:_", "file", "level>=error", "level<error", "level:debug", "repeat>1",
     "consecutive>=2", "consecutive:0", "problem:1", "-problem:1", "fingerprint:*a*",
     "-fingerprint:*a*", "fingerprint:x"]
)  # fmt: skip
combined = st.lists(conditions, min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), " OR ".join(parts), f"-({' '.join(parts)})"])
)


@db
@settings(max_examples=60, deadline=None)
@given(condition=combined)
def test_the_database_and_the_judge_agree_on_every_condition(condition):
    if not Incident.objects.exists():
        for node, process, text, level, message in (
            ("ship1", "p", "no such FILE", Level.ERROR, "m"), ("ship2", "P2", "100% _ done", Level.DEBUG, ""),
            ("boat", "q", "file", Level.CRITICAL, "m"), ("ship1", "p", "no such FILE", Level.ERROR, "m"),
            ("ship1", "p", "größe", Level.WARNING, "n"),
        ):  # fmt: skip
            ask(text, node=node, process=process, level=level, message=message)
        whole, *_, part = Problem.objects.order_by("pk")
        problems.merge(part.pk, whole.pk, "one disk", actor=WHO)
    condition = condition.replace("problem:1", f"problem:{Problem.objects.earliest('pk').pk}")
    tree = parse_condition(condition)
    stored = Incident.objects.select_related("node", "process", "problem")
    judged = {one.pk for one in stored if rule(condition).matches(evaluation.facts_of(one))}
    assert set(Incident.objects.filter(incident_q(tree)).values_list("pk", flat=True)) == judged
    assert set(Incident.objects.filter(~incident_q(tree)).values_list("pk", flat=True)) == {
        one.pk for one in stored if one.pk not in judged
    }


# The page that explains them

DOCS = ROOT / "docs" / "rules.md"


def test_every_field_of_a_condition_is_documented_and_every_example_is_understood():
    page = DOCS.read_text()
    for name, field in INCIDENT_FIELDS.items():
        assert f"| `{name}` |" in page, name
        parse_condition(field.example)
    blocks = re.findall(r"^```condition\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    conditions = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert len(conditions) >= 5
    for condition in conditions:
        parse_condition(condition)
    for action in RuleAction:
        assert f"`{action}`" in page
