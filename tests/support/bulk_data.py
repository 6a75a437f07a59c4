"""Bulk decisions, stored for tests."""

from django.contrib.auth.models import User

from errorkernel.domain.values import Action, Outcome, OutcomeState
from errorkernel.models import BulkDecision, Decision
from errorkernel.store.incidents import bulk_decisions, decisions
from errorkernel.store.platform.actor import Actor
from tests.support.page_data import NOW, ask, person

ALICE, BOB = Actor("user:alice", NOW), Actor("user:bob", NOW)


def many(count, *, start=0, **fields):
    return [ask(process=f"p{number}", **fields) for number in range(start, start + count)]


def proposed(questions, who=ALICE, *, action=Action.CONTINUE, **fields):
    fields = {"query": "process:*", "reason": "the disk is back", **fields}
    return bulk_decisions.propose([one.pk for one in questions], who, action=action, **fields)


def known(name):
    """An operator with an account."""
    person(name, "operator")
    return Actor(f"user:{name}", NOW, User.objects.get(username=name))


def approve(bulk_id, who, *, watch_s=60):
    if bulk_decisions.has_canary(BulkDecision.objects.get(pk=bulk_id)):
        return bulk_decisions.approve_canary(bulk_id, who, watch_s=watch_s)
    return bulk_decisions.approve(bulk_id, who)


def carry_out(now=NOW):
    while bulk_decisions.step(now=now).looked:
        pass


def obeyed(incident, state=OutcomeState.APPLIED, *, at=NOW, detail=""):
    """Its node says what it did with the answer."""
    decision = Decision.objects.get(incident=incident)
    outcome = Outcome(incident.pk, state, decision_id=decision.pk, detail=detail)
    decisions.record_outcome("ship1", outcome, now=at)


def gone(one):
    decisions.record_outcome("ship1", Outcome(one.pk, OutcomeState.WITHDRAWN), now=NOW)
