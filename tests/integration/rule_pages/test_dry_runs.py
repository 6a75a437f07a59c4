"""Long dry runs, and rules that would kill many."""

import pytest
from django.utils import timezone

from errorkernel.models import Decision, Rule
from tests.support.rule_data import ask
from tests.support.rule_pages import ADD, DRY_RUN, form, judge

pytestmark = pytest.mark.django_db


def test_a_long_dry_run_goes_on_by_script_or_by_a_button(alice, monkeypatch):
    for number in range(5):
        ask(process=f"p{number}", now=timezone.now())
    monkeypatch.setattr("errorkernel.web.console.dry_run.STEP_INCIDENTS", 2)
    monkeypatch.setattr("errorkernel.web.operations.rule_forms.BUDGET_S", 0)
    page = alice.post(DRY_RUN, form()).content.decode()
    assert "<progress" in page
    assert "errorkernel/dry_run" in page
    whole = alice.post(DRY_RUN, form(all="on")).content.decode()
    assert "<progress" not in whole
    assert "<b data-matched>5</b>" in whole


def test_a_rule_that_would_end_too_many_of_those_that_wait_is_refused_and_leads_to_one_bulk_decision(
    alice, two_needed_above_2
):
    for number in range(3):
        ask(process=f"p{number}")
    many = "/bulk-decisions/new/?q=node%3Aship%2A"
    kill = form(action="kill", name="my name", also_waiting="on", confirm="3")
    refused = alice.post(ADD, kill)
    page = refused.content.decode()
    assert (refused.status_code, Rule.objects.count()) == (409, 0)
    assert (
        "3 pending incidents match the condition. kill for more than 2 at once needs approval by a second person"
        in page
    )
    assert many in page
    assert "my name" in page
    tried = alice.post(DRY_RUN, kill).content.decode()
    assert "3 pending incidents match its condition." in tried
    assert "kill for more than 2 at once needs approval by a second person" in tried
    assert many in tried
    assert "needs approval by a second person" not in alice.post(DRY_RUN, form()).content.decode()
    saved = alice.post(ADD, form(action="kill", confirm="3"))
    rule = Rule.objects.get()
    assert (saved.status_code, alice.post(f"/rules/{rule.pk}/change/", kill | {"revision": 1}).status_code) == (
        302,
        409,
    )
    alice.post(f"/rules/{rule.pk}/suspend/", {"reason": "odd"})
    kept = alice.post(f"/rules/{rule.pk}/resume/", {"reason": "fine", "also_waiting": "on"})
    assert (kept.status_code, "needs approval by a second person" in kept.content.decode()) == (409, True)
    judge()
    assert Decision.objects.count() == 0
