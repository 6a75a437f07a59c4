"""A form that is sent twice (a double click, a reload) changes something once, on every page with a form."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client

from errorkernel.models import BulkDecision, Comment, Rule, SavedSearch
from tests.support.page_data import ask
from tests.support.problem_data import met

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


RULE = {"name": "disk", "condition": "process:copy-files", "action": "continue", "reason": "known"}
FORMS: list[tuple[str, dict[str, str], type[Model]]] = [
    ("/problems/{problem}/comment/", {"text": "ok"}, Comment),
    ("/saved-searches/save/", {"page": "events", "name": "mine", "address": "q=disk"}, SavedSearch),
    ("/rules/add/", RULE, Rule),
    ("/bulk-decisions/", {"q": "process:copy-files", "action": "continue", "reason": "all"}, BulkDecision),
]


@pytest.mark.parametrize(("address", "fields", "model"), FORMS)
def test_the_second_press_leads_where_the_first_led(
    boss: Client, address: str, fields: dict[str, str], model: Any
) -> None:
    ask()
    sent = address.format(problem=met().pk), {**fields, "csrfmiddlewaretoken": "a" * 64}
    first, second = boss.post(*sent), boss.post(*sent)
    assert first.status_code == 302, first.content
    assert second.headers["Location"] == first.headers["Location"]
    assert model.objects.count() == 1
    said = [str(message) for message in get_messages(first.wsgi_request)]
    assert [str(message) for message in get_messages(second.wsgi_request)][-len(said) :] == said


def test_the_same_text_from_a_page_loaded_anew_counts_again(boss: Client) -> None:
    address = f"/problems/{met().pk}/comment/"
    for token in ("a" * 64, "b" * 64):
        boss.post(address, {"text": "ok", "csrfmiddlewaretoken": token})
    assert Comment.objects.count() == 2


def test_a_refused_form_can_be_sent_again(boss: Client) -> None:
    problem = met()
    sent = f"/problems/{problem.pk}/unmute/", {"csrfmiddlewaretoken": "a" * 64}
    assert boss.post(*sent).status_code == 400
    boss.post(f"/problems/{problem.pk}/mute/", {"for": "1h"})
    assert boss.post(*sent).status_code == 302
