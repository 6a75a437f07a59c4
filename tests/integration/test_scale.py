"""That what a page costs does not grow with what is stored: counted in queries, since times depend on the machine. And
that there is something where pages lead to.

``tests/bench/pages.py`` measures the times, over a million events.
"""

import re
import time
from html import unescape
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import Resolver404, resolve

from errorkernel.web.operations.registry import registry
from tests.support.addresses import NOT_READ, admin_lists, fill, named, readable

pytestmark = pytest.mark.django_db

FEW = {"events": 4000, "nodes": 110, "processes": 220, "problems": 260, "open": 60}
"""Enough for a second page."""
MANY = {"events": 12_000, "nodes": 250, "processes": 500, "problems": 600, "open": 150}
FORMS = {operation.page_name for operation in registry.operations if operation.form}
"""The names of what pages send forms to."""
OF_OTHER_STATES = {
    "bulk-decisions-apply-rest", "bulk-decisions-approve", "bulk-decisions-approve-canary",
    "problems-reopen", "problems-unmute", "rules-resume", "bulk-decisions-close-note",
    "incidents-release", "problems-release", "nodes-act", "nodes-format", "rules-enable",
}  # fmt: skip
"""Those of states that no row has whose page is read here, and those at the address of a page."""


class Read(NamedTuple):
    """Of every name in urls.py: how many queries each of its addresses takes. ``dead``: (page, address) of what pages
    lead to, or send a form to, that is nowhere; ``found``: the names that they do lead to."""

    queries: dict[str, list[int]]
    dead: set[tuple[str, str]]
    found: set[str]


def read(size: dict[str, int]) -> Read:
    """Every page, once. What was filled in is gone again afterwards."""
    read = Read({}, set(), set())
    with transaction.atomic():
        fill(time.time(), size)
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        for name, addresses in readable().items():
            read.queries[name] = [_look(client, one, read) for one in addresses]
        transaction.set_rollback(True)
    return read


def _look(client: Client, address: str, read: Read) -> int:
    """How many queries the address takes; where it leads to is added to ``read``."""
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(address)
    assert answer.status_code < 400, f"{answer.status_code} {address}"
    page = answer.content.decode() if answer.get("Content-Type", "").startswith("text/html") else ""
    for linked in set(re.findall(r'(?:href|action)="(/[^"?#]*)', page)):
        try:
            read.found.add(resolve(unquote(unescape(linked))).view_name)
        except Resolver404:
            read.dead.add((address, linked))
    return len(asked)


@pytest.fixture(scope="module")
def pages(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        if connection.vendor != "sqlite":
            pytest.skip("the history is written in SQLite's words")
        return read(FEW), read(MANY)


def test_where_pages_lead_to_and_send_forms_to_there_is_something(pages):
    for one in pages:
        assert {pair for pair in one.dead if not pair[1].startswith(settings.STATIC_URL)} == set()
        assert {"node", "process", "problem", "incident", "event", "rule", "admin:index"} <= one.found
        assert FORMS - one.found == OF_OTHER_STATES


PARTS = {"node": 1}
"""Queries of parts that a page has only with much: restarts are read where a group of processes is unfolded."""


@pytest.mark.parametrize("name", [*sorted(named() - NOT_READ), *admin_lists()])
def test_a_page_takes_no_more_queries_the_more_there_is(name, pages):
    few, many = (one.queries for one in pages)
    allowed = PARTS.get(name, 0)
    assert [more for one, more in zip(few[name], many[name], strict=True) if more > one + allowed] == []
