"""Who may see which page."""

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from errorkernel.domain.values import (
    OutcomeState,
)
from tests.support.page_data import HOSTILE, answer, ask, every_page, person

pytestmark = pytest.mark.django_db


# Who may see what


def test_every_page_answers_for_viewers_and_operators(viewer, alice):
    incident = ask()
    for page in every_page(incident):
        assert viewer.get(page).status_code == 200, page
        assert alice.get(page).status_code == 200, page


def test_every_page_says_in_its_help_what_it_is_for(alice):
    for page in every_page(ask()):
        said = alice.get(page).content.decode().split('<dialog id="help"')[1].split("<h3>Keys")[0]
        assert len(re.sub(r"<[^>]+>", "", said)) > 80, page


def test_every_page_answers_on_an_empty_database(viewer):
    for name in ("triage", "live", "events", "incidents", "problems", "nodes", "audit"):
        assert viewer.get(reverse(name)).status_code == 200, name


def test_nobody_sees_a_page_without_a_login(client):
    incident = ask()
    for page in every_page(incident):
        response = client.get(page)
        assert response.status_code == 302, page
        assert response["Location"].startswith(reverse("login")), page


def test_a_login_without_a_group_sees_nothing_and_is_told_what_to_do():
    nobody = person("nobody")
    incident = ask()
    for page in every_page(incident):
        response = nobody.get(page)
        assert response.status_code == 403, page
        assert "This needs the group <b><bdi>viewer</bdi></b>" in response.content.decode()
        assert "in no group" in response.content.decode()


def test_who_may_not_is_told_which_group_it_takes_what_they_are_and_the_way_back(viewer, alice):
    for client, page, group, own in (
        (viewer, "/settings/", "administrator", "viewer"), (viewer, "/bulk-decisions/new/", "operator", "viewer"),
        (alice, "/settings/", "administrator", "operator"), (alice, "/first-node/", "administrator", "operator"),
    ):  # fmt: skip
        refused = client.get(page, headers={"Referer": "http://testserver/nodes/"})
        told = refused.content.decode()
        assert refused.status_code == 403
        assert f"This needs the group <b><bdi>{group}</bdi></b>" in told
        assert f"(<bdi>{own}</bdi>)" in told
        assert 'href="/"' in told
        assert 'href="http://testserver/nodes/"' in told
    elsewhere = viewer.get("/settings/", headers={"Referer": "https://elsewhere.example/x"}).content.decode()
    assert "elsewhere" not in elsewhere


def test_an_open_incident_says_to_a_viewer_why_there_are_no_buttons(viewer, alice):
    incident = ask()
    page = reverse("incident", args=[incident.pk])
    assert "That needs the group <b>operator</b>" in viewer.get(page).content.decode()
    assert "That needs the group" not in alice.get(page).content.decode()
    answer(incident)
    assert "That needs the group" not in viewer.get(page).content.decode()


def test_the_page_that_one_is_on_is_marked_also_behind_more(viewer):
    for name, marked in (
        ("triage", False),
        ("approvals", False),
        ("problems", False),
        ("live", True),
        ("nodes", True),
        ("dead-letters", True),
        ("audit", True),
    ):
        page = viewer.get(reverse(name)).content.decode()
        assert f'href="{reverse(name)}" aria-current="page"' in page, name
        assert ('<summary aria-current="page">' in page) is marked, name
        navigation = page.split("<main")[0]
        assert len(set(re.findall(r'href="([^"]*)" aria-current="page"', navigation))) == 1, name


def test_what_does_not_exist_is_a_404(viewer):
    for page in ("/events/1/", f"/events/{2**70}/", f"/incidents/{uuid4()}/", "/problems/7/", f"/problems/{2**70}/"):
        assert viewer.get(page).status_code == 404, page
    assert viewer.get("/nodes/unknown/").status_code == 404


def test_a_person_logs_in_and_comes_back_to_the_page_that_was_asked_for(client):
    User.objects.create_superuser("admin", password="pw")
    asked = client.get("/problems/")
    response = client.post(asked["Location"], {"username": "admin", "password": "pw", "next": "/problems/"})
    assert response["Location"] == "/problems/"
    assert client.get("/problems/").status_code == 200
    assert client.post("/logout/").status_code == 302
    assert client.get("/problems/").status_code == 302


def test_pages_hold_no_inline_script_or_style_that_their_policy_would_block(alice):
    incident = ask(HOSTILE)
    answer(ask("other"), outcome=OutcomeState.APPLIED)
    for page in every_page(incident):
        response = alice.get(page)
        html = response.content.decode()
        assert "script-src 'self'" in response["Content-Security-Policy"]
        assert not re.search(r"<[^>]+\s(style|on\w+)=", html), page
        scripts = re.findall(r"<script[^>]*>", html)
        # What has a type that is no script is data: it does not run.
        assert all("src=" in tag or 'type="application/json"' in tag for tag in scripts), page
