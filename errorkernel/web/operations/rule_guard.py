"""Guard against a rule that decides everything: before it is enabled, it is tried on the incidents of the last week."""

from dataclasses import dataclass
from datetime import datetime

from errorkernel.domain import rule_policy
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.rule_policy import RuleAction, RuleError
from errorkernel.models import Rule
from errorkernel.web.console.dry_run import Tried, last_week
from errorkernel.web.schemas import items
from errorkernel.web.schemas.common import of_row
from errorkernel.web.schemas.operations import RuleWeek, SavedRule


class NeedsConfirmation(RuleError):
    """The rule matches more than half of the incidents, and nobody has confirmed that."""

    def __init__(self, tried: Tried) -> None:
        text = _(
            "The condition matches {matched} of the {incidents} incidents of the last {days} days, and the rule would "
            "have decided {decided}. Confirm it with the number {matched}.",
            matched=matched_by(tried),
            incidents=tried.looked_at,
            days=rule_policy.GUARD_DAYS,
            decided=tried.matched,
        )
        super().__init__("confirm", text, code="confirmation_needed")
        self.tried = tried


@dataclass(frozen=True, slots=True)
class Saved:
    """A rule that was saved, enabled or resumed, and what it would have decided."""

    rule: Rule
    tried: Tried


def matched_by(tried: Tried) -> int:
    """Incidents that the condition matches, also those that earlier rules would have decided."""
    return tried.matched + tried.taken


def guard(rule: Rule, now: datetime, confirm: int | None) -> Tried:
    """Try a rule as it is going to be saved. Its row may exist already.

    Raises NeedsConfirmation, or RuleError for a wrong condition. An action that decides nothing needs no confirmation.
    """
    tried = last_week(rule_policy.parse_condition(rule.condition), rule if rule.pk else None, now)
    matched = matched_by(tried)
    decides = rule.enabled and RuleAction(rule.action).decision is not None
    is_broad = decides and rule_policy.matches_most(matched, tried.looked_at)
    if is_broad and not rule_policy.is_confirmed(confirm, matched):
        raise NeedsConfirmation(tried)
    return tried


def week_of(tried: Tried) -> RuleWeek:
    return RuleWeek(tried.looked_at, matched_by(tried), tried.matched, tried.next is None)


def saved_item(saved: Saved) -> SavedRule:
    return of_row(SavedRule, items.rule(saved.rule), last_week=week_of(saved.tried))
