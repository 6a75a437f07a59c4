"""One decision for the pending incidents of a problem, or a part of them, in one request.

It is a bulk decision (``bulk_decisions``) of exactly the incidents that are pending now. Unless a second person must
approve it, it starts in the same transaction: with the canary, or with the first of all.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from errorkernel.domain import liveness
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.query.parse import parse
from errorkernel.domain.values import Action
from errorkernel.models import BulkDecision, BulkDecisionItem, Decision, Incident, Node, Problem
from errorkernel.store import problems
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.incidents.bulk_decisions import MOST, CannotBulk
from errorkernel.store.platform.actor import Actor
from errorkernel.store.search import incident_q

NOTHING_CHOSEN = _("Choose processes, a node, a release or a search.")
OTHER_SCOPE = _("Processes, a node, a release or a search can be chosen only with the scope “chosen”.")
"""Why a request for a group cannot be read."""
_LIVENESS_ORDER = {Liveness.ALIVE: 0, Liveness.LATE: 2, Liveness.GONE: 3}
_OTHER_LIVENESS = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided. ``canary_first``: one first, and the others once it has done well; else all at once.

    ``canary``: the one that is decided first, or that was decided already; None: ``choose_canary`` chooses it.
    ``node``, ``release``, ``condition`` and ``incidents`` restrict the pending incidents of the problem; all must hold.
    """

    action: Action
    reason: str = ""
    canary_first: bool = True
    canary: UUID | None = None
    node: str = ""
    release: str = ""
    condition: str = ""
    incidents: Collection[UUID] = field(default_factory=tuple)


def decide(
    problem_id: int, choice: Choice, actor: Actor, *, watch_s: int, two_above: int
) -> tuple[BulkDecision, list[UUID]]:
    """Decide the chosen incidents of the problem and of those merged with it. Also returns those that are decided
    already. ``watch_s``, ``two_above``: as in ``bulk_decisions``.

    Raises CannotBulk, QueryError or Problem.DoesNotExist.
    """
    bulk_decisions.check_reason(choice.action, choice.reason)
    with transaction.atomic():
        # Two people who decide the same group at once: the second sees the bulk decision of the first.
        whole = Problem.objects.select_for_update().get(pk=problem_id)
        if whole.merged_into_id is not None:
            whole = Problem.objects.select_for_update().get(pk=whole.merged_into_id)
        same = problems.members(whole.pk)
        pending = Incident.objects.filter(problem__in=same, state=State.OPEN.value)
        rows = Pending.rows(pending.filter(_condition(choice)))
        wanted = [row.incident for row in rows]
        decided = _decided_canary(choice, same)
        if not wanted:
            raise CannotBulk(_("No process of this problem is pending that you have chosen."), "no_incident_matches")
        _check_free(whole.pk, wanted, actor.at)
        canary = choice.canary
        if canary is None and choice.canary_first and len(wanted) > 1:
            canary = choose_canary(rows, actor)
        bulk = bulk_decisions.propose(
            [*([decided.incident_id] if decided else []), *wanted],
            actor,
            query=_query(whole.pk, choice),
            action=choice.action,
            reason=choice.reason,
            canary=canary if choice.canary_first else None,
            then_rest=choice.canary_first,
            two_above=two_above,
        )
        if decided:
            bulk.items.filter(incident=decided.incident_id).update(result=BulkDecisionItem.Result.DECIDED)
        if bulk.needs_approval:
            return bulk, []
        return bulk_decisions.start(bulk, actor, watch_s=watch_s)


def _condition(choice: Choice) -> Q:
    wanted = Q()
    if choice.node:
        wanted &= Q(node__name=choice.node.replace("\0", ""))
    if choice.release:
        wanted &= Q(release=choice.release.replace("\0", ""))
    if choice.incidents:
        wanted &= Q(pk__in=list(choice.incidents)[:MOST])
    if choice.condition:
        wanted &= incident_q(parse(choice.condition, INCIDENT_FIELDS))
    return wanted


def _query(problem: int, choice: Choice) -> str:
    """The choice in the search syntax, to be shown."""
    parts = [f"problem:{problem}"]
    parts += [f'node:"{choice.node}"'] if choice.node else []
    parts += [f'release:"{choice.release}"'] if choice.release else []
    parts += [f"({choice.condition})"] if choice.condition else []
    return " ".join(parts)


def _decided_canary(choice: Choice, same: Collection[int]) -> Decision | None:
    """The decision on the chosen canary, if it is decided already: with the same action, and on this problem."""
    if choice.canary is None or not choice.canary_first:
        return None
    made = Decision.objects.filter(incident=choice.canary, incident__problem__in=same).first()
    if made is not None and made.action != choice.action:
        raise CannotBulk(
            _(
                "The canary was decided {action}. Choose the same for the others, or another canary.",
                action=made.action,
            ),
            "canary_not_matched",
            "canary",
        )
    return made


def _check_free(problem: int, wanted: Collection[UUID], now: datetime) -> None:
    """Raises CannotBulk where another bulk decision of the problem is about some of these."""
    active = Q(state=BulkDecision.State.PROPOSED, expires_at__gt=now)
    active |= Q(state=BulkDecision.State.CANARY, held="") | Q(state=BulkDecision.State.APPLYING)
    bulks = {bulk.pk: bulk for bulk in BulkDecision.objects.filter(active, problem=problem)}
    if not bulks:
        return
    waiting = BulkDecisionItem.objects.filter(bulk__in=bulks, result=BulkDecisionItem.Result.PENDING)
    chosen = set(wanted)
    for bulk_id, incident_id in waiting.values_list("bulk", "incident").order_by("-bulk"):
        if incident_id in chosen:
            raise CannotBulk(
                _(
                    "{name} has already decided {action} for these processes (bulk decision {number}). Reject that "
                    "one first.",
                    name=bulks[bulk_id].actor.partition(":")[2],
                    action=bulks[bulk_id].action,
                    number=str(bulk_id),
                ),
                "bulk_decision_in_progress",
            )


def approve_canary(bulk_id: int, actor: Actor, *, watch_s: int) -> tuple[BulkDecision, list[UUID]]:
    """As ``bulk_decisions.approve_canary``. Where the proposer chose no canary, the product chooses one: somebody
    can always approve less than was proposed. The others then follow when somebody applies them."""
    with transaction.atomic():
        bulk = BulkDecision.objects.select_for_update(of=("self",)).get(pk=bulk_id)
        if bulk.state == BulkDecision.State.PROPOSED and bulk.canary_id is None and bulk.count > 1:
            waiting = bulk.items.filter(result=BulkDecisionItem.Result.PENDING).values("incident")
            rows = Pending.rows(Incident.objects.filter(pk__in=waiting, state=State.OPEN.value))
            if rows:
                BulkDecision.objects.filter(pk=bulk_id).update(canary=choose_canary(rows, actor))
        return bulk_decisions.approve_canary(bulk_id, actor, watch_s=watch_s)


def choose_canary(pending: Iterable["Pending"], actor: Actor) -> UUID:
    """The incident to decide first. In this order: not taken by another person; on a node with a fresh heartbeat; with
    the fewest consecutive failures on its message; the longest pending."""
    rows = list(pending)
    nodes = Node.objects.in_bulk({row.node for row in rows})
    order = {
        pk: _LIVENESS_ORDER.get(liveness.of_node(node.heard, actor.at), _OTHER_LIVENESS) for pk, node in nodes.items()
    }

    def rank(row: Pending) -> tuple[bool, int, int, datetime]:
        is_taken = row.taken_by not in (None, actor.user_id)
        is_taken = is_taken and row.taken_until is not None and row.taken_until > actor.at
        return is_taken, order[row.node], row.consecutive, row.opened_at

    return min(rows, key=rank).incident


class Pending(NamedTuple):
    """A pending incident, as far as ``choose_canary`` needs it. ``taken_by``: key of an account."""

    incident: UUID
    node: int
    taken_by: int | None
    taken_until: datetime | None
    consecutive: int
    opened_at: datetime

    @classmethod
    def rows(cls, incidents: QuerySet[Incident]) -> "list[Pending]":
        """The longest pending first, MOST of them."""
        columns = ("pk", "node", "taken_by", "taken_until", "consecutive", "opened_at")
        return [cls(*row) for row in incidents.order_by("opened_at", "id").values_list(*columns)[:MOST]]
