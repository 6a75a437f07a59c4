"""The audit trail as a file: everything in it, exactly, and nothing that a spreadsheet would run."""

import ast
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.values import Action, OutcomeState
from errorkernel.models import ApiToken, AuditEntry, Node
from errorkernel.platform import conf
from errorkernel.store import nodes
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import bulk_decisions, decisions
from errorkernel.store.platform import settings_record
from errorkernel.store.platform.actor import Actor
from tests.support.bulk_data import ALICE, carry_out, proposed
from tests.support.page_data import answer, ask
from tests.support.paths import ROOT

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
    assert "user:gone" in viewer.get("/audit/?show=all").content.decode()


def test_the_trail_is_narrowed_by_who_what_to_what_and_when_on_the_page_and_in_the_file(viewer):
    hours = [NOW - timedelta(hours=n) for n in range(4)]
    rows = [
        ("user:alice", "decide", "incident:1", hours[3]), ("user:alice", "add", "node:ship1", hours[2]),
        ("rule:12", "decide", "incident:2", hours[1]), ("system", "deliver", "incident:1", hours[0]),
    ]  # fmt: skip
    AuditEntry.objects.bulk_create(
        AuditEntry(actor=actor, action=action, target=target, at=at) for actor, action, target, at in rows
    )

    def found(**given):
        address = urlencode(given)
        lines = [json.loads(one) for one in content(viewer.get(f"/audit/export?format=json&{address}")).splitlines()]
        page = viewer.get(f"/audit/?show=all&{address}")
        assert [entry for entry, _steps in page.context["entries"]] == list(
            AuditEntry.objects.filter(pk__in=[one["id"] for one in lines])
        )
        return [
            rows.index((one["actor"], one["action"], one["target"], datetime.fromisoformat(one["at"]))) for one in lines
        ]

    assert found(actor="alice") == found(actor="user:alice") == [0, 1]
    assert found(actor="rule:*") == [2]
    assert found(actor="system") == [3]
    assert found(action="decide", target="incident:*") == [0, 2]
    assert found(target="incident:1", since=hours[2].isoformat()) == [3]
    assert found(since="2026-11-24T08:00", until="2026-11-24T09:00") == [1]
    assert found(actor="alice", action="deliver") == []
    assert viewer.get("/audit/?action=decid").status_code == 400
    assert "Did you mean “decide”?" in viewer.get("/audit/?action=decid").content.decode()
    assert "Did you mean “user”?" in viewer.get("/audit/?actor=usr:alice").content.decode()
    assert viewer.get("/audit/?since=2026-11-24&until=2026-11-23").status_code == 400
    assert "No audit entry matches" in viewer.get("/audit/?actor=nobody").content.decode()
    assert viewer.get("/audit/?since=soon").status_code == 400
    assert viewer.get("/audit/export?since=soon").status_code == 400


def test_older_pages_keep_what_was_chosen(viewer, entries):
    page = viewer.get("/audit/?action=decide&until=2026-11-25").content.decode()
    assert "?action=decide&amp;until=2026-11-25T00%3A00%3A00&amp;before=" in page


def test_every_call_says_what_was_before_and_after():
    """mypy holds everybody to it; here the verbs that make or remove something are the only ones with one side."""
    one_sided = {"add", "export", "propose", "share", "unshare", "comment", "remove", "delete"}
    for path in (ROOT / "errorkernel").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "audit.entry"):
                continue
            said = {one.arg: ast.unparse(one.value) for one in call.keywords if one.arg}
            verb = ast.unparse(call.args[1]).strip("'") if call.args[1:] else said["action"].strip("'")
            if "{}" in (said["before"], said["after"]):
                assert verb in one_sided or verb.startswith("f'steward "), (path.name, verb)


def test_what_changes_says_from_what_to_what():
    """Credentials, tokens, escalations, answers to many, what is thrown away."""
    secrets = nodes.add_node("ship1", actor=Actor.system(NOW))
    key = Node.objects.get().public_key
    nodes.renew_node("ship1", actor=Actor.system(NOW))
    nodes.note_signing_key("A", actor=Actor.system(NOW))
    nodes.note_signing_key("B", actor=Actor.system(NOW))
    owner = User.objects.create_user("alice")
    api_tokens.add(owner, note="cron", actor=Actor.system(NOW))
    api_tokens.revoke(ApiToken.objects.get(), actor=Actor.system(NOW))
    nodes.add_node("demo1", demo=True, actor=Actor.system(NOW))
    nodes.remove_demo(now=NOW)
    one = ask()
    decisions.escalate(one.pk, Actor("deadline", NOW))
    who = Actor("user:alice", NOW)
    made = bulk_decisions.propose([one.pk], who, query="process:*", action=Action.CONTINUE, reason="because")
    bulk_decisions.approve(made.pk, who)
    bulk_decisions.step(now=NOW)
    changes = {(e.action, e.target.partition(":")[0]): (e.before, e.after) for e in AuditEntry.objects.order_by("pk")}
    assert changes["renew", "node"] == ({"public_key": key}, {"public_key": Node.objects.get(name="ship1").public_key})
    assert changes["make", "signing-key"] == ({"public_key": "A"}, {"public_key": "B"})
    assert changes["add", "token"] == ({}, {"of": "alice", "note": "cron"})
    assert changes["revoke", "token"] == ({"revoked_at": None}, {"revoked_at": NOW.isoformat()})
    assert changes["remove", "node"][0]["name"] == "demo1"
    assert changes["escalate", "incident"] == ({"escalated_at": None}, {"escalated_at": NOW.isoformat()})
    assert changes["propose", "bulk_decision"] == ({}, {"query": "process:*", "action": "continue", "incidents": 1})
    assert changes["approve", "bulk_decision"][0] == {"state": "proposed"}
    assert changes["done", "bulk_decision"][0] == {"state": "applying"}
    assert secrets.token not in str(changes)


def test_before_its_first_start_the_directory_was_the_one_of_whoever_starts_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/you")
    monkeypatch.setenv("STEWARD_RETENTION_DAYS", "7")
    assert (str(conf.usual().data_dir), conf.usual().retention_days) == ("/home/you/.local/share/steward", 90)


def test_settings_are_on_record_where_they_differ_from_those_of_the_last_start():
    usual = {"STEWARD_DEBUG": "False", "STEWARD_SECRET_KEY": "", "STEWARD_RETENTION_DAYS": "90"}

    def start(role="up", **given):
        settings_record.note(role, {**usual, **given}, usual, now=NOW, origin="here")
        return [(one.target, one.before, one.after) for one in AuditEntry.objects.order_by("pk")]

    assert start() == []
    first = ("settings:up", {"STEWARD_RETENTION_DAYS": "90"}, {"STEWARD_RETENTION_DAYS": "7"})
    assert start(STEWARD_RETENTION_DAYS="7") == [first]
    assert start(STEWARD_RETENTION_DAYS="7") == [first], "nothing has changed"
    back = ("settings:up", {"STEWARD_RETENTION_DAYS": "7"}, {"STEWARD_RETENTION_DAYS": "90"})
    assert start() == [first, back]
    assert start() == [first, back]
    of_web = ("settings:web", {"STEWARD_DEBUG": "False"}, {"STEWARD_DEBUG": "True"})
    assert start("web", STEWARD_DEBUG="True") == [first, back, of_web]
    assert {(one.actor, one.origin) for one in AuditEntry.objects.all()} == {("system", "here")}


def test_the_page_shows_people_with_the_steps_that_followed_and_a_bulk_decision_as_one_row(viewer):
    one = ask("alone", process="alone", now=NOW)
    answer(one, now=NOW, outcome=OutcomeState.APPLIED)
    bulk = proposed([ask("many", process=f"p{number}", now=NOW) for number in range(3)])
    bulk_decisions.approve(bulk.pk, ALICE)
    carry_out()
    context = viewer.get("/audit/").context
    rows = [(entry.action, [step.action for step in steps]) for entry, steps in context["entries"]]
    assert context["show"] == "people"
    assert [action for action, _steps in rows if action in ("decide", "propose")] == ["propose", "decide"]
    steps = dict(rows)
    assert steps["decide"] == ["deliver", "outcome"]
    assert steps["propose"][0] == "approve"
    assert steps["propose"][-1] == "done"
    every = [entry.action for entry, _steps in viewer.get("/audit/?show=all").context["entries"]]
    assert every.count("decide") == 4
