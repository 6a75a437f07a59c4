"""That what a page costs does not grow with what is stored: counted in queries, since times depend on the machine.

``tests/bench_pages.py`` measures the times, over a million events.
"""

import time

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.addresses import NOT_READ, admin_lists, fill, named, readable

pytestmark = pytest.mark.django_db

FEW = {"events": 4000, "nodes": 110, "processes": 220, "problems": 260, "open": 60}
"""Enough for a second page."""
MANY = {"events": 12_000, "nodes": 250, "processes": 500, "problems": 600, "open": 150}


def queries(size: dict[str, int]) -> dict[str, list[int]]:
    """Name → how many queries each of its addresses takes. What was filled in is gone again afterwards."""
    with transaction.atomic():
        fill(time.time(), size)
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        counted = {name: [_count(client, one) for one in addresses] for name, addresses in readable().items()}
        transaction.set_rollback(True)
    return counted


def _count(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        status = client.get(address).status_code
    assert status < 400, f"{status} {address}"
    return len(asked)


@pytest.fixture(scope="module")
def counted(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        if connection.vendor != "sqlite":
            pytest.skip("the history is written in SQLite's words")
        return queries(FEW), queries(MANY)


@pytest.mark.parametrize("name", [*sorted(named() - NOT_READ), *admin_lists()])
def test_a_page_takes_no_more_queries_the_more_there_is(name, counted):
    few, many = counted
    assert [more for one, more in zip(few[name], many[name], strict=True) if more > one] == []
