"""Problems, stored for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from errorkernel.models import AuditEntry, Problem
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALICE = Actor("user:alice", NOW, origin="127.0.0.1 session 1")


def report(text: str = "disk full", **fields: Any) -> Event:
    given = {"type": EventType.ERROR, "level": Level.ERROR, "kind": "OSError", "process": "copy", **fields}
    return Event(id=uuid7(), text=text, **given)


def take_in(*events: Event, node: str = "ship1", now: datetime = NOW, directory: NameCache | None = None) -> None:
    record(Batch(events=[(node, one) for one in events]), directory or NameCache(), now=now)


def met(text: str = "disk full", times: int = 1, **fields: Any) -> Problem:
    """The problem of ``text``, after so many more events of it."""
    node, now = fields.pop("node", "ship1"), fields.pop("now", NOW)
    take_in(*[report(text, **fields) for _ in range(times)], node=node, now=now)
    return Problem.objects.get(title=text, kind=fields.get("kind", "OSError"))


def state(problem: Problem) -> str:
    return Problem.objects.values_list("state", flat=True).get(pk=problem.pk)


def last_entry() -> AuditEntry:
    return AuditEntry.objects.latest("pk")


# Pages


def client_of(name: str, group: str) -> Client:
    user = User.objects.create_user(name)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client
