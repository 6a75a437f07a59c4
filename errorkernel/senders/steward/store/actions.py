"""Actions on the processes of Steward/ctrl nodes: requested, and carried out by one kernel, line by line.

Every line is written before its message is sent. So a kernel that ends leaves at most one line without a result, whose
message may have been executed. The next kernel closes it as silent and continues with a list. Each write renews the
lease of an action; a kernel whose lease has expired cannot write, and sends nothing more.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.sender_names import without_suffix
from errorkernel.domain.values import EventType
from errorkernel.models import ErrorEvent, Node, ProcessAction, ProcessActionRequest, Rule
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.methods import SAFE_METHODS
from errorkernel.senders.steward.protocol.operator_messages import Listed, aliases_running, subscriber_of
from errorkernel.senders.steward.protocol.process_control import Ended, Line
from errorkernel.senders.steward.store import dialects
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.retention import STEP_ROWS

A_MINUTE_MAX = 10
"""Actions on one node within a minute, lists included; each takes several messages."""
DETAIL_MAX_CHARS = 2000
REPLY_EVENT_WITHIN = timedelta(hours=1)
"""Time within which an event with the text of a reply belongs to it."""
REFUSED_KIND = "refused"
_REFUSED = (
    "The node reported meanwhile (event {}) that it refuses a message for its signature or its sender: look at our key."
)
_REPORTED = (RequestResult.STOPPED.value, RequestResult.STARTED.value, RequestResult.NOT_FOUND.value)
_OPERATION = ": OpProcess"
_INTERRUPTED = "The kernel ended while it waited for the reply."
State = ProcessAction.State


class ActionRefused(OperationRefused):
    """It cannot be done now; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """A kernel, and the lease in seconds after each write, which is longer than any step."""

    name: str
    for_s: float


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A requested action. ``method``: of the process, in the node's spelling; empty for a list."""

    plan: ActionKind
    method: str = ""
    reason: str = ""
    event_seq: int | None = None
    request_id: str = ""


def request(
    node_name: str,
    wish: ActionRequest,
    actor: Actor,
    *,
    rule: Rule | None = None,
) -> ProcessAction:
    """Queue the action. A repeated ``request_id`` of the same user returns its action, if it is the same.

    Raises ActionRefused or Node.DoesNotExist.
    """
    try:
        with transaction.atomic():
            node = Node.objects.get(name=node_name)
            if wish.request_id and (
                known := ProcessAction.objects.filter(node=node, request_id=wish.request_id, actor=actor.id).first()
            ):
                if (known.plan, known.method) != (wish.plan, wish.method):
                    raise ActionRefused(
                        "This request_id has done something else on this node.", "request_id_reused", "request_id"
                    )
                return known
            _check(node, wish, actor.at)
            action = _create(node, wish, actor, rule)
            after = {"action": action.pk, "process": wish.method} | ({"rule": str(rule)} if rule else {})
            entry = audit.entry(
                actor, f"steward {wish.plan}", _target(node), reason=wish.reason, before={}, after=after
            )  # fmt: skip
            audit.record(entry)
    except IntegrityError:
        raise ActionRefused(
            "The same process is being acted on already: wait until that has ended.", "process_busy"
        ) from None
    return action


def _create(node: Node, wish: ActionRequest, actor: Actor, rule: Rule | None) -> ProcessAction:
    event = ErrorEvent.objects.filter(seq=wish.event_seq, node=node).first() if wish.event_seq else None
    return ProcessAction.objects.create(
        token=secrets.token_hex(16),
        node=node,
        plan=wish.plan.value,
        method=wish.method,
        actor=actor.id,
        user_id=actor.user_id,
        rule=rule,
        rule_revision=rule.revision if rule else None,
        reason=wish.reason,
        request_id=wish.request_id,
        event_seq=event.seq if event else None,
        problem_id=event.problem_id if event else None,
        created_at=actor.at,
    )


def _check(node: Node, wish: ActionRequest, now: datetime) -> None:
    """Raises ActionRefused."""
    dialect = _may_be_spoken_to(node, now)
    if wish.plan is not ActionKind.LIST:
        if wish.method not in choices(dialect):
            raise ActionRefused(
                f"{wish.method or 'This'} is not one of the processes that can be stopped and started.",
                "unknown_process",
                "process",
            )
        if not wish.reason:
            raise ActionRefused(
                f"Give a reason to {wish.plan} a process. It is kept in the history.", "reason_needed", "reason"
            )
    lately = ProcessAction.objects.filter(node=node, created_at__gt=now - timedelta(minutes=1))
    if lately.count() >= A_MINUTE_MAX:
        raise ActionRefused(
            f"There were {A_MINUTE_MAX} actions on this node within a minute. Try again in a minute.",
            "too_many_actions",
        )


def _may_be_spoken_to(node: Node, now: datetime) -> Dialect:
    """Raises ActionRefused."""
    if dialects.in_doubt(node, now):
        raise ActionRefused(
            "Messages in different formats arrived under this node's name within a day, and the node may crash on a "
            "format that it cannot read: choose its format first.",
            "unknown_format",
        )
    dialect = dialects.spoken(node, now)
    if dialect is None:
        raise ActionRefused(
            "This node's messages have not shown its command format, and it may crash on a format that it cannot read.",
            "unknown_format",
        )
    if not node.enabled:
        raise ActionRefused("This node is disabled.", "node_disabled")
    return dialect


def choices(dialect: Dialect) -> list[str]:
    """The methods that may be stopped and started, as a node of this dialect spells them."""
    return sorted(name for name in SAFE_METHODS if name.startswith("REQ") == dialect.req)


def claim(holder: LeaseHolder, *, now: datetime, limit: int) -> list[ProcessAction]:
    """Claim queued actions, and actions whose lease has expired; each has one kernel."""
    free = Q(state=State.QUEUED) | Q(state=State.RUNNING, leased_until__lt=now)
    taken = []
    for action in ProcessAction.objects.filter(free).select_related("node").order_by("id")[:limit]:
        with transaction.atomic():
            mine = ProcessAction.objects.filter(free, pk=action.pk)
            if mine.update(state=State.RUNNING, worker=holder.name, leased_until=now + timedelta(seconds=holder.for_s)):
                for line in action.requests.filter(result=""):
                    _close(action, line, RequestResult.SILENT, _INTERRUPTED, now)
                taken.append(action)
    return taken


def lines(action: ProcessAction) -> list[Line]:
    """The requests with a result, in their order."""
    rows = ProcessActionRequest.objects.filter(action=action).exclude(result="").order_by("number")
    return [Line(RequestKind(row.ask), RequestResult(row.result), tuple(row.numbers)) for row in rows]


def begin(
    action: ProcessAction, holder: LeaseHolder, ask: RequestKind, *, now: datetime
) -> tuple[ProcessActionRequest, Dialect] | None:
    """Record a request before it is sent; returns it with the dialect. None when another kernel has the action.

    Raises ActionRefused when nothing may be sent to the node any more.
    """
    with transaction.atomic():
        if not _hold(action, holder, now):
            return None
        # The present dialect: the node may have been replaced by another version since the last request.
        dialect = _may_be_spoken_to(Node.objects.get(pk=action.node_id), now)
        number = ProcessActionRequest.objects.filter(action=action).count() + 1
        return ProcessActionRequest.objects.create(action=action, number=number, ask=ask.value, sent_at=now), dialect


def record_result(
    action: ProcessAction,
    line: ProcessActionRequest,
    holder: LeaseHolder,
    result: RequestResult,
    detail: str,
    *,
    now: datetime,
    listed: Sequence[Listed] | None = None,
) -> bool:
    """Record the result of a request; ``listed``: the processes of a list. False when another kernel has the action."""
    with transaction.atomic():
        if not _hold(action, holder, now):
            return False
        if listed is not None:
            ProcessAction.objects.filter(pk=action.pk).update(listed_processes=msgspec.to_builtins(listed))
            line.numbers = [
                process.number
                for process in listed
                if subscriber_of(process, without_suffix(action.node.name)) == action.method
            ]
        _close(action, line, result, detail, now)
    return True


def end(action: ProcessAction, holder: LeaseHolder, ended: Ended, *, now: datetime) -> Ended | None:
    """Record the end of an action; returns it as recorded. None when another kernel has the action."""
    with transaction.atomic():
        ended = _with_aliases(action, ended)
        mine = ProcessAction.objects.filter(pk=action.pk, state=State.RUNNING, worker=holder.name)
        summary = _with_refusal(action, ended)
        if not mine.update(state=ended.outcome.value, summary=summary, ended_at=now, leased_until=None):
            return None
        after = {"action": action.pk, "process": action.method, "state": ended.outcome.value}
        audit.record(
            audit.entry(
                Actor.system(now), f"end {action.plan}", _target(action.node), reason=summary,
                before={"state": State.RUNNING.value}, after=after,
            )
        )  # fmt: skip
    return msgspec.structs.replace(ended, summary=summary)


def _with_aliases(action: ProcessAction, ended: Ended) -> Ended:
    """A process that still runs under an alias of the node has not been stopped or replaced."""
    if ended.outcome is not ActionOutcome.DONE or action.plan not in (ActionKind.STOP, ActionKind.KILL):
        return ended
    listed = ProcessAction.objects.values_list("listed_processes", flat=True).get(pk=action.pk)
    names = aliases_running(msgspec.convert(listed, list[Listed]), without_suffix(action.node.name), action.method)
    if not names:
        return ended
    reason = f"The node still runs it under its aliases: {', '.join(names)}. Only a restart of the node replaces those."
    return Ended(ActionOutcome.FAILED, f"{ended.summary} {reason}")


def _with_refusal(action: ProcessAction, ended: Ended) -> str:
    """The summary, with the node's refusal of the signature if it sent one instead of a reply."""
    if ended.outcome is ActionOutcome.DONE or not action.requests.filter(result=RequestResult.SILENT.value).exists():
        return ended.summary
    refused = refusals(action.node).filter(received_at__gte=action.created_at).first()
    return f"{ended.summary} {_REFUSED.format(refused.seq)}" if refused else ended.summary


def refusals(node: Node) -> QuerySet[ErrorEvent]:
    """The events about messages that the node refused because of their signature or sender."""
    refused_messages = ErrorEvent.objects.filter(node=node, kind=REFUSED_KIND, type=EventType.ERROR.value)
    return refused_messages.order_by("seq")


def of_event(event: ErrorEvent) -> QuerySet[ProcessAction]:
    """Actions requested from ``event``, and the action that it reports: a node also reports its reply to a stop or a
    start as an event with the same text."""
    reported_in_time = Q(
        node=event.node_id, created_at__gt=event.received_at - REPLY_EVENT_WITHIN, created_at__lte=event.received_at
    )
    requests_with_text = ProcessActionRequest.objects.filter(detail=event.text[:DETAIL_MAX_CHARS], result__in=_REPORTED)
    same_words = Q(pk__in=requests_with_text.values("action")) & reported_in_time
    return with_lines().filter(
        Q(event_seq=event.seq) | same_words if _OPERATION in event.text else Q(event_seq=event.seq)
    )


def prune(*, days: int, now: datetime) -> int:
    """Delete a chunk of actions that ended more than ``days`` ago (0: none), with their lines; returns the number."""
    if not days:
        return 0
    old = ProcessAction.objects.filter(ended_at__lt=now - timedelta(days=days)).order_by("pk")
    oldest = list(old.values_list("pk", flat=True)[:STEP_ROWS])
    ProcessAction.objects.filter(pk__in=oldest).delete()
    return len(oldest)


def with_lines() -> QuerySet[ProcessAction]:
    """Actions, newest first, with all that a page shows."""
    return ProcessAction.objects.select_related("node", "rule").prefetch_related("requests")


def _hold(action: ProcessAction, holder: LeaseHolder, now: datetime) -> int:
    mine = ProcessAction.objects.filter(pk=action.pk, state=State.RUNNING, worker=holder.name)
    return mine.update(leased_until=now + timedelta(seconds=holder.for_s))


def _close(
    action: ProcessAction, line: ProcessActionRequest, result: RequestResult, detail: str, now: datetime
) -> None:
    line.result, line.detail, line.ended_at = result.value, detail[:DETAIL_MAX_CHARS], now
    line.save(update_fields=["result", "detail", "numbers", "ended_at"])
    after: dict[str, Any] = {"action": action.pk, "line": line.number, "ask": line.ask, "result": line.result}
    if line.numbers:
        after["numbers"] = line.numbers
    is_ours = result in (RequestResult.SILENT, RequestResult.ABSENT)
    actor = Actor.system(now) if is_ours else Actor.node(action.node.name, now)
    before = {"result": None}
    audit.record(
        audit.entry(actor, "steward line", _target(action.node), reason=line.detail, before=before, after=after)
    )


def _target(node: Node) -> str:
    return f"node:{node.name}"
