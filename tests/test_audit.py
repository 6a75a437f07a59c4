"""The audit trail as a file: everything in it, exactly, and nothing that a spreadsheet would run."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.models import AuditEntry

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
HOSTILE = '=HYPERLINK("http://x")'


@pytest.fixture
def viewer():
    user = User.objects.create_user("vera")
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def entries():
    AuditEntry.objects.bulk_create(
        AuditEntry(
            at=NOW, actor="user:al, ice", action="decide", target=f"incident:{n}", reason=HOSTILE, after={"n": n}
        )
        for n in range(1200)
    )


@async_to_sync
async def content(response) -> str:
    return b"".join([part async for part in response.streaming_content]).decode()


def test_csv_holds_every_entry_and_runs_nothing(viewer, entries):
    response = viewer.get("/audit/export?format=csv")
    assert response["Content-Disposition"] == 'attachment; filename="audit.csv"'
    rows = list(csv.DictReader(io.StringIO(content(response))))
    assert [row["target"] for row in rows] == [f"incident:{n}" for n in range(1200)]
    assert {row["actor"] for row in rows} == {"user:al, ice"}
    assert {row["reason"] for row in rows} == {"'" + HOSTILE}
    assert json.loads(rows[7]["after"]) == {"n": 7}
    assert datetime.fromisoformat(rows[0]["at"]) == NOW


def test_json_lines_are_exact_and_can_be_narrowed(viewer, entries):
    lines = content(viewer.get("/audit/export?format=json&target=incident:5")).splitlines()
    [entry] = map(json.loads, lines)
    assert (entry["reason"], entry["after"], entry["before"]) == (HOSTILE, {"n": 5}, {})


def test_an_empty_trail_is_a_header_alone(viewer):
    assert content(viewer.get("/audit/export")).strip().startswith("id,at,actor")


def test_who_may_not_see_the_trail_gets_no_file(client, viewer, django_user_model):
    assert client.get("/audit/export").status_code == 302
    nobody = Client()
    nobody.force_login(django_user_model.objects.create_user("nobody"))
    assert nobody.get("/audit/export").status_code == 403
    assert viewer.get("/audit/export?format=xml").status_code == 400


def test_a_person_who_is_removed_stays_in_the_trail(viewer, django_user_model):
    gone = django_user_model.objects.create_user("gone")
    AuditEntry.objects.create(at=NOW, actor="user:gone", user=gone, action="decide", target="incident:1")
    gone.delete()
    assert "user:gone" in viewer.get("/audit/").content.decode()
