"""Saved searches: own and shared, who may keep and delete them, and that an address is all that they hold."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.models import AuditEntry, SavedSearch

pytestmark = pytest.mark.django_db


def client_of(name: str, group: str, *, staff: bool = False) -> Client:
    user = User.objects.create_user(name, is_staff=staff)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def keep(client: Client, name: str = "mine", address: str = "q=state%3Amuted&sort=count", **more: str) -> int:
    return client.post(
        "/saved-searches/save/", {"page": "problems", "name": name, "address": address, **more}
    ).status_code


def menu(client: Client) -> str:
    return client.get("/problems/").content.decode().split('id="saved-searches"')[1].split("</details>")[0]


def test_a_view_is_kept_and_leads_to_its_search() -> None:
    alice, bob = client_of("alice", "operator"), client_of("bob", "operator")
    assert keep(alice, " my  own ", "q=state%3Amuted&sort=count&page=7&evil=1") == 302
    assert SavedSearch.objects.get().query_string == "q=state%3Amuted&sort=count"
    assert "/problems/?q=state%3Amuted&amp;sort=count" in menu(alice)
    assert "my own" in menu(alice)
    assert "my own" not in menu(bob)
    assert not AuditEntry.objects.exists()
    assert keep(alice, "my own", "q=disk") == 302
    assert SavedSearch.objects.get().query_string == "q=disk"


def test_a_shared_view_is_everybodys_and_on_the_audit_trail() -> None:
    alice, bob, vera = client_of("alice", "operator"), client_of("bob", "operator"), client_of("vera", "viewer")
    root = client_of("root", "administrator", staff=True)
    assert keep(vera, "v", shared="on") == 403
    assert keep(vera, "v") == 302
    assert keep(alice, "ours", shared="on") == 302
    assert keep(bob, "ours", shared="on") == 400, "it is alice's"
    shared = SavedSearch.objects.get(shared=True)
    assert "ours" in menu(vera)
    assert "for everybody" not in menu(vera)
    for other in (bob, vera):
        assert "Delete the view ours" not in menu(other)
        assert other.post(f"/saved-searches/{shared.pk}/delete/").status_code == 404
    assert root.post(f"/saved-searches/{shared.pk}/delete/").status_code == 302
    assert [(one.action, one.actor) for one in AuditEntry.objects.order_by("pk")] == [
        ("share", "user:alice"), ("unshare", "user:root"),
    ]  # fmt: skip
    own = SavedSearch.objects.get()
    assert root.post(f"/saved-searches/{own.pk}/delete/").status_code == 404, "it is private"
    assert vera.post(f"/saved-searches/{own.pk}/delete/").status_code == 302


@pytest.mark.parametrize(("page", "path"), [("live", "/live/"), ("events", "/events/")])
def test_a_view_of_events_keeps_its_time_too(page: str, path: str) -> None:
    alice = client_of("alice", "operator")
    kept = "q=node%3Aship1&range=1h&since=2026-11-24T10%3A00&until=2026-11-24T11%3A00"
    assert (
        alice.post("/saved-searches/save/", {"page": page, "name": "mine", "address": kept + "&before=7"}).status_code
        == 302
    )
    assert f"{path}?{kept}".replace("&", "&amp;") in alice.get(path, {"q": "x"}).content.decode()
    assert "mine" not in menu(alice), "each page has its own"


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "x" * 61}, {"name": "a\0b"}, {"address": "q=" + "x" * 3000}])
def test_what_cannot_be_kept_is_said(wrong: dict[str, str]) -> None:
    assert keep(client_of("alice", "operator"), **wrong) == 400
    assert not SavedSearch.objects.exists()


def test_there_is_a_bound_and_no_page_but_ours_and_no_get() -> None:
    alice = client_of("alice", "operator")
    assert {keep(alice, f"view {n}") for n in range(50)} == {302}
    assert keep(alice, "one more") == 400
    assert alice.post("/saved-searches/save/", {"page": "admin", "name": "x", "address": ""}).status_code == 404
    assert alice.get("/saved-searches/save/").url == "/live/"
    assert Client().post("/saved-searches/save/").status_code == 302
