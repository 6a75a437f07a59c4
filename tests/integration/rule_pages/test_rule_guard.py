"""A rule that matches most incidents is enabled only after a person has confirmed their number."""

import re
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from errorkernel.domain import rule_policy
from errorkernel.domain.rule_policy import RuleAction
from errorkernel.models import AuditEntry, Rule
from errorkernel.store.rules import changes
from tests.integration.rule_pages.test_rule_api import Caller
from tests.support.rule_data import WHO, ask, wording
from tests.support.rule_pages import ADD, NEW, form, made, person

pytestmark = pytest.mark.django_db
BODY = {"name": "all", "condition": "process:*", "action": "continue", "reason": "why not", "enabled": True}


@pytest.fixture
def api():
    return Caller(person("bob", "operator"))


@pytest.fixture
def seven():
    """Incidents of this week on ship1, and two old ones."""
    now = timezone.now()
    for number in range(7):
        ask(process=f"p{number}", now=now)
    for number in range(2):
        ask(process=f"old{number}", now=now - timedelta(days=8))


def html_of(response):
    return " ".join(response.content.decode().split())


def test_the_api_refuses_a_rule_for_everything_with_its_numbers(api, seven):
    refused = api("POST", "rules", BODY)
    told = refused.json()
    assert (refused.status_code, told["code"], told["field"]) == (409, "confirmation_needed", "confirm")
    assert told["last_week"] == {"incidents": 7, "matched": 7, "would_have_decided": 7, "is_complete": True}
    assert "would have decided 7" in told["detail"]
    assert api("POST", "rules", BODY | {"confirm": 6}).status_code == 409
    assert Rule.objects.count() == 0
    saved = api("POST", "rules", BODY | {"confirm": 7})
    assert (saved.status_code, saved.json()["last_week"]["would_have_decided"]) == (201, 7)


def test_what_earlier_rules_decide_counts_as_matched(api, seven):
    made("process:p1", action=RuleAction.ASK)
    told = api("POST", "rules", BODY).json()["last_week"]
    assert (told["matched"], told["would_have_decided"]) == (7, 6)


@pytest.mark.parametrize(
    "harmless",
    [{"condition": "process:p1 OR process:p2 OR process:p3"}, {"enabled": False}, {"action": "ask"},
     {"action": "escalate"}, {"condition": "process:nobody"}],
)  # fmt: skip
def test_what_is_narrow_disabled_or_decides_nothing_needs_no_confirmation(api, seven, harmless):
    assert api("POST", "rules", BODY | harmless).status_code == 201


def test_every_way_to_enable_a_rule_is_guarded(api, seven):
    rule = api("POST", "rules", BODY | {"enabled": False}).json()["id"]
    body = {"reason": "it is time"}
    assert api("POST", f"rules/{rule}/enable", body).json()["code"] == "confirmation_needed"
    assert api("PUT", f"rules/{rule}", BODY | {"revision": 1}).json()["code"] == "confirmation_needed"
    assert Rule.objects.get().enabled is False
    enabled = api("POST", f"rules/{rule}/enable", body | {"confirm": 7}).json()
    assert (enabled["enabled"], enabled["revision"], enabled["last_week"]["matched"]) == (True, 2, 7)
    api("POST", f"rules/{rule}/suspend", {"reason": "odd"})
    assert api("POST", f"rules/{rule}/resume", body).json()["code"] == "confirmation_needed"
    assert api("POST", f"rules/{rule}/resume", body | {"confirm": 7}).status_code == 200
    disabled = api("POST", f"rules/{rule}/disable", body).json()
    assert (disabled["enabled"], disabled["revision"]) == (False, 5)
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"enable", "disable"}


def test_a_narrow_rule_that_is_made_wide_must_be_confirmed(api, seven):
    rule = api("POST", "rules", BODY | {"condition": "process:p1"}).json()["id"]
    assert api("PUT", f"rules/{rule}", BODY | {"revision": 1}).status_code == 409
    assert api("PUT", f"rules/{rule}", BODY | {"revision": 1, "confirm": 7}).status_code == 200


def test_the_page_shows_the_number_to_type_and_keeps_what_was_typed(alice, seven):
    wide = form(condition="process:*", name="my name")
    refused = alice.post(ADD, wide)
    page = html_of(refused)
    assert (refused.status_code, Rule.objects.count()) == (409, 0)
    assert "matches 7 of the 7 incidents of the last 7 days, and the rule would have decided 7" in page
    assert "Type 7 to confirm" in page
    assert "<b data-matched>7</b>" in page
    [panel] = re.findall(r'<form method="post" class="rule-form" action="/rules/add/" aria-label.*?</form>', page)
    sent_again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', panel))
    del sent_again["csrfmiddlewaretoken"]
    assert sent_again == wide
    assert "Type 7 to confirm" in html_of(alice.post(ADD, wide | {"confirm": "yes"}))
    saved = alice.post(ADD, wide | {"confirm": "7"}, follow=True)
    assert "is enabled. In the last 7 days it would have decided 7 of 7 incidents." in html_of(saved)


def test_after_the_save_the_page_says_what_the_rule_would_have_decided(alice, seven):
    saved = html_of(alice.post(ADD, form(condition="process:p1"), follow=True))
    assert "In the last 7 days it would have decided 1 of 7 incidents." in saved
    asked = html_of(alice.post(ADD, form(condition="process:p1", action="ask"), follow=True))
    assert "In the last 7 days it would have matched 0 of 7 incidents." in asked


def test_the_page_enables_and_disables_a_rule_with_a_reason(alice, seven):
    rule = changes.add(wording("process:*", enabled=False), actor=WHO)
    page = html_of(alice.get(f"/rules/{rule.pk}/"))
    assert f'formaction="/rules/{rule.pk}/enable/"' in page
    refused = alice.post(f"/rules/{rule.pk}/enable/", {"reason": "my reason"})
    assert (refused.status_code, "Type 7 to confirm" in html_of(refused)) == (409, True)
    assert 'value="my reason"' in refused.content.decode()
    told = alice.post(f"/rules/{rule.pk}/enable/", {"reason": "my reason", "confirm": "7"}, follow=True)
    assert f"Rule {rule.pk} is enabled. In the last 7 days" in html_of(told)
    assert alice.post(f"/rules/{rule.pk}/disable/", {"reason": ""}).status_code == 400
    alice.post(f"/rules/{rule.pk}/disable/", {"reason": "enough"})
    rule.refresh_from_db()
    assert rule.enabled is False


def test_a_new_rule_on_the_page_ends_by_itself(alice):
    typed = alice.get(NEW).context["form"]
    assert typed["max_uses"] == rule_policy.SUGGESTED_USES
    ends = datetime.fromisoformat(typed["expires_at"] + "+00:00") - timezone.now()
    assert timedelta(hours=23, minutes=58) < ends <= timedelta(hours=24)
    alice.post(ADD, form(condition="process:p1", expires_at="", max_uses=""))
    assert (Rule.objects.get().expires_at, Rule.objects.get().max_uses) == (None, None)


@pytest.mark.parametrize(
    ("confirm", "matched", "holds"),
    [(None, 0, False), (507, 507, True), (507, 557, True), (507, 570, False), (7, 8, False), (0, 7, False)],
)
def test_a_confirmation_holds_while_the_number_is_about_the_same(confirm, matched, holds):
    assert rule_policy.is_confirmed(confirm, matched) is holds


def test_half_of_the_incidents_or_one_is_not_most_of_them():
    assert [rule_policy.matches_most(*numbers) for numbers in ((5, 10), (6, 10), (1, 1), (2, 2), (0, 0))] == [
        False, True, False, True, False,
    ]  # fmt: skip
