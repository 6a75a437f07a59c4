"""One decision for many incidents. ``decisions.decide`` decides each of them, as it does single ones.

A proposal stores the incidents that it showed, so it never decides an incident that opened afterwards. After the
approval they are decided in steps. Each step is one transaction, which also stores the result of each incident. A crash
between two steps leaves the rest pending, and the next step continues with them. Where a person or a rule was faster,
their decision counts, and the result here is *already decided*.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet

from errorkernel.domain import incident_state
from errorkernel.domain.canary import CanaryState, canary_state, describe
from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, BulkDecisionItem, ErrorState, Incident
from errorkernel.store import problems
from errorkernel.store.incidents import decisions
from errorkernel.store.incidents.decisions import AlreadyDecided, NotOpen
from errorkernel.store.platform import audit, deadline_hold
from errorkernel.store.platform.actor import Actor

LASTS = timedelta(minutes=15)
"""How long a proposal can be approved: what it showed becomes outdated."""
AT_ONCE = 20
"""Incidents that are decided in one transaction."""
MOST = 20_000
"""Incidents in one proposal, at most."""
State = BulkDecision.State
Result = BulkDecisionItem.Result
_NOT_NOW = {
    State.PROPOSED: _("This bulk decision is not approved yet."),
    State.CANARY: _("This bulk decision is already approved, and its canary is being observed."),
    State.APPLYING: _("This bulk decision is already approved and in progress."),
    State.DONE: _("This bulk decision is already done."),
    State.EXPIRED: _("The proposal has expired, because other incidents may be pending now. Create a new proposal."),
    State.REJECTED: _("This bulk decision was discarded. No further incident is decided."),
}
"""Why a bulk decision in this state does not accept an operation."""
REST_NOT_APPLIED = _("The decision is not applied to the others. Discard this bulk decision and propose a new one.")
"""A new proposal is the only way: it shows what is pending now, and needs its own reason and approval."""


class CannotBulk(OperationRefused):
    """The operation is not possible now; the message is one sentence for the person."""


@dataclass(slots=True)
class Step:
    """``changed``: the incidents that were decided; ``looked``: there was work."""

    changed: list[UUID] = field(default_factory=list)
    looked: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """The canary's state, and the same as a sentence (``describe``). ``until``: end of the observation; None while its
    process has not applied the decision."""

    incident: Incident
    shows: CanaryState
    until: datetime | None
    explanation: TranslatableText


def propose(
    incident_ids: Iterable[UUID],
    actor: Actor,
    *,
    query: str,
    action: Action,
    reason: str,
    canary: UUID | None = None,
    two_above: int = 0,
) -> BulkDecision:
    """Store which incidents are to be decided; none is decided yet. ``two_above``: killing or stopping more than this
    many needs an approval by a second person (0: never). Raises CannotBulk."""
    wanted = list(dict.fromkeys(incident_ids))[:MOST]
    if not wanted:
        raise CannotBulk(_("No pending incident matches this search."), "no_incident_matches", "condition")
    if not reason:
        raise CannotBulk(
            _("A bulk decision needs a reason. It is stored with every incident."), "missing_field", "reason"
        )
    if canary is not None and canary not in wanted:
        raise CannotBulk(_("The canary is not among the incidents."), "canary_not_matched", "first")
    with transaction.atomic():
        bulk = BulkDecision.objects.create(
            query=query, action=action.value, reason=reason, actor=actor.id, user_id=actor.user_id, origin=actor.origin,
            count=len(wanted), canary_id=canary, proposed_at=actor.at, expires_at=actor.at + LASTS,
            needs_approval=action is not Action.CONTINUE and 0 < two_above < len(wanted),
        )  # fmt: skip
        BulkDecisionItem.objects.bulk_create(
            [BulkDecisionItem(bulk=bulk, incident_id=incident_id) for incident_id in wanted], batch_size=200
        )
        _note(bulk, "propose", actor, {}, {"query": query, "action": action.value, "incidents": len(wanted)}, reason)
    return bulk


def approve(bulk_id: int, actor: Actor) -> tuple[BulkDecision, list[UUID]]:
    """Decide all of them in the next steps. Also returns the incidents that are decided already: none.

    Raises CannotBulk, also where a canary was chosen, or BulkDecision.DoesNotExist.
    """
    return _approve(bulk_id, actor, None)


def approve_canary(bulk_id: int, actor: Actor, *, watch_s: int) -> tuple[BulkDecision, list[UUID]]:
    """Decide the canary, and watch it for ``watch_s`` seconds after its process has applied the decision. Also returns
    the incidents that are decided already.

    Raises CannotBulk, also where no canary was chosen, or BulkDecision.DoesNotExist.
    """
    return _approve(bulk_id, actor, watch_s)


def _approve(bulk_id: int, actor: Actor, watch_s: int | None) -> tuple[BulkDecision, list[UUID]]:
    """``watch_s`` None: without a canary."""
    changed: list[UUID] = []
    with transaction.atomic():
        bulk = _held(bulk_id, State.PROPOSED)
        _check_approval(bulk, actor, watch_s is not None)
        before = {"state": bulk.state}
        bulk.approved_by = "" if is_proposer(bulk, actor) else actor.id
        bulk.approved_at = actor.at
        bulk.state = State.APPLYING
        if watch_s is not None:
            bulk.state = State.CANARY
            bulk.watch_s = watch_s
            changed = _decide_next(bulk, bulk.items.filter(incident=bulk.canary), actor.at)
        bulk.save()
        after = {"state": bulk.state, "incidents": bulk.count, "watched": len(changed)}
        _note(bulk, "approve" if watch_s is None else "approve-canary", actor, before, after)
    return bulk, changed


def _check_approval(bulk: BulkDecision, actor: Actor, canary: bool) -> None:
    """Raises CannotBulk."""
    if actor.at >= bulk.expires_at:
        raise CannotBulk(
            _("The proposal has expired, because other incidents may be pending now. Create a new proposal."),
            "proposal_expired",
        )
    if bulk.needs_approval and is_proposer(bulk, actor):
        raise CannotBulk(
            _(
                "{action} for {count} processes needs approval by a second person.",
                action=bulk.action,
                count=bulk.count,
            ),
            "needs_second_person",
        )
    _check_proposer(bulk, actor)
    if has_canary(bulk) and not canary:
        raise CannotBulk(_("A canary was chosen: approve it, and the others once it has done well."), "has_canary")
    if canary and not has_canary(bulk):
        raise CannotBulk(_("No canary was chosen: approve all."), "has_no_canary")


def has_canary(bulk: BulkDecision) -> bool:
    """Whether one of them is decided first, and watched."""
    return bulk.canary_id is not None and bulk.count > 1


def apply_rest(bulk_id: int, actor: Actor) -> BulkDecision:
    """Decide the others, after the canary did well. Raises CannotBulk or BulkDecision.DoesNotExist."""
    with transaction.atomic():
        bulk = _held(bulk_id, State.CANARY)
        _check_proposer(bulk, actor)
        if deadline_hold.held_since():
            raise CannotBulk(deadline_hold.HELD, "deadlines_held")
        canary = watched(bulk, actor.at)
        if canary is None:
            raise CannotBulk(_("The canary is no longer stored. {so}", so=REST_NOT_APPLIED), "canary_failed")
        if canary.shows.stands:
            raise CannotBulk(_("{why} {so}", why=canary.explanation, so=REST_NOT_APPLIED), "canary_failed")
        if canary.shows is not CanaryState.GOOD:
            raise CannotBulk(canary.explanation, "canary_watched")
        bulk.state = State.APPLYING
        bulk.save(update_fields=["state"])
        _note(bulk, "apply-rest", actor, {"state": State.CANARY}, {"state": bulk.state})
    return bulk


def reject(bulk_id: int, actor: Actor, reason: str = "") -> BulkDecision:
    """Decide no further incident. Raises CannotBulk or BulkDecision.DoesNotExist."""
    with transaction.atomic():
        bulk = _held(bulk_id, State.PROPOSED, State.CANARY, State.APPLYING)
        before = {"state": bulk.state}
        bulk.state, bulk.ended_at = State.REJECTED, actor.at
        bulk.save(update_fields=["state", "ended_at"])
        _note(bulk, "reject", actor, before, {"state": bulk.state, **results(bulk)}, reason)
    return bulk


def step(*, now: datetime) -> Step:
    """Decide the next AT_ONCE incidents of the oldest approved bulk decision, in one transaction."""
    done = Step()
    waiting = BulkDecision.objects.filter(state=State.APPLYING).order_by("id").values_list("pk", flat=True).first()
    if waiting is None:
        return done
    done.looked = True
    with transaction.atomic():
        bulk = BulkDecision.objects.select_for_update(of=("self",)).select_related("user").get(pk=waiting)
        if bulk.state != State.APPLYING:
            return done  # another kernel has finished it, or a person rejected the rest
        done.changed = _decide_next(bulk, bulk.items.filter(result=Result.PENDING), now)
        if not bulk.items.filter(result=Result.PENDING).exists():
            bulk.state, bulk.ended_at = State.DONE, now
            bulk.save(update_fields=["state", "ended_at"])
            before, after = {"state": State.APPLYING}, {"state": bulk.state, **results(bulk)}
            _note(bulk, "done", Actor.system(now), before, after)
    return done


def results(bulk: BulkDecision) -> dict[str, int]:
    """How many of its incidents are decided, already decided, withdrawn and pending."""
    counted = bulk.items.order_by().values_list("result").annotate(Count("pk"))
    return {result.value: 0 for result in Result} | dict(counted)


def items(bulk: BulkDecision) -> QuerySet[BulkDecisionItem]:
    """Its incidents with what item_ids_by_result of each; ``incident.decision`` is the decision that counts."""
    return bulk.items.select_related("incident__node", "incident__process", "incident__decision__rule").order_by("id")


def is_proposer(bulk: BulkDecision, actor: Actor) -> bool:
    """Whether the actor proposed it, also under a former name of the account."""
    return actor.id == bulk.actor or (actor.user_id is not None and actor.user_id == bulk.user_id)


def watched(bulk: BulkDecision, now: datetime) -> Watched | None:
    """The state of its canary; None without a canary or before the approval."""
    if bulk.canary_id is None or bulk.approved_at is None:
        return None
    incident = decisions.with_relations().get(pk=bulk.canary_id)
    result = bulk.items.get(incident_id=bulk.canary_id).result
    if result in (Result.ALREADY_DECIDED, Result.WITHDRAWN):
        shows, until = CanaryState(result), None
    else:
        until = _watched_until(bulk, incident)
        returned = _has_returned(incident, bulk.approved_at)
        shows = canary_state(incident_state.State(incident.state), returned=returned, until=until, now=now)
    left_s = math.ceil((until - now).total_seconds()) if until else 0
    return Watched(incident, shows, until, describe(shows, left_s))


def _watched_until(bulk: BulkDecision, incident: Incident) -> datetime | None:
    if incident.state != incident_state.State.APPLIED.value or incident.ended_at is None:
        return None
    return incident.ended_at + timedelta(seconds=bulk.watch_s or 0)


def _has_returned(incident: Incident, decided_at: datetime) -> bool:
    """Whether its process reported the same problem again since the decision."""
    again = ErrorState.objects.filter(process=incident.process_id, problem__in=problems.together(incident.problem))
    return again.filter(last_seq__gt=incident.seq, last_seen__gt=decided_at).exists()


def _held(bulk_id: int, *states: BulkDecision.State) -> BulkDecision:
    """The row, locked until the end of the transaction. Raises CannotBulk where it is in none of ``states``."""
    bulk = BulkDecision.objects.select_for_update(of=("self",)).select_related("user").get(pk=bulk_id)
    if bulk.state not in states:
        raise CannotBulk(_NOT_NOW[State(bulk.state)], "wrong_state")
    return bulk


def _check_proposer(bulk: BulkDecision, actor: Actor) -> None:
    """The decisions bear the proposer's name, and the proposer counts as one of two people where an approval is needed.
    Raises CannotBulk where the proposer lost the permission to decide."""
    if is_proposer(bulk, actor):
        return
    if bulk.user is None or not problems.deciders().filter(pk=bulk.user.pk).exists():
        raise CannotBulk(
            _("{name} proposed it and no longer has the permission to decide. Create a new proposal.", name=bulk.actor),
            "proposer_may_not_decide",
        )


def _decide_next(bulk: BulkDecision, chosen: QuerySet[BulkDecisionItem], now: datetime) -> list[UUID]:
    """Decide up to AT_ONCE of ``chosen`` and store the result of each; returns those that were decided here."""
    item_ids_by_result: dict[BulkDecisionItem.Result, list[int]] = {
        Result.DECIDED: [],
        Result.ALREADY_DECIDED: [],
        Result.WITHDRAWN: [],
    }
    decided = []
    proposer = Actor(bulk.actor, now, bulk.user, f"{bulk.origin} bulk_decision:{bulk.pk}")
    for item_id, incident_id in list(chosen.order_by("id").values_list("pk", "incident_id")[:AT_ONCE]):
        try:
            decisions.decide(incident_id, Action(bulk.action), proposer, reason=bulk.reason)
            item_ids_by_result[Result.DECIDED].append(item_id)
            decided.append(incident_id)
        except AlreadyDecided:
            item_ids_by_result[Result.ALREADY_DECIDED].append(item_id)
        except NotOpen:
            item_ids_by_result[Result.WITHDRAWN].append(item_id)
    for result, item_ids in item_ids_by_result.items():
        BulkDecisionItem.objects.filter(pk__in=item_ids).update(result=result)
    return decided


def _note(
    bulk: BulkDecision, what: str, actor: Actor, before: dict[str, Any], after: dict[str, Any], reason: str = ""
) -> None:
    audit.record(
        audit.entry(
            actor, what, f"bulk_decision:{bulk.pk}", reason=reason, before=before, after=after
        )
    )  # fmt: skip
