"""Pages of rules (list, form, dry run) and of dead letters.

All forms work without script; a script only continues a long dry run. ``web.operations.rules`` changes rules.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.rule_policy import RuleAction, RuleError, parse_condition
from errorkernel.models import AuditEntry, DeadLetter, Decision, Rule
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, name_of, number, word
from errorkernel.store.incidents.dead_letters import listed
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.store.rules import changes
from errorkernel.web.auth.permissions import CHANGE_RULES, SEE_DEAD_LETTERS, SEE_RULES, needs
from errorkernel.web.console import rule_form
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.dry_run import Tried, before, dry_run
from errorkernel.web.console.pager import Pager

PART_ROWS = 20
LETTERS_A_PAGE = 50
LETTER_PARAMETERS = ("node", "process", "state", "before")


@needs(SEE_RULES)
def rules(request: HttpRequest) -> HttpResponse:
    """All rules in their order."""
    found = list(changes.listed())
    context = {"section": "rules", "rules": [(row, state_of(row, timezone.now())) for row in found]}
    return render(request, "errorkernel/rules.html", context)


def state_of(rule: Rule, now: datetime) -> str:
    """The state of a rule in a word."""
    if rule.removed_at:
        return "removed"
    if not rule.enabled:
        return "off"
    if rule.suspended_at:
        return "suspended"
    if rule.expires_at and now >= rule.expires_at:
        return "expired"
    return "used up" if rule.max_uses is not None and rule.uses >= rule.max_uses else "on"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person types before a rule that matches most incidents is enabled: ``number``. ``fields``: what was sent
    to ``address``, and is sent again with it."""

    address: str
    fields: list[tuple[str, str]]
    number: int


@dataclass(slots=True)
class RulePage:
    """Content of the page of a rule: its form, the error in it, and the result of a dry run.

    ``notice``: what happened otherwise. ``reason``: typed for an operation on the rule that was refused.
    """

    typed: dict[str, Any]
    rule: Rule | None = None
    error: RuleError | None = None
    notice: str = ""
    reason: str = ""
    tried: Tried | None = None
    confirmation: Confirmation | None = None

    def render(self, request: HttpRequest, *, status: int = 200) -> HttpResponse:
        now = timezone.now()
        context: dict[str, Any] = {
            "section": "rules",
            "form": self.typed,
            "rule": self.rule,
            "error": self.error,
            "notice": self.notice,
            "typed_reason": self.reason,
            "tried": self.tried,
            "confirmation": self.confirmation,
            "two_above": conf.get().kill_needs_two_above,
            "tried_part": round(100 * self.tried.done(now)) if self.tried else 0,
            "tried_counts": json.dumps(self.tried.ended) if self.tried else "",
            "actions": list(RuleAction),
            "periods": rule_form.SINCE_DAYS.items(),
            "fields": INCIDENT_FIELDS.items(),
            "controlled_nodes": rule_form.controlled_nodes(self.typed),
            "named": rule_form.named_problems(self.typed),
        }
        if self.rule:
            context |= {
                "state": state_of(self.rule, now),
                "history": AuditEntry.objects.filter(target=f"rule:{self.rule.pk}").order_by("-id")[:PART_ROWS],
                "past": with_relations().filter(decision__rule=self.rule).order_by("-decision__decided_at")[:PART_ROWS],
                "answers": Decision.objects.filter(rule=self.rule).count(),
                **contributed("rule", self.rule, now),
            }
        return render(request, "errorkernel/rule.html", context, status=status)


@needs(CHANGE_RULES, "incident")
def new(request: HttpRequest) -> HttpResponse:
    """The form of a new rule; ``incident``: filled with the decision on this incident."""
    now = timezone.now()
    page = RulePage(rule_form.blank(now))
    if wanted := request.GET.get("incident", ""):
        try:
            incident = with_relations().filter(pk=UUID(wanted)).first()
        except ValueError:
            incident = None
        if incident is None:
            raise Http404
        page.typed = rule_form.remembered(incident, now)
        page.notice = _("Draft. Nothing is stored until you save it, and no incident is decided until you enable it.")
        page.tried = _try(page.typed, now)
    return page.render(request)


def _try(typed: dict[str, Any], now: datetime) -> Tried | None:
    try:
        condition = parse_condition(typed["condition"])
    except RuleError:
        return None  # shown when the form is sent
    return dry_run(condition, before(None, now), since=rule_form.since(typed, now))


@needs(SEE_RULES)
def rule(request: HttpRequest, rule_id: int) -> HttpResponse:
    """One rule: definition, author, decisions; with the permission, its form."""
    found = found_rule(rule_id)
    return RulePage(rule_form.filled(found), found).render(request)


def found_rule(rule_id: int) -> Rule:
    """The rule, also a removed one. Raises Http404."""
    found = Rule.objects.filter(pk=min(rule_id, LARGEST)).first()
    if found is None:
        raise Http404
    return found


@needs(SEE_DEAD_LETTERS, *LETTER_PARAMETERS)
def dead_letters(request: HttpRequest) -> HttpResponse:
    """Dead letters, newest first, with their messages."""
    before_id = number(request.GET, "before")
    chosen = {name: name_of(request.GET, name).strip() for name in ("node", "process")}
    chosen["state"] = word(request.GET, "state", [state.value for state in DeadLetter.State])
    found = listed(**chosen)
    if before_id is not None:
        found = found.filter(pk__lt=before_id)
    page = list(found[: LETTERS_A_PAGE + 1])
    parts = {name: value for name, value in chosen.items() if value}
    older = page[LETTERS_A_PAGE - 1].pk if len(page) > LETTERS_A_PAGE else None
    context = {
        "section": "dead-letters",
        "letters": page[:LETTERS_A_PAGE],
        "chosen": chosen,
        "states": [state.value for state in DeadLetter.State],
        "parts": parts,
        "pager": Pager.by_position(parts, before_id, older),
    }
    return render(request, "errorkernel/dead_letters.html", context)
