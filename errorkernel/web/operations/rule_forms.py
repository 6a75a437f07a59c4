"""The forms of the pages of rules: how they are read, and how what was typed is shown again."""

from collections.abc import Mapping
from datetime import UTC, datetime

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain import rule_policy
from errorkernel.domain.rule_policy import RuleAction, RuleError
from errorkernel.models import Rule
from errorkernel.platform.parameters import number, word
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules.changes import RuleChanged
from errorkernel.templatetags.messages import translated
from errorkernel.templatetags.rules import rule_word
from errorkernel.web.console import rule_form
from errorkernel.web.console.dry_run import BUDGET_S, FULL_BUDGET_S
from errorkernel.web.console.rules import Confirmation, RulePage, found_rule, state_of
from errorkernel.web.operations.operation import Done, Refused, show_refusal
from errorkernel.web.operations.rule_guard import NeedsConfirmation, Saved, matched_by
from errorkernel.web.schemas.operations import DryRun, RuleMove, RuleReason, RuleRequest

_NOT_SENT_AGAIN = ("csrfmiddlewaretoken", "confirm")
STEPS = {"up": -1, "down": 1}
_SEPARATORS = str.maketrans("", "", " .,\u00a0\u202f’'")
LARGEST_DIGITS = 18
_NUMBERS = ("max_uses", "storm_limit", "loop_limit")


def read_rule(given: QueryDict, actor: Actor) -> RuleRequest:
    """The definition in a form; the pressed button says whether it is enabled. Raises RuleError with the field."""
    action = given.get("action", "")
    if action not in list(RuleAction):
        raise RuleError("action", _("Choose an action for the rule."))
    numbers = {name: _number(given, name) for name in _NUMBERS}
    return RuleRequest(
        name=given.get("name", "").strip(),
        condition=given.get("condition", "").strip(),
        action=RuleAction(action),
        reason=given.get("reason", "").strip(),
        enabled=given.get("enabled") == "on",
        expires_at=_time(given.get("expires_at", "")),
        max_uses=numbers["max_uses"],
        storm_limit=numbers["storm_limit"] or rule_policy.STORM_LIMIT,
        loop_limit=numbers["loop_limit"] or rule_policy.LOOP_LIMIT,
        controlled_nodes=tuple(given.getlist("controlled_nodes")),
        also_waiting=given.get("also_waiting") == "on",
        revision=number(given, "revision") or 0,
        confirm=_typed_number(given.get("confirm", "")),
    )


def read_reason(given: QueryDict, actor: Actor) -> RuleReason:
    also_waiting, confirm = given.get("also_waiting") == "on", _typed_number(given.get("confirm", ""))
    return RuleReason(reason=given.get("reason", ""), also_waiting=also_waiting, confirm=confirm)


def _typed_number(text: str) -> int | None:
    """A number with or without separators; None for another text, which confirms nothing."""
    digits = text.translate(_SEPARATORS)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= LARGEST_DIGITS else None


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= rule_policy.COUNT_MAX):
        raise RuleError(name, _("Enter a whole number from 1 to {most}.").format(most=intcomma(rule_policy.COUNT_MAX)))
    return int(text)


def _time(text: str) -> datetime | None:
    """A time as a browser's field sends it, read as UTC like the label says."""
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise RuleError("expires_at", _("Enter a time such as 2026-11-25T10:00 (UTC).")) from None


class PageDryRun(DryRun):
    """``budget_s``: how long it searches before it responds."""

    budget_s: float = BUDGET_S


def read_dry_run(given: QueryDict, actor: Actor) -> PageDryRun:
    return PageDryRun(
        given.get("condition", ""),
        rule_form.days_of(given),
        number(given, "rule"),
        budget_s=FULL_BUDGET_S if given.get("all") == "on" else BUDGET_S,
    )


def show_dry_run(done: Done) -> HttpResponse:
    """The form with what was typed, and the result below it."""
    typed = done.request.POST
    return RulePage(rule_form.typed(typed), _named(typed), tried=done.result).render(done.request)


def _named(given: Mapping[str, str]) -> Rule | None:
    rule_id = number(given, "rule")
    return None if rule_id is None else found_rule(rule_id)


def saved(done: Done) -> str:
    rule = done.result.rule
    text = _("Rule {number} is saved as revision {revision} and is {state}.")
    state = rule_word(state_of(rule, timezone.now()))
    return text.format(number=rule.pk, revision=rule.revision, state=state) + " " + _in_the_last_week(done.result)


def switched(done: Done) -> str:
    rule = done.result.rule
    text = _("Rule {number} is {state}.")
    state = rule_word(state_of(rule, timezone.now()))
    return text.format(number=rule.pk, state=state) + " " + _in_the_last_week(done.result)


def _in_the_last_week(saved: Saved) -> str:
    text = _("In the last {days} days it would have decided {decided} of {incidents} incidents.")
    if not RuleAction(saved.rule.action).decision:
        text = _("In the last {days} days it would have matched {decided} of {incidents} incidents.")
    decided, incidents = intcomma(saved.tried.matched), intcomma(saved.tried.looked_at)
    return text.format(days=rule_policy.GUARD_DAYS, decided=decided, incidents=incidents)


def show_saved(done: Done) -> HttpResponse:
    return HttpResponseRedirect(reverse("rule", args=[done.result.rule.pk]))


def read_move(given: QueryDict, actor: Actor) -> RuleMove:
    return RuleMove(STEPS[word({"direction": given.get("direction") or "?"}, "direction", list(STEPS))])


def show_moved(done: Done) -> HttpResponse:
    """Redirect to the pressed button at its new place, so that it keeps the focus."""
    return HttpResponseRedirect(f"{reverse('rules')}#rule-{done.key}-{done.request.POST['direction']}")


def show_refused_rule(refused: Refused) -> HttpResponse:
    """The page of the rule with the error and what was typed."""
    request, error, shape = refused.request, refused.error, refused.operation.request
    if shape is None or not issubclass(shape, (RuleRequest, DryRun, RuleReason)):
        return show_refusal(refused)
    rule = found_rule(refused.key) if refused.key is not None else _named(request.POST)
    confirmation = _confirmation(refused) if isinstance(error, NeedsConfirmation) else None
    if issubclass(shape, RuleReason) and rule:
        page = RulePage(rule_form.filled(rule), rule, reason=request.POST.get("reason", ""), confirmation=confirmation)
        page.notice = translated(error)
        return page.render(request, status=refused.status)
    page = RulePage(rule_form.typed(request.POST), rule, confirmation=confirmation)
    if isinstance(error, NeedsConfirmation):
        page.tried = error.tried
    if isinstance(error, RuleError):
        page.error = error
    elif isinstance(error, RuleChanged):
        page.rule = error.rule
        text = _("{changed} Nothing was saved. Your input is still here; save again to replace that revision.")
        page.notice = text.format(changed=translated(error))
    else:
        return show_refusal(refused)
    return page.render(request, status=refused.status)


def _confirmation(refused: Refused) -> Confirmation:
    assert isinstance(refused.error, NeedsConfirmation)  # noqa: S101
    typed = refused.request.POST
    fields = [(name, value) for name in typed if name not in _NOT_SENT_AGAIN for value in typed.getlist(name)]
    return Confirmation(refused.request.path, fields, matched_by(refused.error.tried))


def show_removed_rule(refused: Refused) -> HttpResponse:
    """The page of a rule that was removed meanwhile. Raises Http404 where there never was one."""
    if refused.key is None:
        return show_refusal(refused)
    rule = found_rule(refused.key)
    page = RulePage(rule_form.filled(rule), rule, notice=_("The rule has been removed."))
    return page.render(refused.request, status=refused.status)
