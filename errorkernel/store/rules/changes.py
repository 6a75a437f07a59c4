"""The only place where a rule changes. Each change is one transaction: the row, its revision, the audit row.

Every change takes a number of the counter ``rules`` first. The evaluation of rules locks that counter too, so it always
uses the present rules, and no change is committed in between.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max, QuerySet

from errorkernel.domain import rule_policy
from errorkernel.domain.incident_state import State
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.query.tree import Tree
from errorkernel.domain.rule_policy import RuleAction, RuleDefinition, RuleError
from errorkernel.models import Counter, Incident, Rule
from errorkernel.store.platform import audit, counters, deadline_hold
from errorkernel.store.platform.actor import Actor
from errorkernel.store.search import incident_q

log = logging.getLogger("errorkernel.rules")


class TooManyAtOnce(RuleError):
    """The rule would kill or stop more of the pending incidents' processes than one person may at once."""

    def __init__(self, action: RuleAction, count: int, two_above: int) -> None:
        text = _(
            "{count} pending incidents match the condition. {action} for more than {most} at once needs "
            "approval by a second person: create a bulk decision for them and do not include them here.",
            count=count,
            action=action.value,
            most=two_above,
        )
        super().__init__("also_waiting", text, code="too_many_at_once")


class RuleChanged(Exception):
    """Another actor changed the rule meanwhile; ``rule`` is its present state."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(
            _(
                "{actor} has changed the rule; it is now revision {number}.",
                actor=rule.author,
                number=str(rule.revision),
            )
        )
        self.rule = rule


class NotSuspended(Exception):
    """The rule is not suspended; the message is one sentence for the person."""


def listed() -> QuerySet[Rule]:
    """The rules that are not removed, in their order."""
    return Rule.objects.filter(removed_at__isnull=True).order_by("position", "id")


def load() -> tuple[int, list[rule_policy.Rule]]:
    """(revision of all rules, the enabled rules in their order).

    While deadlines are held the clock may be wrong, so rules that expire are left out."""
    # The revision is read first: newer rules than it are noticed later, older ones would not be.
    revision = counters.current(Counter.RULES)
    enabled = listed().filter(enabled=True)
    if deadline_hold.held_since():
        enabled = enabled.filter(expires_at__isnull=True)
    return revision, [rule for rule in map(as_value, enabled) if rule is not None]


def as_value(row: Rule) -> rule_policy.Rule | None:
    """The rule for the evaluation; None where its condition cannot be parsed (written by another version)."""
    try:
        condition = rule_policy.parse_condition(row.condition)
    except RuleError:
        log.exception("The condition of %s cannot be parsed; the rule is ignored", row)
        return None
    return rule_policy.Rule(
        id=row.pk,
        revision=row.revision,
        condition=condition,
        action=RuleAction(row.action),
        enabled=row.enabled,
        after_seq=row.after_seq,
        expires_at=row.expires_at,
        uses=row.uses,
        max_uses=row.max_uses,
        suspended=row.suspended_at is not None,
        controlled_nodes=frozenset(row.controlled_nodes),
        acts_after_seq=row.acts_after_seq,
    )


def definition_of(row: Rule) -> RuleDefinition:
    """The part of a rule that people write."""
    return RuleDefinition(
        name=row.name,
        condition=row.condition,
        action=RuleAction(row.action),
        reason=row.reason,
        enabled=row.enabled,
        expires_at=row.expires_at,
        max_uses=row.max_uses,
        storm_limit=row.storm_limit,
        loop_limit=row.loop_limit,
        controlled_nodes=tuple(row.controlled_nodes),
    )


def add(
    given: RuleDefinition,
    actor: Actor,
    *,
    also_waiting: bool = False,
    two_above: int = 0,
) -> Rule:
    """A new rule, the last in order. It applies to incidents that open from now on, or ``also_waiting``; where it would
    end more than ``two_above`` of these (0: any number), it is rejected.

    Raises RuleError or TooManyAtOnce.
    """
    given.check()
    with transaction.atomic():
        counters.take(Counter.RULES)
        if listed().count() >= rule_policy.RULES_MAX:
            raise RuleError(
                "name",
                _("There are already {count} rules, the maximum. Remove one first.", count=rule_policy.RULES_MAX),
                code="too_many_rules",
            )
        last = listed().aggregate(last=Max("position"))["last"] or 0
        rule = Rule(position=last + 1, created_at=actor.at)
        _write(rule, given, actor, also_waiting, two_above)
        rule.save()
        _note("add", rule, {}, actor)
    return rule


def change(
    rule_id: int,
    revision: int,
    given: RuleDefinition,
    actor: Actor,
    *,
    also_waiting: bool = False,
    two_above: int = 0,
) -> Rule:
    """Change ``revision`` of a rule. Decisions of the old revision stay.

    Raises RuleError, TooManyAtOnce, RuleChanged or Rule.DoesNotExist.
    """
    given.check()

    def write(rule: Rule) -> None:
        if rule.revision != revision:
            raise RuleChanged(rule)
        rule.revision += 1
        _write(rule, given, actor, also_waiting, two_above)

    return _change("change", rule_id, write, actor)


def suspend(rule_id: int, why: str, actor: Actor) -> Rule:
    """Suspend it: it decides nothing more, and matching incidents stay pending. Raises Rule.DoesNotExist."""

    def write(rule: Rule) -> None:
        rule.revision += 1
        rule.suspended_at, rule.suspended_reason = rule.suspended_at or actor.at, rule.suspended_reason or why

    return _change("suspend", rule_id, write, actor, reason=why)


def enable(
    rule_id: int,
    reason: str,
    actor: Actor,
    *,
    also_waiting: bool = False,
    two_above: int = 0,
) -> Rule:
    """Enable it: it applies to incidents that open from now on, or ``also_waiting``.

    Raises TooManyAtOnce or Rule.DoesNotExist.
    """

    def write(rule: Rule) -> None:
        rule.revision += 1
        rule.enabled = True
        _apply_from(rule, also_waiting, actor.at, two_above)

    return _change("enable", rule_id, write, actor, reason=reason)


def disable(rule_id: int, reason: str, actor: Actor) -> Rule:
    """Disable it: it is skipped, and later rules are evaluated. Raises Rule.DoesNotExist."""

    def write(rule: Rule) -> None:
        rule.revision += 1
        rule.enabled = False

    return _change("disable", rule_id, write, actor, reason=reason)


def resume(
    rule_id: int,
    reason: str,
    actor: Actor,
    *,
    also_waiting: bool = False,
    two_above: int = 0,
) -> Rule:
    """Clear a suspension: it applies to incidents that open from now on, or ``also_waiting``.

    Raises NotSuspended, TooManyAtOnce or Rule.DoesNotExist.
    """

    def write(rule: Rule) -> None:
        if rule.suspended_at is None:
            raise NotSuspended(_("This rule is not suspended."))
        rule.revision += 1
        rule.suspended_at, rule.suspended_reason = None, ""
        # Decisions of earlier revisions count for no limit: the person who clears it has seen them.
        _apply_from(rule, also_waiting, actor.at, two_above)

    return _change("resume", rule_id, write, actor, reason=reason)


def remove(rule_id: int, reason: str, actor: Actor) -> Rule:
    """Remove it; its row stays for its earlier decisions. Raises Rule.DoesNotExist."""

    def write(rule: Rule) -> None:
        rule.revision += 1
        rule.enabled, rule.removed_at = False, actor.at

    return _change("remove", rule_id, write, actor, reason=reason)


def move(rule_id: int, step: int, actor: Actor) -> Rule:
    """Move it down by ``step`` places (negative: up), at most to the end. Raises Rule.DoesNotExist."""
    with transaction.atomic():
        counters.take(Counter.RULES)
        order = list(listed())
        at = next((index for index, rule in enumerate(order) if rule.pk == rule_id), None)
        if at is None:
            raise Rule.DoesNotExist
        to = min(max(at + step, 0), len(order) - 1)
        rule = order.pop(at)
        if to == at:
            return rule
        before = {"position": at + 1, "revision": rule.revision}
        order.insert(to, rule)
        for place, moved in enumerate(order, 1):
            Rule.objects.filter(pk=moved.pk).update(position=place)
        rule.position, rule.revision = to + 1, rule.revision + 1
        Rule.objects.filter(pk=rule.pk).update(revision=rule.revision)
        after = {"position": to + 1, "revision": rule.revision}
        audit.record(audit.entry(actor, "move", f"rule:{rule.pk}", before=before, after=after))
    return rule


def _change(
    what: str,
    rule_id: int,
    write: Callable[[Rule], None],
    actor: Actor,
    *,
    reason: str = "",
) -> Rule:
    with transaction.atomic():
        counters.take(Counter.RULES)
        rule = listed().select_for_update().get(pk=rule_id)
        before = shown(rule)
        write(rule)
        rule.changed_at = actor.at
        # Not ``uses``: it may have been counted up meanwhile.
        rule.save(
            update_fields=[
                field.name for field in Rule._meta.fields if field.name not in ("id", "uses", "last_used_at")
            ]
        )
        _note(what, rule, before, actor, reason)
    return rule


def _write(rule: Rule, given: RuleDefinition, actor: Actor, also_waiting: bool, two_above: int) -> None:
    for name, value in asdict(given).items():
        setattr(rule, name, value)
    rule.author, rule.changed_at = actor.id, actor.at
    _apply_from(rule, also_waiting, actor.at, two_above)


def _apply_from(rule: Rule, also_waiting: bool, now: datetime, two_above: int) -> None:
    """Set from which incident on it applies. The counter of all rules is locked, so no rule is evaluated before the
    commit."""
    # An error is not pending, so a new revision never applies to earlier ones.
    rule.acts_after_seq = counters.current(Counter.EVENTS)
    rule.after_seq = 0 if also_waiting else rule.acts_after_seq
    if also_waiting:
        check_at_once(rule, now, two_above)
        counters.hold(Counter.CHANGES)
        Incident.objects.filter(state=State.OPEN.value, rules_evaluated=True).update(rules_evaluated=False)


def check_at_once(rule: Rule, now: datetime, two_above: int) -> None:
    """``rule``: as it is going to be saved. Incidents that earlier rules match count too: those may be removed soon.

    Raises TooManyAtOnce."""
    value = as_value(rule)
    if not two_above or value is None or not value.action.ends:
        return
    if not value.enabled or value.suspended or value.is_over(now):
        return
    count = waiting(value.condition)
    if value.max_uses is not None:
        count = min(count, value.max_uses - value.uses)
    if count > two_above:
        raise TooManyAtOnce(value.action, count, two_above)


def waiting(condition: Tree) -> int:
    """How many pending incidents match the condition, regardless of earlier rules."""
    return Incident.objects.filter(incident_q(condition), state=State.OPEN.value).count()


def shown(rule: Rule) -> dict[str, Any]:
    """The part of a rule that the audit trail stores."""
    words = asdict(definition_of(rule)) | {
        "action": rule.action,
        "expires_at": rule.expires_at and rule.expires_at.isoformat(),
    }
    return {
        "revision": rule.revision,
        **words,
        "suspended": rule.suspended_reason,
        "removed": rule.removed_at is not None,
    }


def _note(
    what: str,
    rule: Rule,
    before: dict[str, Any],
    actor: Actor,
    reason: str = "",
) -> None:
    """Record the differences only."""
    after = shown(rule)
    changed = [name for name in after if after[name] != before.get(name)]
    audit.record(
        audit.entry(
            actor,
            what,
            f"rule:{rule.pk}",
            reason=reason,
            before={name: before[name] for name in changed if name in before},
            after={name: after[name] for name in changed},
        )
    )
