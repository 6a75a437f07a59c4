"""One decision for many incidents. ``decisions.decide`` decides each of them, as it does single ones.

A proposal stores the incidents that it showed, so it never decides an incident that opened afterwards. After the
approval they are decided in steps. Each step is one transaction, which also stores the result of each incident. A crash
between two steps leaves the rest pending, and the next step continues with them. Where a person or a rule was faster,
their decision counts, and the result here is *already decided*.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce

from errorkernel.domain.canary import CanaryState
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, BulkDecisionItem, Incident
from errorkernel.store import problems
from errorkernel.store.incidents import bulk_progress, decisions
from errorkernel.store.incidents.bulk_progress import Watched, results, watched
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


def propose(
    incident_ids: Iterable[UUID],
    actor: Actor,
    *,
    query: str,
    action: Action,
    reason: str,
    canary: UUID | None = None,
    then_rest: bool = False,
    two_above: int = 0,
) -> BulkDecision:
    """Store which incidents are to be decided; none is decided yet. ``then_rest``: once the canary has done well, the
    kernel decides the others by itself. ``two_above``: killing or stopping more than this many needs an approval by a
    second person (0: never). Raises CannotBulk."""
    wanted = list(dict.fromkeys(incident_ids))[:MOST]
    if not wanted:
        raise CannotBulk(_("No pending incident matches this search."), "no_incident_matches", "condition")
    check_reason(action, reason)
    if canary is not None and canary not in wanted:
        raise CannotBulk(_("The canary is not among the incidents."), "canary_not_matched", "first")
    with transaction.atomic():
        bulk = BulkDecision.objects.create(
            query=query, action=action.value, reason=reason, actor=actor.id, user_id=actor.user_id, origin=actor.origin,
            count=len(wanted), canary_id=canary, proposed_at=actor.at, expires_at=actor.at + LASTS,
            problem_id=_only_problem(wanted), then_rest=then_rest and canary is not None and len(wanted) > 1,
            needs_approval=action is not Action.CONTINUE and 0 < two_above < len(wanted),
        )  # fmt: skip
        BulkDecisionItem.objects.bulk_create(
            [BulkDecisionItem(bulk=bulk, incident_id=incident_id) for incident_id in wanted], batch_size=200
        )
        _note(bulk, "propose", actor, {}, {"query": query, "action": action.value, "incidents": len(wanted)}, reason)
    return bulk


def check_reason(action: Action, reason: str) -> None:
    """Raises CannotBulk where the action needs a reason."""
    if not reason and action is not Action.CONTINUE:
        raise CannotBulk(
            _("To kill or stop processes needs a reason. It is stored with every incident."), "missing_field", "reason"
        )


def _only_problem(incident_ids: list[UUID]) -> int | None:
    """The problem of all of these, if it is one; merged problems are one."""
    found: set[int] = set()
    for start in range(0, len(incident_ids), 500):
        rows = Incident.objects.filter(pk__in=incident_ids[start : start + 500]).order_by()
        whole = Coalesce(F("problem__merged_into"), F("problem"))
        found |= set(rows.annotate(whole=whole).values_list("whole", flat=True).distinct())
    return found.pop() if len(found) == 1 else None


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


def start(bulk: BulkDecision, actor: Actor, *, watch_s: int) -> tuple[BulkDecision, list[UUID]]:
    """Approve one's own proposal in the transaction that stored it: decide its canary, or the first AT_ONCE of all.
    Also returns the incidents that are decided already. Raises CannotBulk."""
    changed = _begin(bulk, actor, watch_s if has_canary(bulk) else None)
    if bulk.state == State.APPLYING:
        changed = _decide_next(bulk, bulk.items.filter(result=Result.PENDING), actor.at)
        _finish(bulk, actor.at)
    return bulk, changed


def _approve(bulk_id: int, actor: Actor, watch_s: int | None) -> tuple[BulkDecision, list[UUID]]:
    """``watch_s`` None: without a canary."""
    with transaction.atomic():
        bulk = _lock(bulk_id, State.PROPOSED)
        return bulk, _begin(bulk, actor, watch_s)


def _begin(bulk: BulkDecision, actor: Actor, watch_s: int | None) -> list[UUID]:
    """Approve it; returns the canary if it was decided here. A canary that was decided before stays as it is."""
    changed: list[UUID] = []
    _check_approval(bulk, actor, watch_s is not None)
    before = {"state": bulk.state}
    bulk.approved_by = "" if is_proposer(bulk, actor) else actor.id
    bulk.approved_at = actor.at
    bulk.state = State.APPLYING
    if watch_s is not None:
        bulk.state = State.CANARY
        bulk.watch_s = watch_s
        own = bulk.items.filter(incident=bulk.canary, result=Result.PENDING)
        changed = _decide_next(bulk, own, actor.at)
    bulk.save()
    after = {"state": bulk.state, "incidents": bulk.count, "watched": len(changed)}
    _note(bulk, "approve" if watch_s is None else "approve-canary", actor, before, after)
    return changed


def _check_approval(bulk: BulkDecision, actor: Actor, canary: bool) -> None:
    """Raises CannotBulk."""
    if actor.at >= bulk.expires_at:
        raise CannotBulk(_NOT_NOW[State.EXPIRED], "proposal_expired")
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
        bulk = _lock(bulk_id, State.CANARY)
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
        bulk = _lock(bulk_id, State.PROPOSED, State.CANARY, State.APPLYING)
        before = {"state": bulk.state}
        bulk.state, bulk.ended_at = State.REJECTED, actor.at
        bulk.save(update_fields=["state", "ended_at"])
        _note(bulk, "reject", actor, before, {"state": bulk.state, **results(bulk)}, reason)
    return bulk


def step(*, now: datetime) -> Step:
    """The next step of the oldest work: close a proposal that has expired, follow a canary that is decided, or decide
    the next AT_ONCE incidents of an approved bulk decision. Each is one transaction."""
    done = Step()
    expired = BulkDecision.objects.filter(state=State.PROPOSED, expires_at__lte=now).order_by("id")
    if (bulk_id := expired.values_list("pk", flat=True).first()) is not None:
        return _expire(bulk_id, now)
    if (bulk_id := _next_canary(now)) is not None:
        return _follow_canary(bulk_id, now)
    applying = BulkDecision.objects.filter(state=State.APPLYING).order_by("id").values_list("pk", flat=True).first()
    if applying is None:
        return done
    done.looked = True
    with transaction.atomic():
        bulk = BulkDecision.objects.select_for_update(of=("self",)).select_related("user").get(pk=applying)
        if bulk.state != State.APPLYING:
            return done  # another kernel has finished it, or a person rejected the rest
        done.changed = _decide_next(bulk, bulk.items.filter(result=Result.PENDING), now)
        _finish(bulk, now)
    return done


def _finish(bulk: BulkDecision, now: datetime) -> None:
    """End it if all of its incidents have a result."""
    if bulk.items.filter(result=Result.PENDING).exists():
        return
    bulk.state, bulk.ended_at = State.DONE, now
    bulk.save(update_fields=["state", "ended_at"])
    _note(bulk, "done", Actor.system(now), {"state": State.APPLYING}, {"state": bulk.state, **results(bulk)})


def _expire(bulk_id: int, now: datetime) -> Step:
    """Close a proposal that nobody approved in time; its proposer is told on the pages."""
    with transaction.atomic():
        bulk = BulkDecision.objects.select_for_update(of=("self",)).get(pk=bulk_id)
        if bulk.state != State.PROPOSED:
            return Step(looked=True)
        bulk.state, bulk.ended_at = State.EXPIRED, now
        bulk.save(update_fields=["state", "ended_at"])
        _note(bulk, "expire", Actor.system(now), {"state": State.PROPOSED}, {"state": bulk.state, **results(bulk)})
    return Step(looked=True)


def _next_canary(now: datetime) -> int | None:
    """The oldest bulk decision that can go on by itself: its canary is not observed any more. While deadlines are held
    by a jump of the clock, the observation time is uncertain, and nothing follows a canary."""
    waiting = BulkDecision.objects.filter(state=State.CANARY, then_rest=True, held="").order_by("id")
    for progress in bulk_progress.of_all(list(waiting), now):
        shows = progress.canary.shows if progress.canary else CanaryState.WITHDRAWN
        if shows.is_final and not (shows is CanaryState.GOOD and deadline_hold.held_since()):
            return progress.bulk.pk
    return None


def _follow_canary(bulk_id: int, now: datetime) -> Step:
    """Decide the others in the next steps, because the canary has done well; else hold them, and store why."""
    with transaction.atomic():
        bulk = BulkDecision.objects.select_for_update(of=("self",)).select_related("user").get(pk=bulk_id)
        if bulk.state != State.CANARY or bulk.held:
            return Step(looked=True)
        canary = watched(bulk, now)
        why = _why_held(bulk, canary)
        if why:
            bulk.held, bulk.held_at = why, now
            bulk.save(update_fields=["held", "held_at"])
            reason = canary.explanation if canary else ""
            _note(bulk, "hold-rest", Actor.system(now), {}, {"held": why, **results(bulk)}, reason)
        else:
            bulk.state = State.APPLYING
            bulk.save(update_fields=["state"])
            ordered = Actor(bulk.actor, now, bulk.user, f"kernel bulk_decision:{bulk.pk}")
            _note(bulk, "apply-rest", ordered, {"state": State.CANARY}, {"state": bulk.state, "canary": "good"})
            _finish(bulk, now)
    return Step(looked=True)


def _why_held(bulk: BulkDecision, canary: Watched | None) -> str:
    """Why the others stay pending; empty: they follow."""
    if canary is None:
        return CanaryState.WITHDRAWN.value
    if canary.shows is not CanaryState.GOOD:
        return canary.shows.value
    may_decide = bulk.user is not None and problems.deciders().filter(pk=bulk.user.pk).exists()
    return "" if may_decide else "proposer_may_not_decide"


def close_note(bulk_id: int, actor: Actor) -> BulkDecision:
    """The proposer has seen that the proposal expired. Raises CannotBulk for others, or BulkDecision.DoesNotExist."""
    bulk = BulkDecision.objects.select_related("user").get(pk=bulk_id)
    if not is_proposer(bulk, actor) or bulk.state != State.EXPIRED:
        raise CannotBulk(_("There is no note for you to close."), "wrong_state")
    with transaction.atomic():
        if BulkDecision.objects.filter(pk=bulk_id, seen_at__isnull=True).update(seen_at=actor.at):
            _note(bulk, "close-note", actor, {"seen_at": None}, {"seen_at": actor.at.isoformat()})
    return bulk


def expired_unseen(user_id: int) -> list[BulkDecision]:
    """The person's proposals that expired and whose note they have not closed, the newest first, at most 20."""
    rows = BulkDecision.objects.filter(state=State.EXPIRED, user=user_id, seen_at__isnull=True)
    return list(rows.select_related("problem").order_by("-id")[:20])


def items(bulk: BulkDecision) -> QuerySet[BulkDecisionItem]:
    """Its incidents with what item_ids_by_result of each; ``incident.decision`` is the decision that counts."""
    return bulk.items.select_related("incident__node", "incident__process", "incident__decision__rule").order_by("id")


def is_proposer(bulk: BulkDecision, actor: Actor) -> bool:
    """Whether the actor proposed it, also under a former name of the account."""
    return actor.id == bulk.actor or (actor.user_id is not None and actor.user_id == bulk.user_id)


def _lock(bulk_id: int, *states: BulkDecision.State) -> BulkDecision:
    """The row, locked until the end of the transaction. Raises CannotBulk where it is in none of ``states``."""
    bulk = BulkDecision.objects.select_for_update(of=("self",)).select_related("user").get(pk=bulk_id)
    if bulk.state not in states:
        code = "proposal_expired" if bulk.state == State.EXPIRED else "wrong_state"
        raise CannotBulk(_NOT_NOW[State(bulk.state)], code)
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
            decisions.decide(
                incident_id, Action(bulk.action), proposer, reason=bulk.reason, approved_by=bulk.approved_by
            )
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
