"""Rules and incidents, stored for tests."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.rule_policy import Rule, RuleAction, RuleDefinition, parse_condition
from errorkernel.domain.values import Event, EventType, Level, Message
from errorkernel.models import Incident
from errorkernel.models import Rule as Row
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes as rules
from errorkernel.store.rules import evaluation

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
WHO = Actor("user:alice", NOW)


def rule(condition="node:ship1", number=1, **given) -> Rule:
    return Rule(
        **{"id": number, "revision": 1, "condition": parse_condition(condition), "action": RuleAction.CONTINUE} | given
    )


# Stored


def store(*events, node="ship1", now=NOW):
    return record(Batch(events=[(node, one) for one in events]), NameCache(), now=now)


def event(text="no such file", *, process="copy-files", message="8841", **fields):
    return Event(
        **{
            "id": uuid7(), "type": EventType.ERROR, "level": Level.ERROR, "process": process, "text": text,
            "kind": "OSError", "incarnation": 7, "occurred_at": NOW,
            "message": Message(id=message, method="REQCopySrc", data="x") if message else None, **fields,
        }
    )  # fmt: skip


def ask(text="no such file", *, node="ship1", now=NOW, **fields) -> Incident:
    raised = event(text, type=EventType.ACTION, **fields)
    store(raised, node=node, now=now)
    return Incident.objects.get(pk=raised.id)


def wording(condition="node:ship*", action=RuleAction.CONTINUE, **given) -> RuleDefinition:
    usual = {"name": "go on", "condition": condition, "action": action, "reason": "known", "enabled": True}
    return RuleDefinition(**usual | given)


def add(condition="node:ship*", action=RuleAction.CONTINUE, *, also_waiting=False, **given) -> Row:
    return rules.add(wording(condition, action, **given), actor=WHO, also_waiting=also_waiting)


def judge(now=NOW, *, two_above=0) -> list[UUID]:
    changed = []
    while found := evaluation.look(now=now, two_above=two_above):
        while found:
            changed += evaluation.step(found, now=now).changed
    return changed


def again(row):
    row.refresh_from_db()
    return row


db = pytest.mark.django_db
