"""Operations on rules."""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import msgspec
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from errorkernel.domain import rule_policy
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.rule_policy import RuleDefinition, RuleError
from errorkernel.models import ErrorEvent, Rule
from errorkernel.platform import conf
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from errorkernel.store.rules.changes import NotSuspended, RuleChanged, TooManyAtOnce
from errorkernel.web.auth.permissions import CHANGE_RULES, SEE_RULES
from errorkernel.web.console.dry_run import BUDGET_S, Tried, before, dry_run
from errorkernel.web.console.rule_form import FORM_FIELDS
from errorkernel.web.operations.operation import Form, Operation, Refusal, Resource
from errorkernel.web.operations.rule_forms import (
    PageDryRun,
    read_dry_run,
    read_move,
    read_reason,
    read_rule,
    saved,
    show_dry_run,
    show_moved,
    show_refused_rule,
    show_removed_rule,
    show_saved,
    switched,
)
from errorkernel.web.operations.rule_guard import NeedsConfirmation, Saved, guard, saved_item, week_of
from errorkernel.web.schemas import items, operations
from errorkernel.web.schemas.common import of_row
from errorkernel.web.schemas.operations import (
    DAYS_MAX,
    BulkDecisionProposal,
    DryRun,
    RuleConflict,
    RuleMove,
    RuleNeedsConfirmation,
    RuleReason,
    RuleRequest,
    SavedRule,
)

_EXAMPLE = {
    "name": "Missing sources",
    "condition": "process:copy-files kind:FileNotFoundError",
    "action": "continue",
    "reason": "They are sent again every hour.",
    "enabled": True,
}


def _limits(given: RuleRequest | RuleReason) -> dict[str, Any]:
    return {"also_waiting": given.also_waiting, "two_above": conf.get().kill_needs_two_above}


_NOT_OF_THE_RULE = ("also_waiting", "revision", "confirm", "request_id")


def _definition(given: RuleRequest) -> RuleDefinition:
    fields = msgspec.structs.asdict(given)
    return RuleDefinition(**{name: value for name, value in fields.items() if name not in _NOT_OF_THE_RULE})


def required_reason(given: RuleReason | BulkDecisionProposal) -> str:
    """Raises RuleError."""
    reason = given.reason.strip()
    if not reason or "\0" in reason or len(given.reason) > REASON_MAX_CHARS:
        raise RuleError("reason", _("This needs a reason of at most {most} characters.", most=REASON_MAX_CHARS))
    return reason


def _add(key: None, given: RuleRequest, actor: Actor) -> Saved:
    definition = _definition(given)
    tried = _checked(Rule(**_columns(definition)), given, actor)
    return Saved(changes.add(definition, actor, **_limits(given)), tried)


def _change(key: int, given: RuleRequest, actor: Actor) -> Saved:
    rule, definition = changes.listed().get(pk=key), _definition(given)
    if rule.revision != given.revision:
        raise RuleChanged(rule)
    for name, value in _columns(definition).items():
        setattr(rule, name, value)
    tried = _checked(rule, given, actor)
    return Saved(changes.change(key, given.revision, definition, actor, **_limits(given)), tried)


def _columns(definition: RuleDefinition) -> dict[str, Any]:
    """Raises RuleError for an invalid field."""
    definition.check()
    return asdict(definition)


def _enable(key: int, given: RuleReason, actor: Actor) -> Saved:
    rule, reason = changes.listed().get(pk=key), required_reason(given)
    rule.enabled = True
    tried = _checked(rule, given, actor)
    return Saved(changes.enable(key, reason, actor, **_limits(given)), tried)


def _resume(key: int, given: RuleReason, actor: Actor) -> Saved:
    rule, reason = changes.listed().get(pk=key), required_reason(given)
    if rule.suspended_at is None:
        raise NotSuspended(_("This rule is not suspended."))
    rule.suspended_at = None
    tried = _checked(rule, given, actor)
    return Saved(changes.resume(key, reason, actor, **_limits(given)), tried)


def _checked(rule: Rule, given: RuleRequest | RuleReason, actor: Actor) -> Tried:
    """Try ``rule`` as it is going to be saved. Raises TooManyAtOnce, which no confirmation helps, or RuleError."""
    if given.also_waiting:
        changes.check_at_once(rule, actor.at, conf.get().kill_needs_two_above)
    return guard(rule, actor.at, given.confirm)


def _dry_run(key: None, given: DryRun, actor: Actor) -> Tried:
    if not 0 < given.days <= DAYS_MAX:
        raise RuleError("days", _("days is more than 0 and at most {most}.", most=DAYS_MAX))
    condition = rule_policy.parse_condition(given.condition)
    place = Rule.objects.filter(pk=given.rule).first() if given.rule is not None else None
    since = actor.at - timedelta(days=given.days)
    budget_s = given.budget_s if isinstance(given, PageDryRun) else BUDGET_S
    return dry_run(condition, before(place, actor.at), since=since, start=given.start, budget_s=budget_s)


def _tried(found: Tried) -> operations.Tried:
    events = ErrorEvent.objects.filter(seq__in=[incident.seq for incident in found.shown])
    cut = dict(events.values_list("seq", "cut"))
    shown = [items.incident(incident, cut.get(incident.seq)) for incident in found.shown]
    return of_row(operations.Tried, found, items=shown, done=round(found.done(timezone.now()), 4))


BAD_RULE = Refusal(error=RuleError, codes=("invalid_field", "too_many_rules"))
_TOO_MANY_AT_ONCE = Refusal(error=TooManyAtOnce, codes=("too_many_at_once",))
_CHANGED = Refusal(
    error=RuleChanged,
    codes=("revision_conflict",),
    shape=RuleConflict,
    field="revision",
    more=lambda exc: {"revision": exc.rule.revision, "author": exc.rule.author},
)
_NOT_SUSPENDED = Refusal(error=NotSuspended, codes=("not_suspended",))
_NEEDS_CONFIRMATION = Refusal(
    error=NeedsConfirmation,
    codes=("confirmation_needed",),
    shape=RuleNeedsConfirmation,
    more=lambda exc: {"last_week": week_of(exc.tried)},
)
RULE = Resource(
    address="rules",
    noun="rule",
    page="rule",
    item=items.RuleItem,
    encode=items.rule,
    missing=Rule.DoesNotExist,
    refusals=(BAD_RULE,),
    show_refusal=show_refused_rule,
    show_missing=show_removed_rule,
)
_SAVED_RULE = replace(RULE, item=SavedRule, encode=saved_item)
_DRY_RUN = Resource(
    address="rules",
    noun="rule",
    item=operations.Tried,
    encode=_tried,
    missing=Rule.DoesNotExist,
    refusals=(BAD_RULE,),
    show_refusal=show_refused_rule,
)
_RULE_FORM = Form(read=read_rule, fields=FORM_FIELDS, message=saved, after=show_saved)
_SWITCH_FORM = Form(read=read_reason, fields=("reason", "also_waiting", "confirm"), message=switched)


def _operation(verb: str, summary: str, **particular: Any) -> Operation[Any]:
    particular.setdefault("request", RuleReason)
    particular.setdefault("form", Form())
    particular.setdefault("resource", RULE)
    return Operation(name=f"{verb}Rule", summary=summary, permission=CHANGE_RULES, verb=verb, **particular)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="addRule",
        summary="Create a rule",
        resource=_SAVED_RULE,
        has_key=False,
        audit_verb="add",
        permission=CHANGE_RULES,
        request=RuleRequest,
        example=_EXAMPLE,
        handler=_add,
        status=201,
        done="It stands, at the end",
        refusals=(_TOO_MANY_AT_ONCE, _NEEDS_CONFIRMATION),
        form=replace(_RULE_FORM, verb="add", page="new-rule"),
    ),
    Operation(
        name="changeRule",
        summary="Replace a rule",
        resource=_SAVED_RULE,
        method="PUT",
        audit_verb="change",
        permission=CHANGE_RULES,
        request=RuleRequest,
        example={**_EXAMPLE, "revision": 1},
        handler=_change,
        refusals=(_TOO_MANY_AT_ONCE, _NEEDS_CONFIRMATION, _CHANGED),
        form=replace(_RULE_FORM, verb="change"),
    ),
    Operation(
        name="tryRule",
        summary="See what a condition would have decided",
        resource=_DRY_RUN,
        has_key=False,
        verb="dry-run",
        permission=SEE_RULES,
        request=DryRun,
        example={"condition": _EXAMPLE["condition"], "days": 30},
        handler=_dry_run,
        done="What was found in the part that was looked at",
        changes_something=False,
        form=Form(read=read_dry_run, fields=FORM_FIELDS, page="new-rule", after=show_dry_run),
    ),
    _operation(
        "move",
        "Move a rule up or down",
        request=RuleMove,
        example={"steps": -1},
        handler=lambda key, given, actor: changes.move(key, given.steps, actor),
        form=Form(read=read_move, fields=("direction",), after=show_moved),
    ),
    _operation(
        "suspend",
        "Suspend a rule: what it matches waits for a person",
        example={"reason": "It kills too much."},
        handler=lambda key, given, actor: changes.suspend(key, required_reason(given), actor),
    ),
    _operation(
        "enable",
        "Enable a rule",
        example={"reason": "It was tried on last week."},
        resource=_SAVED_RULE,
        handler=_enable,
        refusals=(_TOO_MANY_AT_ONCE, _NEEDS_CONFIRMATION),
        form=_SWITCH_FORM,
    ),
    _operation(
        "disable",
        "Disable a rule: it is skipped",
        example={"reason": "The process is gone for now."},
        handler=lambda key, given, actor: changes.disable(key, required_reason(given), actor),
    ),
    _operation(
        "resume",
        "Let a suspended rule decide again",
        example={"reason": "The cause is mended."},
        handler=_resume,
        resource=_SAVED_RULE,
        refusals=(_NOT_SUSPENDED, _TOO_MANY_AT_ONCE, _NEEDS_CONFIRMATION),
        form=_SWITCH_FORM,
    ),
    _operation(
        "delete",
        "Remove a rule; its decisions stay on record",
        audit_verb="remove",
        example={"reason": "The process is gone."},
        handler=lambda key, given, actor: changes.remove(key, required_reason(given), actor),
        form=Form(after=lambda done: HttpResponseRedirect(reverse("rules"))),
    ),
)
