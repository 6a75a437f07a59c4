"""A logged-in viewer."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client


@pytest.fixture
def viewer() -> Client:
    user = User.objects.create_user("vera")
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client
