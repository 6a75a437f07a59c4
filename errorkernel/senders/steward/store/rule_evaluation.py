"""Evaluates the rules on errors of Steward/ctrl nodes: a rule that names the node may request an action.

These errors open no incidents, so no row shows that they were evaluated. Instead the counter ``acted`` holds the number
of the last evaluated event. It is updated in the transaction that requests the action. So at most one action follows an
event, with any number of kernels and after any crash; a repeated event has no new number.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from errorkernel.domain.process_actions import ActionKind
from errorkernel.domain.rule_policy import Rule as ActiveRule
from errorkernel.domain.rule_policy import RuleMatch
from errorkernel.domain.values import EventType
from errorkernel.models import Counter, ErrorEvent, ProcessAction, Rule
from errorkernel.senders.steward.protocol import rule_policy
from errorkernel.senders.steward.protocol.rule_policy import AGE_MAX_S, LOOP_WINDOW_S
from errorkernel.senders.steward.store import actions
from errorkernel.senders.steward.store.actions import ActionRefused, ActionRequest
from errorkernel.store.platform import counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from errorkernel.store.rules.evaluation import RulesChanged, count_use, facts_of, hold_rules, rule_actor, storm

log = logging.getLogger("errorkernel.rules")

AT_ONCE = 50
DELAYS_COMPARED = 100
"""Errors of a node that are compared for its usual delay."""


def step(*, now: datetime, two_above: int = 0) -> bool:
    """One transaction: request the next action of a rule, or pass all events without a match. False if nothing is left.
    ``two_above``: as in ``store.rules.evaluation.look``."""
    revision, active = changes.load()
    acting = [rule for rule in active if rule.controlled_nodes]
    begin, last = counters.current(Counter.ACTED), counters.current(Counter.EVENTS)
    if not acting or begin >= last:
        return False
    names = sorted(set[str]().union(*(rule.controlled_nodes for rule in acting)))
    found = _errors(names, begin, last, now)
    try:
        for event in found:
            if verdict := _verdict(acting, event, now):
                _carry_out(verdict, event, revision, begin, now, two_above)
                return True
        reached = found[-1].seq if len(found) == AT_ONCE else last
        with transaction.atomic():
            hold_rules(revision)
            _move(begin, reached)
    except RulesChanged:
        return True
    return reached < last


def _errors(names: list[str], begin: int, last: int, now: datetime) -> list[ErrorEvent]:
    """The next errors of these nodes; those older than AGE_MAX_S are skipped."""
    # By the index of times, because the counter does not change while no rule names a node.
    young = ErrorEvent.objects.filter(received_at__gte=now - timedelta(seconds=AGE_MAX_S)).order_by("received_at")
    first = young.values_list("seq", flat=True).first()
    if first is None:
        return []
    errors = ErrorEvent.objects.filter(seq__gt=max(begin, first - 1), seq__lte=last, type=EventType.ERROR.value)
    of_them = errors.filter(node__name__in=names).exclude(node__family="")
    return list(of_them.select_related("node", "process", "problem").order_by("seq")[:AT_ONCE])


def _verdict(acting: list[ActiveRule], event: ErrorEvent, now: datetime) -> RuleMatch | None:
    """The rule that acts after ``event``, or None."""
    if not rule_policy.is_certain(event.tags, event.relay_from_node):
        return None
    verdict = rule_policy.decide(acting, facts_of(event), now)
    if verdict is None or verdict.held or rule_policy.plan_of(verdict.rule.action) is None:
        return None
    return verdict if _is_of_now(event) and not _was_acted_on(event) else None


def _is_of_now(event: ErrorEvent) -> bool:
    if event.occurred_at is None:
        return False
    around = ErrorEvent.objects.filter(node=event.node_id).order_by("-seq")
    times = around.values_list("occurred_at", "received_at")[:DELAYS_COMPARED]
    delays = [(received - occurred).total_seconds() for occurred, received in times if occurred]
    return rule_policy.is_of_now((event.received_at - event.occurred_at).total_seconds(), delays)


def _was_acted_on(event: ErrorEvent) -> bool:
    """Whether an action on that process is running, or was when the error arrived: the error may be of the replaced
    process."""
    done = ProcessAction.objects.filter(node=event.node_id, method=event.reported_process).exclude(plan=ActionKind.LIST)
    return done.filter(Q(ended_at=None) | Q(ended_at__gte=event.received_at)).exists()


def _carry_out(verdict: RuleMatch, event: ErrorEvent, revision: int, begin: int, now: datetime, two_above: int) -> None:
    """Raises RulesChanged, without a change, if the rules have changed."""
    with transaction.atomic():
        hold_rules(revision)
        if not _move(begin, event.seq):
            return
        row = Rule.objects.get(pk=verdict.rule.id)
        if trouble := _trouble(row, event, now, two_above):
            changes.suspend(row.pk, trouble, actor=Actor.system(now))
        else:
            _order(row, verdict, event, now)


def _order(row: Rule, verdict: RuleMatch, event: ErrorEvent, now: datetime) -> None:
    plan = rule_policy.plan_of(verdict.rule.action)
    assert plan is not None, "a verdict to do nothing is none"  # noqa: S101
    wish = ActionRequest(plan, event.reported_process, row.reason, event.seq)
    try:
        actions.request(event.node.name, wish, actor=rule_actor(row, now), rule=row)
    except ActionRefused as exc:
        log.info("%s does nothing about event %d: %s", row, event.seq, exc)
        return
    if not count_use(verdict, now):
        raise RulesChanged  # used up or expired since it was read


def _trouble(row: Rule, event: ErrorEvent, now: datetime, two_above: int) -> str | None:
    """Why the rule must be suspended instead of acting; the actions of its present revision count."""
    process, node = event.reported_process, event.node.name
    since = now - timedelta(seconds=LOOP_WINDOW_S)
    own = ProcessAction.objects.filter(rule=row, rule_revision=row.revision, created_at__gt=since)
    again = own.filter(node=event.node_id, method=process).count()
    return storm(row, now, two_above) or rule_policy.loop(again, row.loop_limit, process, node)


def _move(begin: int, to: int) -> bool:
    """Mark all events up to ``to`` as evaluated; False if another kernel has done it."""
    if counters.lock(Counter.ACTED) != begin:
        return False
    counters.take(Counter.ACTED, to - begin)
    return True
