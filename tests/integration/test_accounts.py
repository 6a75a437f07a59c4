"""What people may do: whoever changes it, and by which way, it is in the audit trail."""

from io import StringIO
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from errorkernel.models import AuditEntry

pytestmark = pytest.mark.django_db

WHEN = {"date_joined_0": "2026-01-01", "date_joined_1": "10:00:00"}
PASSWORD = "gh0st-pass-99"


@pytest.fixture(autouse=True)
def quick(settings):
    """The usual way to keep a password takes a second of purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def boss():
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="b0ss-pass-99"))
    return client


def noted():
    """(who, did, to, before, after) of what has been noted, and no password's hash."""
    entries = AuditEntry.objects.order_by("pk")
    assert "md5" not in str([(one.before, one.after) for one in entries])
    return [(one.actor, one.action, one.target, one.before, one.after) for one in entries]


def test_a_person_who_is_made_let_do_more_and_removed_in_the_admin_is_on_record(boss):
    password = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    boss.post(reverse("admin:auth_user_add"), {"username": "ghost", **password})
    ghost, operator = User.objects.get(username="ghost"), Group.objects.get(name="operator")
    one = reverse("admin:auth_user_change", args=[ghost.pk])
    boss.post(one, {"username": "ghost", "is_active": "on", "groups": operator.pk, **WHEN})
    boss.post(one, {"username": "ghost", "is_active": "on", "groups": operator.pk, "first_name": "G", **WHEN})
    boss.post(one, {"username": "ghost", "is_staff": "on", "is_superuser": "on", "groups": operator.pk, **WHEN})
    boss.post(reverse("admin:auth_user_delete", args=[ghost.pk]), {"post": "yes"})
    made = {"name": "ghost", "active": True, "staff": False, "superuser": False, "groups": [], "permissions": []}
    last = {**made, "active": False, "staff": True, "superuser": True, "groups": ["operator"], "password": "(hidden)"}
    assert noted() == [
        ("user:boss", "add", "user:ghost", {}, {**made, "password": "(hidden)"}),
        ("user:boss", "change", "user:ghost", {"groups": []}, {"groups": ["operator"]}),
        (
            "user:boss", "change", "user:ghost", {"active": True, "staff": False, "superuser": False},
            {"active": False, "staff": True, "superuser": True},
        ),
        ("user:boss", "delete", "user:ghost", last, {}),
    ]  # fmt: skip
    assert {one.origin for one in AuditEntry.objects.all()} == {"127.0.0.1 admin"}


def test_people_who_are_removed_from_the_list_are_on_record_each(boss):
    gone = [User.objects.create_user(name).pk for name in ("one", "two")]
    boss.post(reverse("admin:auth_user_changelist"), {
        "action": "delete_selected", "_selected_action": gone, "post": "yes"})  # fmt: skip
    assert sorted((did, to) for _, did, to, *_ in noted()) == [("delete", "user:one"), ("delete", "user:two")]
    assert User.objects.count() == 1


def test_what_a_group_may_do_is_on_record_when_it_changes(boss):
    group, may = Group.objects.create(name="night"), Permission.objects.get(codename="decide_incident")
    boss.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "night", "permissions": may.pk})
    change = {"permissions": []}, {"permissions": ["errorkernel.decide_incident"]}
    assert noted() == [("user:boss", "change", "group:night", *change)]


def test_a_password_that_is_changed_is_on_record_whoever_changes_it(boss):
    other = User.objects.create_user("other", password="0ther-pass-99")
    page = reverse("admin:auth_user_password_change", args=[other.pk])
    changed = {"password": "(hidden)"}, {"password": "(another, hidden)"}
    new = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    boss.get(page)
    boss.post(page, {**new, "password2": "differs"})
    assert noted() == []
    boss.post(page, {**new, "set-password": "1"})
    assert noted() == [("user:boss", "change", "user:other", *changed)]
    own = {"old_password": "b0ss-pass-99", "new_password1": PASSWORD, "new_password2": PASSWORD}
    assert boss.post(reverse("admin:password_change"), own).status_code == 302
    assert noted()[1:] == [("user:boss", "change", "user:boss", *changed)]
    with patch("getpass.getpass", return_value="typed-pass-99"):
        call_command("changepassword", "other", stdout=StringIO())
    assert noted()[2:] == [("system", "change", "user:other", *changed)]
    assert User.objects.get(username="other").check_password("typed-pass-99")


def test_a_superuser_who_is_made_by_a_command_is_on_record():
    call_command("createsuperuser", username="root", email="", interactive=False, stdout=StringIO())
    [(who, did, to, before, after)] = noted()
    assert (who, did, to, before, after["superuser"], after["password"]) == (
        "system", "add", "user:root", {}, True, "none",
    )  # fmt: skip
