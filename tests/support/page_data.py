"""What pages show, stored for tests: events, incidents, decisions, people."""

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import (
    Action,
    Event,
    EventType,
    Level,
    Message,
    Outcome,
)
from errorkernel.models import Incident
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor

NOW = datetime(2026, 11, 24, 10, 0, 0, 204000, tzinfo=UTC)
# PostgreSQL stores no NUL, and what nodes send has none left when it is stored (protocol/sanitize).
NUL = "\x00" if connection.vendor == "sqlite" else ""
HOSTILE = f"<script>alert(1)</script>\u202eevil\x1b[31m{NUL}" + "W" * 2000


def event(text="no such file", *, process="copy-files", **fields):
    return Event(
        **{
            "id": uuid7(),
            "type": EventType.ERROR,
            "level": Level.ERROR,
            "process": process,
            "text": text,
            "kind": "FileNotFoundError",
            "incarnation": 7,
            "occurred_at": NOW - timedelta(milliseconds=200),
            **fields,
        }
    )


def store(*events, node="ship1", now=NOW):
    return record(Batch(events=[(node, one) for one in events]), NameCache(), now=now)


def ask(text="disk is gone", *, node="ship1", now=NOW, **fields):
    message = Message(id="8841", method="REQCopySrc", from_node="central", to_node="ship1", data="x")
    raised = event(text, type=EventType.ACTION, occurred_at=now, **{"message": message, **fields})
    store(raised, node=node, now=now)
    return Incident.objects.get(pk=raised.id)


def answer(incident, action=Action.CONTINUE, *, by="alice", now=NOW, reason="because", outcome=None, **fields):
    decision = decisions.decide(incident.pk, action, actor=Actor(f"user:{by}", now), reason=reason)
    if outcome:
        decisions.mark_delivered([incident.pk], now=now)
        done = Outcome(incident=incident.pk, state=outcome, decision_id=decision.pk, **fields)
        decisions.record_outcome(incident.node.name, done, now=now)
    return decision


def person(name, group=None):
    user = User.objects.create_user(name)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def every_page(incident):
    return [
        reverse("triage"),
        reverse("live"),
        reverse("approvals"),
        reverse("events"),
        reverse("event", args=[incident.seq]),
        reverse("incidents"),
        reverse("incident", args=[incident.pk]),
        reverse("problems"),
        reverse("problem", args=[incident.problem_id]),
        reverse("nodes"),
        reverse("node", args=[incident.node.name]),
        reverse("audit"),
    ]
