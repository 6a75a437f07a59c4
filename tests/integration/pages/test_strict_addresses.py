"""A page refuses parameters and fields that it does not know: it would show or change more than was meant."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import NoReverseMatch, reverse

from errorkernel.web.operations.registry import registry
from tests.support import addresses
from tests.support.page_data import ask

pytestmark = pytest.mark.django_db
NOT_PAGES = ("api-", "health-", "metrics")
ARGUMENTS = ((), (1,), ("node1",), ("node1", 1), ("0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123",))
PAGES = sorted(name for name in addresses.named() if not name.startswith(NOT_PAGES))


@pytest.fixture
def admin():
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def address(name):
    """Of some object, whether there is one or not."""
    for arguments in ARGUMENTS:
        try:
            return reverse(name, args=arguments)
        except NoReverseMatch:
            continue
    raise AssertionError(f"no arguments fit {name}")


def test_every_page_refuses_a_parameter_it_does_not_know(admin):
    for name in PAGES:
        response = admin.get(f"{address(name)}?unheard=1")
        assert response.status_code == 400, name
        assert "Unknown parameter “unheard”." in response.content.decode(), name


def test_every_form_refuses_a_field_it_does_not_know(admin):
    for name in PAGES:
        response = admin.post(address(name), {"unheard": "1"})
        assert response.status_code == 400, name
        assert "Unknown field “unheard”." in response.content.decode(), name


def test_the_api_page_refuses_a_parameter_it_does_not_know(admin):
    assert admin.get("/api/v1/docs?unheard=1").status_code == 400


@pytest.mark.parametrize(
    ("where", "meant"),
    [("/dead-letters/?stat=open", "state"), ("/events/?nod=x", "node"), ("/problems/?pag=2", "page")],
)
def test_the_nearest_name_is_shown(admin, where, meant):
    html = admin.get(where).content.decode()
    assert f"Did you mean “{meant}”?" in html


def test_all_names_are_shown_where_none_is_near(admin):
    assert "Known here: q, page." in admin.get("/incidents/?x=1").content.decode()


def test_an_empty_parameter_is_no_filter(admin):
    incident = ask()
    for where in (
        "/dead-letters/?state=",
        "/events/?level=&type=&node=&problem=",
        "/incidents/?q=&page=",
        "/live/?range=",
    ):
        assert admin.get(where).status_code == 200, where
    assert f"incident-{incident.pk}" in admin.get("/incidents/?q=").content.decode()


def test_a_form_with_a_mistyped_field_changes_nothing(admin):
    incident = ask()
    response = admin.post(f"/incidents/{incident.pk}/decision/", {"action": "continue", "reson": "x"})
    assert response.status_code == 400
    assert "Did you mean “reason”?" in response.content.decode()
    incident.refresh_from_db()
    assert incident.state == "open"


def test_the_fields_that_all_forms_share_are_known_everywhere(admin):
    assert admin.post("/logout/", {"next": "/", "request_id": "1"}).status_code == 302


def test_a_form_of_its_own_declares_its_fields():
    for operation in registry.operations:
        if operation.form and operation.form.read:
            assert operation.form_fields, operation.name
