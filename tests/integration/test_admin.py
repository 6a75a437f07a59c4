"""The admin: configuration goes through the store, history stays as it is, hostile input stays text."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import models
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from errorkernel.admin import lists
from errorkernel.admin.base import History, shown
from errorkernel.broker.credentials import public_nkey
from errorkernel.domain.access_denials import Denial
from errorkernel.domain.ids import uuid7
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.domain.values import Action, Event, EventType, Level, Message
from errorkernel.models import (
    ApiToken,
    AuditEntry,
    DeadLetter,
    ErrorEvent,
    ErrorState,
    Incident,
    Node,
    Outbox,
    Problem,
    Process,
    ProcessAction,
    RejectedEvent,
    Requeue,
    Rule,
)
from errorkernel.store import kernel_heartbeats, nodes, problems
from errorkernel.store.accounts import access_denials as refused
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest import rejected_events
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>\u202e'
ESCAPED = "&lt;script&gt;"
HISTORY = [model for model, one in admin.site._registry.items() if isinstance(one, History)]


def report(*, type=EventType.ERROR, text=HOSTILE, process="copy", **fields):
    return Event(
        id=uuid7(), type=type, level=Level.ERROR, process=process, text=text, kind=HOSTILE[:150], tags={"a": HOSTILE},
        message=Message(id="1", data=HOSTILE), **fields,
    )  # fmt: skip


@pytest.fixture
def filled():
    """One row of everything."""
    asked = report(type=EventType.ACTION, incarnation=1)
    record(Batch(events=[("ship1", report()), ("ship1", asked)]), NameCache(), now=NOW)
    DeadLetter.objects.create(
        process=Process.objects.get(), problem=Problem.objects.get(), digest="d", message={"id": HOSTILE}, failures=3,
        seq=1, first_at=NOW, last_at=NOW,
    )  # fmt: skip
    decisions.decide(asked.id, Action.KILL, actor=Actor("user:alice", NOW), reason=HOSTILE)
    rejected_events.refuse(
        source="s", subject="ek.evt." + HOSTILE, node="ship1", reason="not_json", detail=HOSTILE,
        data=HOSTILE.encode() + b"\xff\x00", now=NOW,
    )  # fmt: skip
    refused.record({Denial("publish", "ek.evt." + HOSTILE, "ship1", "key:" + HOSTILE, "10.0.0.1"): 3}, now=NOW)
    Requeue.objects.create(id=uuid7(), incident_id=asked.id, actor="user:alice", reason=HOSTILE, created_at=NOW)
    wording = RuleDefinition(name=HOSTILE, condition="node:x", action=RuleAction.KILL, reason=HOSTILE)
    changes.add(wording, actor=Actor("user:root", NOW))
    action = ProcessAction.objects.create(
        token="secret", node=Node.objects.get(), plan="kill", method=HOSTILE, actor="user:alice", reason=HOSTILE,
        summary=HOSTILE, created_at=NOW, listed_processes=[{"name": HOSTILE}],
    )  # fmt: skip
    action.requests.create(number=1, ask="stop", result="stopped", detail=HOSTILE, sent_at=NOW)
    problems.comment(Problem.objects.get().pk, HOSTILE, actor=Actor("user:alice", NOW))
    kernel_heartbeats.record("host:1", started_at=NOW, lag=0, now=NOW)
    api_tokens.add(User.objects.create_user("owner"), actor=Actor("user:root", NOW))
    return asked


@pytest.fixture
def root():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def client_of(group, name="somebody"):
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def url(model, page, *args):
    return reverse(f"admin:errorkernel_{model._meta.model_name}_{page}", args=args)


def act(client, model, action, *rows):
    return client.post(url(model, "changelist"), {"action": action, "_selected_action": [row.pk for row in rows]})


def confirm(client, model, action, *rows):
    """What the button of the confirmation page sends."""
    given = {"action": action, "_selected_action": [row.pk for row in rows], "confirmed": "yes"}
    return client.post(url(model, "changelist"), given)


def test_the_owner_of_a_token_is_chosen_by_name(root):
    User.objects.create_user("vera")
    User.objects.create_user("gone", is_active=False)
    page = root.get(url(ApiToken, "add")).content.decode()
    options = re.findall(r"<option[^>]*>([^<]*)</option>", page)
    assert {"vera", "root"} <= set(options)
    assert "gone" not in options


@pytest.mark.parametrize("many", [False, True], ids=["one", "in the list"])
def test_a_person_with_a_token_can_be_deleted_and_the_trail_has_both(root, many):
    vera = User.objects.create_user("vera")
    api_tokens.add(vera, actor=Actor("user:root", NOW))
    if many:
        selected = {"action": "delete_selected", "_selected_action": [vera.pk]}
        page = reverse("admin:auth_user_changelist")
    else:
        selected, page = {}, reverse("admin:auth_user_delete", args=[vera.pk])
    asked = (root.post(page, selected) if many else root.get(page)).content.decode()
    assert "permission to delete" not in asked
    assert "API token" in asked
    root.post(page, {**selected, "post": "yes"})
    assert not User.objects.filter(username="vera").exists()
    assert AuditEntry.objects.filter(action="revoke", target__startswith="token:").count() == 1


def test_a_count_that_was_ended_says_so_and_every_row_can_be_reached(root, monkeypatch):
    monkeypatch.setattr(lists, "COUNT_MAX", 100)
    monkeypatch.setattr(History, "list_per_page", 50)
    times = [NOW + timedelta(seconds=number) for number in range(230)]
    AuditEntry.objects.bulk_create(
        AuditEntry(at=at, actor="user:a", action="x", target=f"t:{number}", origin="")
        for number, at in enumerate(times)
    )
    found, page = set(), url(AuditEntry, "changelist")
    first = root.get(page).content.decode()
    assert "more than 100 audit" in " ".join(first.split())
    query, visited = "", 0
    while query is not None and visited < 20:
        visited += 1
        html = root.get(page + query).content.decode()
        found |= {int(number) for number in re.findall(r"<bdi>t:(\d+)</bdi>", html)}
        after = re.search(r'<a href="(\?[^"]*)">Rows after these</a>', html)
        number = int(re.search(r"[?&]p=(\d+)", query)[1]) if "p=" in query else 1
        if after:
            query = after[1].replace("&amp;", "&")
        elif f"p={number + 1}" in html:
            query = re.sub(r"[?&]p=\d+", "", query)
            query += f"{'&' if query else '?'}p={number + 1}"
        else:
            query = None
    assert found == set(range(230))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?at__within=hour", 1),
        ("?at__within=day", 2),
        ("?at__from=2026-11-24T10:00:00&at__to=2026-11-24T10:00:01", 1),
        ("?at__to=2026-11-24T10:00:00", 0),
        ("?at__within=fortnight", None),
        ("?at__from=yesterday", None),
    ],
)
def test_lists_are_filtered_by_time(query, count, root):
    now = timezone.now()
    for at in (now - timedelta(minutes=5), now - timedelta(hours=5), NOW):
        AuditEntry.objects.create(at=at, actor="user:a", action="x", target="t", origin="")
    answer = root.get(url(AuditEntry, "changelist") + query)
    if count is None:
        assert answer.status_code == 302, "an address that says nothing leads to the whole list"
    else:
        assert answer.context["cl"].result_count == count


@pytest.mark.parametrize("model", HISTORY, ids=lambda model: model.__name__)
def test_every_list_that_shows_a_time_can_be_filtered_by_one(model, root):
    shown_times = {field.name for field in model._meta.fields if isinstance(field, models.DateTimeField)}
    page = root.get(url(model, "changelist")).content.decode()
    listed = admin.site._registry[model].list_display
    assert ('class="moment"' in page) == bool(shown_times & set(listed))


@pytest.mark.parametrize("model", HISTORY, ids=lambda model: model.__name__)
def test_history_is_shown_and_cannot_be_changed_by_a_superuser(model, root, filled):
    row = model.objects.first()
    listed = root.get(url(model, "changelist"))
    detail = root.get(url(model, "change", row.pk))
    assert listed.status_code == detail.status_code == 200
    assert "<script>alert" not in listed.content.decode() + detail.content.decode()
    assert "secret" not in detail.content.decode()
    assert root.get(url(model, "add")).status_code == 403
    assert root.post(url(model, "change", row.pk), {}).status_code == 403
    if model is not RejectedEvent:
        assert root.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        act(root, model, "delete_selected", row)
    assert model.objects.filter(pk=row.pk).exists()


def test_index_and_search_pages_answer(root, filled):
    assert "Steward administration" in root.get("/admin/").content.decode()
    for model, one in admin.site._registry.items():
        if model._meta.app_label == "errorkernel" and one.search_fields:
            for term in ("ship1", str(filled.id), HOSTILE, "a\0b", "'\"%_\\"):
                assert root.get(url(model, "changelist"), {"q": term}).status_code == 200, (model, term)


def test_hostile_input_is_escaped_and_told_apart(root, filled):
    listed = root.get(url(ErrorEvent, "changelist")).content.decode()
    assert f"<bdi>{ESCAPED}" in listed
    refused = root.get(url(RejectedEvent, "change", RejectedEvent.objects.get().pk)).content.decode()
    assert "3c 73 63 72 69 70 74 3e" in refused  # not UTF-8, so in hexadecimal
    assert ESCAPED in shown(HOSTILE.encode())


def test_links_lead_to_the_console(root, filled):
    event = ErrorEvent.objects.first()
    assert f'href="/events/{event.seq}/"' in root.get(url(ErrorEvent, "change", event.pk)).content.decode()
    assert f'href="/incidents/{filled.id}/"' in root.get(url(Incident, "change", filled.id)).content.decode()


def test_events_are_searched_with_the_query_language(root, filled):
    def found(q):
        return root.get(url(ErrorEvent, "changelist"), {"q": q}).context["cl"].result_count

    assert found("type:action") == 1
    assert found("node:ship*") == 2
    assert found("node:other") == 0
    answer = root.get(url(ErrorEvent, "changelist"), {"q": "nod:ship1"}).content.decode()
    assert "messagelist" in answer


@pytest.mark.parametrize("group", ["viewer", "operator"])
def test_who_only_watches_changes_nothing(group, filled):
    client, node = client_of(group), Node.objects.get()
    assert client.get(url(Node, "add")).status_code == 403
    assert client.get(url(Node, "changelist")).status_code == 200
    assert client.get(url(ApiToken, "changelist")).status_code == 403
    act(client, Node, "shut_out", node)
    assert Node.objects.get().enabled
    refused = RejectedEvent.objects.get()
    assert client.post(url(RejectedEvent, "delete", refused.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("page", ["/admin/", "/admin/errorkernel/incident/", "/admin/login/"])
def test_who_may_not_enter_is_told_so_and_who_is_a_stranger_comes_to_the_consoles_login(page, client):
    viewer = client_of("viewer")
    User.objects.update(is_staff=False)
    refused = viewer.get(page, follow=True)
    assert refused.status_code == 403
    assert "an account with <b>staff</b> status" in refused.content.decode()
    assert 'href="/"' in refused.content.decode()
    asked = client.get(page, follow=True)
    assert asked.redirect_chain[-1][0].startswith("/login/?next=/admin/")
    assert asked.templates[0].name == "errorkernel/login.html"


def test_the_admin_has_the_consoles_icon_and_colours(root, filled):
    page = root.get("/admin/").content.decode()
    assert 'rel="icon" href="/static/errorkernel/favicon.svg"' in page
    assert "/static/errorkernel/admin.css" in page
    assert "theme.js" in page
    styles = ROOT / "static" / "errorkernel"
    ours, consoles = ((styles / name).read_text() for name in ("admin.css", "tokens.css"))
    colours = set(re.findall(r"light-dark\([^)]*\)", ours))
    assert len(colours) > 8
    assert colours <= set(re.findall(r"light-dark\([^)]*\)", consoles))


def test_columns_and_lists_have_names_that_are_words(root, filled):
    page = root.get(url(Node, "changelist")).content.decode()
    for words in ("Last heartbeat", "Clock ahead (s)", "Backlog", "API tokens"):
        assert words in page
    assert "Clock skew s" not in root.get(url(Node, "change", Node.objects.get().pk)).content.decode()


def test_the_console_leads_to_the_admin_those_who_may_go_there(root, filled):
    nodes.add_node("ship2", actor=Actor("user:root", NOW))
    node, rule = Node.objects.get(name="ship2"), Rule.objects.get()
    listed = f"{url(Node, 'changelist')}?name__exact={node.name}"
    shown = url(Rule, "change", rule.pk)
    assert f'href="{listed}"' in root.get(f"/nodes/{node.name}/").content.decode()
    assert root.get(listed).content.decode().count('name="_selected_action"') == 1
    assert f'href="{shown}"' in root.get(f"/rules/{rule.pk}/").content.decode()
    assert root.get(shown).status_code == 200
    for name in ("auth_user", "errorkernel_apitoken", "errorkernel_node"):
        assert f'href="{reverse(f"admin:{name}_changelist")}"' in root.get("/settings/").content.decode()
    operator = client_of("operator")
    assert listed not in operator.get(f"/nodes/{node.name}/").content.decode()
    User.objects.update(is_staff=False)
    assert shown not in operator.get(f"/rules/{rule.pk}/").content.decode()


def test_a_new_nodes_secrets_are_shown_once_and_work():
    client = client_of("administrator")
    shown_once = client.post(url(Node, "add"), {"name": "ship9", "note": "on deck"})
    text = shown_once.content.decode()
    assert shown_once.status_code == 200
    assert "no-store" in shown_once["Cache-Control"]
    seed = next(word for word in text.replace("<", " ").replace(">", " ").split() if word.startswith("SU"))
    token = next(word for word in text.replace("<", " ").replace(">", " ").split() if word.startswith("ekn_"))
    node = Node.objects.get()
    assert (node.name, node.note, node.public_key) == ("ship9", "on deck", public_nkey(seed))
    assert nodes.names_by_token([token]) == {token: node.name}
    assert AuditEntry.objects.filter(action="add", target="node:ship9", actor="user:somebody").count() == 1
    page = client.get(url(Node, "change", node.pk)).content.decode()
    assert token not in page
    assert node.token_digest not in page


@pytest.mark.parametrize("name", ["", "a.b", "a b", "x" * 65, "ship1", "ä", "ek>"])
def test_a_name_that_cannot_be_a_nodes_is_refused(name, filled):
    answer = client_of("administrator").post(url(Node, "add"), {"name": name, "note": ""})
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["name"]
    assert Node.objects.count() == 1


def test_a_note_is_changed_without_touching_what_the_kernel_counts(filled):
    client, node = client_of("administrator"), Node.objects.get()
    Node.objects.update(events=777)
    client.post(url(Node, "change", node.pk), {"note": "moved", "name": "other", "events": "0", "enabled": ""})
    node.refresh_from_db()
    assert (node.note, node.name, node.events, node.enabled) == ("moved", "ship1", 777, True)
    assert AuditEntry.objects.get(action="note").after == {"note": "moved"}


def test_nodes_are_shut_out_let_in_and_given_new_credentials():
    client = client_of("administrator")
    secrets = nodes.add_node("ship1", actor=Actor.system(NOW))
    node = Node.objects.get()
    act(client, Node, "shut_out", node)
    assert nodes.names_by_token([secrets.token]) == {secrets.token: node.name}, "asked first"
    confirm(client, Node, "shut_out", node)
    assert nodes.names_by_token([secrets.token]) == {}
    act(client, Node, "let_in", node)
    assert nodes.names_by_token([secrets.token]) == {secrets.token: node.name}
    asked = act(client, Node, "renew", node).content.decode()
    assert "stop working at once" in asked
    assert "ship1" in asked
    assert "ekn_" not in asked
    assert nodes.names_by_token([secrets.token]) == {secrets.token: node.name}
    renewed = confirm(client, Node, "renew", node).content.decode()
    assert "ekn_" in renewed
    assert nodes.names_by_token([secrets.token]) == {}
    actors = AuditEntry.objects.filter(actor="user:somebody").values_list("action", flat=True)
    assert sorted(actors) == ["disable", "enable", "renew"]
    assert client.post(url(Node, "delete", node.pk), {"post": "yes"}).status_code == 403


def test_an_api_token_is_shown_once_and_can_be_revoked():
    client = client_of("administrator")
    text = client.post(url(ApiToken, "add"), {"note": "script"}).content.decode()
    token = next(word for word in text.replace("<", " ").replace(">", " ").split() if word.startswith("eku_"))
    assert api_tokens.user_of(token, now=NOW).username == "somebody"
    act(client, ApiToken, "revoke", ApiToken.objects.get())
    assert api_tokens.user_of(token, now=NOW).username == "somebody"
    confirm(client, ApiToken, "revoke", ApiToken.objects.get())
    assert api_tokens.user_of(token, now=NOW) is None
    assert client.post(url(ApiToken, "delete", ApiToken.objects.get().pk), {"post": "yes"}).status_code == 403


def test_nobody_becomes_a_superuser_by_way_of_the_admin():
    client, boss = client_of("administrator"), User.objects.create_superuser("boss")
    client.post(url(ApiToken, "add"), {"note": "", "user": boss.pk})
    assert not ApiToken.objects.filter(user=boss).exists()
    somebody = User.objects.get(username="somebody")
    fields = {"username": "somebody", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    when = {"date_joined_0": "2026-01-01", "date_joined_1": "10:00:00"}
    client.post(reverse("admin:auth_user_change", args=[somebody.pk]), fields | when)
    assert not User.objects.get(username="somebody").is_superuser
    refused = client.post(reverse("admin:auth_user_change", args=[boss.pk]), {**fields, "username": "mine"} | when)
    assert refused.status_code == 403


def test_throwing_away_refused_input_is_noted(filled):
    client, row = client_of("administrator"), RejectedEvent.objects.get()
    client.post(url(RejectedEvent, "delete", row.pk), {"post": "yes"})
    assert not RejectedEvent.objects.exists()
    assert AuditEntry.objects.get(action="delete").target == f"quarantined:{row.pk}"


@pytest.mark.parametrize(
    "model", [ErrorEvent, Incident, ErrorState, Process, Problem, Outbox], ids=lambda m: m.__name__
)
def test_a_list_costs_the_same_however_many_rows_there_are(model, root, django_assert_max_num_queries):
    asked = [report(type=EventType.ACTION, text=f"t{n}", process=f"p{n}") for n in range(120)]
    record(Batch(events=[(f"ship{n % 7}", one) for n, one in enumerate(asked)]), NameCache(), now=NOW)
    for one in asked:
        decisions.decide(one.id, Action.CONTINUE, actor=Actor("user:a", NOW + timedelta(seconds=1)))
    with django_assert_max_num_queries(12):
        assert root.get(url(model, "changelist")).status_code == 200
