"""The frame of every page: language, texts of its scripts, search in the address, jump, the first node."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import engines
from django.test import Client
from django.urls import reverse
from django.utils import translation

from errorkernel.domain.values import OutcomeState
from errorkernel.live import rendering
from errorkernel.models import AuditEntry, BulkDecision, KernelHeartbeat, Node
from errorkernel.store import kernel_heartbeats
from errorkernel.web.console.script_texts import texts
from errorkernel.web.console.search import RANGES
from tests.support.page_data import answer, ask, event, every_page, person, store
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Client:
    return person("alice", "operator")


@pytest.fixture
def chief() -> Client:
    return person("carol", "administrator")


def test_scripts_say_what_the_server_translates_and_nothing_else() -> None:
    scripts = "".join(path.read_text() for path in (ROOT / "static/errorkernel").glob("*.js"))
    said = set(re.findall(r'text\("([a-z0-9-]+)"', scripts))
    # Some are chosen before they are said: the text of a state, of a theme, of a switch.
    chosen = {name for name in texts() if f'"{name}"' in scripts or f"{name}:" in scripts} | {
        f"{switch}-{state}" for switch in ("sound", "notices") for state in ("on", "off")
    }
    assert said <= set(texts()), "a script says what has no text"
    assert set(texts()) <= said | chosen, "a text that no script says"


def test_the_reader_chooses_the_language_and_it_stays(alice: Client) -> None:
    assert '<html lang="en"' in alice.get("/").content.decode()
    chosen = alice.post(reverse("set_language"), {"language": "de", "next": "/incidents/"})
    assert chosen["Location"] == "/incidents/"
    assert '<html lang="de"' in alice.get("/incidents/").content.decode()


def test_a_browser_that_prefers_german_gets_it(alice: Client) -> None:
    page = alice.get("/", headers={"accept-language": "de-AT,de;q=0.9,en;q=0.5"})
    assert '<html lang="de"' in page.content.decode()


def test_a_text_of_a_template_is_looked_up_once_in_each_language_and_a_variable_each_time() -> None:
    written = '{% load translation %}{% translate "Nodes" %}{% translate word %}{% translate "Nodes"|lower %}'
    template = engines["django"].from_string(written + '{% translate "Nodes" as kept %}, {{ kept }}')
    expected = [
        ("en", "Nodes", "NodesNodesnodes, Nodes"),
        ("de", "Nodes", "KnotenKnotenknoten, Knoten"),
        ("en", "Rules", "NodesRulesnodes, Nodes"),
        ("de", "Rules", "KnotenRegelnknoten, Knoten"),
    ]
    for language, word, said in expected:
        with translation.override(language):
            assert template.render({"word": word}) == said
            django = engines["django"].from_string(written.replace("translation", "i18n")).render({"word": word})
            assert said.startswith(django)


def test_every_page_answers_in_german(alice: Client) -> None:
    incident = ask("Frage")
    answer(ask("beantwortet"), outcome=OutcomeState.APPLIED)
    for page in every_page(incident):
        shown = alice.get(page, headers={"accept-language": "de"})
        assert shown.status_code == 200, page
        assert "Freigaben" in shown.content.decode(), page


def test_a_card_is_pushed_in_the_language_of_the_source_whoever_caused_it(alice: Client) -> None:
    incident = ask("may I?")
    with translation.override("de"):
        frame = rendering.cards_frame([incident], 1, 1)
    english, german = json.loads(frame.text), json.loads(rendering.translate(frame, "de").text)
    assert "pending for <time" in english["incidents"][0]["html"]
    assert "ausstehend seit <time" in german["incidents"][0]["html"]
    assert {**german, "incidents": []} == {**english, "incidents": []}


def test_the_search_stands_in_the_address_and_narrows_the_rows(alice: Client) -> None:
    store(event("one thing"), node="ship1")
    store(event("another thing"), node="ship2")
    for address in ("/live/", "/events/"):
        page = alice.get(address, {"q": "node:ship2"}).content.decode()
        assert "another thing" in page
        assert "one thing" not in page
        assert 'value="node:ship2"' in page
    page = alice.get("/live/", {"q": "node:ship2", "range": "1h"}).content.decode()
    assert 'data-query="(node:ship2) since:1h"' in page


def test_a_time_range_holds_for_all_alternatives_of_a_search(alice: Client) -> None:
    store(event("long ago"), now=datetime(2020, 1, 1, tzinfo=UTC))
    for span in RANGES:
        assert "long ago" not in alice.get("/events/", {"q": "node:none OR long", "range": span}).content.decode(), span
    assert "long ago" in alice.get("/events/", {"q": "node:none OR long"}).content.decode()


def test_a_search_that_is_none_says_where_and_what_was_meant(alice: Client) -> None:
    for address in ("/live/", "/events/"):
        page = alice.get(address, {"q": "nod:ship2"})
        assert page.status_code == 400
        assert "at character 1" in page.content.decode()
        assert "Did you mean &quot;node&quot;" in page.content.decode()
        assert 'value="nod:ship2"' in page.content.decode()


def test_the_socket_goes_on_from_the_last_event_also_where_the_search_shows_none(alice: Client) -> None:
    store(event("one"), event("two"))
    assert 'data-seq="2"' in alice.get("/live/", {"q": "node:none"}).content.decode()


def test_what_many_wait_on_comes_before_what_one_waits_longer_on(alice: Client) -> None:
    requested_at = datetime.now(UTC)
    alone = ask("alone", process="p0", now=requested_at - timedelta(minutes=5))
    many = [ask("many", process=f"q{n}", now=requested_at - timedelta(minutes=2)) for n in range(4)]
    page = alice.get("/incidents/").content.decode()
    assert all(page.index(f"incident-{incident.pk}") < page.index(f"incident-{alone.pk}") for incident in many)


def test_the_incident_list_finds_what_a_bulk_decision_finds_and_hands_the_filter_on(alice: Client) -> None:
    here, there = ask("disk full", process="copy", node="ship1"), ask("disk full", process="copy", node="ship2")
    page = alice.get("/incidents/", {"q": "node:ship2"}).content.decode()
    assert f"incident-{there.pk}" in page
    assert f"incident-{here.pk}" not in page
    assert 'href="/bulk-decisions/new/?q=node%3Aship2"' in page
    assert "No pending incident matches this search" in alice.get("/incidents/", {"q": "node:none"}).content.decode()
    wrong = alice.get("/incidents/", {"q": "nod:ship2"})
    assert wrong.status_code == 400
    assert "Did you mean &quot;node&quot;" in wrong.content.decode()
    assert "/bulk-decisions/" not in person("vera", "viewer").get("/incidents/").content.decode()


def test_jump_finds_nodes_processes_and_problems(alice: Client) -> None:
    incident = ask("the copier is broken", process="copy-files", node="ship9")
    page = alice.get("/jump/", {"q": "copie"}).content.decode()
    assert reverse("problem", args=[incident.problem_id]) in page
    process = reverse("process", args=["ship9", incident.process_id])
    assert process in alice.get("/jump/", {"q": "COPY"}).content.decode()
    alone = alice.get("/jump/", {"q": "hip9"}, headers={"X-Steward-Card": "1"}).content.decode()
    assert reverse("node", args=["ship9"]) in alone
    assert "<html" not in alone
    assert "No match." in alice.get("/jump/", {"q": "xyzzy"}).content.decode()


def test_jump_is_for_those_who_may_look(client: Client) -> None:
    assert client.get("/jump/", {"q": "s"}).status_code == 302
    assert person("nobody").get("/jump/", {"q": "s"}).status_code == 403


def test_the_first_node_is_made_by_a_button_and_shown_once(chief: Client) -> None:
    assert 'action="/first-node/"' in chief.get("/").content.decode()
    made = chief.post("/first-node/", {"name": "ship1"})
    html = made.content.decode()
    token = re.search(r"Bearer (\S+)&quot;|Bearer ([^\s\"]+)\"", html)
    assert token
    assert "nkey_seed" in html
    assert "no-store" in made["Cache-Control"]
    entry = AuditEntry.objects.get(target="node:ship1")
    assert entry.actor == "user:carol"
    assert "session" in entry.origin
    assert chief.get("/first-node/")["Location"] == "/"


def test_a_name_that_cannot_be_or_is_taken_is_said_and_kept_in_the_form(chief: Client) -> None:
    for name, why in (("no spaces", "is not a valid node"), ("ship1", "already")):
        chief.post("/first-node/", {"name": "ship1"})
        page = chief.post("/first-node/", {"name": name})
        assert page.status_code == 400
        assert why in page.content.decode()
        assert f'value="{name}"' in page.content.decode()


def test_who_may_make_no_nodes_gets_no_button_and_no_node(alice: Client) -> None:
    assert "/first-node/" not in alice.get("/").content.decode()
    assert alice.post("/first-node/", {"name": "ship1"}).status_code == 403
    assert not Node.objects.exists()


def test_the_page_after_the_first_event_teaches_no_more(chief: Client) -> None:
    store(event("here it is"))
    page = chief.get("/").content.decode()
    assert "here it is" in page
    assert "Waiting for the first event" not in page


def test_exact_times_take_the_place_of_a_range_on_the_page_and_on_its_socket(alice: Client) -> None:
    store(event("early"), now=datetime(2020, 1, 1, 10, 0, tzinfo=UTC))
    store(event("late"), now=datetime(2020, 1, 1, 10, 5, tzinfo=UTC))
    for address in ("/live/", "/events/"):
        times = {"range": "1h", "since": "2020-01-01T10:00:01", "until": "2020-01-01T11:00"}
        page = alice.get(address, times).content.decode()
        assert "late" in page
        assert "early" not in page
        assert 'value="2020-01-01T10:00:01"' in page
    found = alice.get("/live/", {"q": "late OR early", "until": "2020-01-01T11:00"}).content.decode()
    assert 'data-query="(late OR early) until:2020-01-01T11:00"' in found


@pytest.mark.parametrize("wrong", ["yesterday", "2020-13-01T00:00", "0001-01-01T00:00+14:00", "9" * 5000])
def test_a_time_that_is_none_is_said(alice: Client, wrong: str) -> None:
    assert alice.get("/live/", {"since": wrong}).status_code == 400
    assert alice.get("/events/", {"until": wrong}).status_code == 400


def test_a_mistake_is_where_the_reader_sees_it_also_with_a_range(alice: Client) -> None:
    page = alice.get("/live/", {"q": "nod:ship2", "range": "1h"})
    assert "at character 1)" in page.content.decode()
    assert alice.get("/live/", {"q": "one) OR (two", "range": "1h"}).status_code == 400


def test_without_a_kernel_nothing_is_said_of_what_it_alone_knows(alice: Client) -> None:
    store(event("one"))
    kernel_heartbeats.record("host:1", now=datetime.now(UTC), started_at=datetime.now(UTC), lag=7)
    assert "not stored yet" not in alice.get("/").content.decode().split("<body")[1]  # some always are, for a moment
    kernel_heartbeats.record("host:1", now=datetime.now(UTC), started_at=datetime.now(UTC), lag=70)
    page = alice.get("/").content.decode()
    assert "broker ok" in page.split("<body")[1]
    assert "70 events not stored yet" in page
    KernelHeartbeat.objects.update(at=datetime.now(UTC) - timedelta(minutes=1))
    strip = alice.get("/").content.decode().split('<div class="banners">')[0]
    assert "broker unknown" in strip.split("<body")[1]
    assert "not stored yet" not in strip.split("<body")[1]


def test_the_login_names_the_page_that_follows_and_no_account(client: Client) -> None:
    root = reverse("login")
    shown = client.get(root, {"next": "/problems/12/?page=2"}).content.decode()
    assert "problem 12" in shown
    assert "approvals" in client.get(root, {"next": "/approvals/"}).content.decode().lower()
    for nowhere in ("/", "/no/such/page/", "https://elsewhere.example/problems/12/", "//elsewhere.example/approvals/"):
        assert "After login" not in client.get(root, {"next": nowhere}).content.decode(), nowhere
    assert ">admin<" not in shown
    assert "changepassword" not in shown


def test_the_menu_has_the_account_with_its_groups_and_the_pages_that_it_may_open(alice: Client, chief: Client) -> None:
    page = alice.get("/").content.decode()
    assert "<bdi data-account>alice</bdi>" in page
    assert "<bdi>operator</bdi>" in page
    assert 'href="/settings/"' not in page
    assert 'href="/settings/"' in chief.get("/").content.decode()


def test_the_number_of_approvals_is_of_those_that_can_still_be_given(alice: Client) -> None:
    def counted() -> str:
        found = re.search(r'data-count="approvals">(\d*)<', alice.get("/").content.decode())
        assert found
        return found[1]

    now = datetime.now(UTC)
    assert counted() == ""
    made = [
        BulkDecision.objects.create(
            query="process:*", action="kill", reason="r", actor="user:bob", count=30, needs_approval=True,
            proposed_at=now, expires_at=now + timedelta(minutes=minutes),
        )
        for minutes in (-1, 5, 9)
    ]  # fmt: skip
    assert counted() == "2"
    page = alice.get("/approvals/").content.decode()
    assert f'/bulk-decisions/{made[1].pk}/"' in page
    assert rendering.read_status().approvals == 2
