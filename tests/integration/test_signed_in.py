"""Who is signed in: our statements say what Django's own would, on the real database."""

from datetime import timedelta
from itertools import product

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from errorkernel.bypasses.sessions import Backend

pytestmark = pytest.mark.django_db


def codes(*names: str) -> list[Permission]:
    return list(Permission.objects.filter(codename__in=names, content_type__app_label="errorkernel"))


def test_a_person_may_do_what_django_says_whichever_way_it_was_given():
    ours, theirs = Group.objects.create(name="ours"), Group.objects.create(name="theirs")
    ours.permissions.set(codes("view_incident", "decide_incident"))
    theirs.permissions.set(codes("change_rule"))
    for active, boss, own, groups in product((True, False), (True, False), ((), ("view_rule",)), ((), (ours,))):
        user = User.objects.create_user(f"{active}-{boss}-{own}-{groups}", is_active=active, is_superuser=boss)
        user.user_permissions.set(codes(*own))
        user.groups.set(groups)
        again = User.objects.get(pk=user.pk)
        assert Backend().get_all_permissions(user) == ModelBackend().get_all_permissions(again), user
        for codename in ("view_rule", "decide_incident", "change_rule"):
            allowed = active and (boss or codename in own or (bool(groups) and codename == "decide_incident"))
            assert User.objects.get(pk=user.pk).has_perm(f"errorkernel.{codename}") is allowed, (user, codename)
    assert Backend().get_all_permissions(AnonymousUser()) == set()
    assert Backend().get_all_permissions(again, obj=ours) == set(), "of single things nothing is known"


def test_who_is_no_longer_active_removed_or_out_of_time_is_signed_out():
    for end in (
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        lambda user: user.delete(),
        lambda user: Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1)),
        lambda user: Session.objects.all().delete(),
        lambda user: (user.set_password("another one"), user.save()),
    ):
        user = User.objects.create_superuser("alice", password="x")
        client = Client()
        client.force_login(user)
        assert client.get("/rules/").status_code == 200
        end(user)
        assert client.get("/rules/").status_code == 302, "to the login page"
        User.objects.filter(username="alice").delete()


def test_a_session_key_that_nobody_gave_out_becomes_nobodys():
    client = Client()
    for key in ("", "x" * 32, "'; --", "\x00"):
        client.cookies["sessionid"] = key
        assert client.get("/rules/").status_code == 302, key
    assert not Session.objects.exists()
