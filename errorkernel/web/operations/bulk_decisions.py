"""Operations on bulk decisions: propose, approve, apply the rest after the canary, reject."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from errorkernel.domain.query.parse import QueryError
from errorkernel.domain.rule_policy import RuleError
from errorkernel.live.publisher import announce_incidents
from errorkernel.models import BulkDecision
from errorkernel.platform import conf
from errorkernel.platform.parameters import BadParameter
from errorkernel.store.incidents import bulk_decisions, group_decisions
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.page_requests import refuse
from errorkernel.web.auth.permissions import DECIDE, VIEW
from errorkernel.web.console.bulk_decisions import found_by, preview
from errorkernel.web.operations.incidents import DECISION_FIELDS, read_decision
from errorkernel.web.operations.operation import Form, Operation, Refusal, Refused, Resource
from errorkernel.web.operations.rules import required_reason
from errorkernel.web.schemas.operations import (
    BulkDecisionProposal,
    BulkDecisionRejection,
    BulkDecisionStatus,
    bulk_decision_status,
)


def _propose(key: None, given: BulkDecisionProposal, actor: Actor) -> BulkDecision:
    """A proposal for the incidents that the condition matches now."""
    ids = list(found_by(given.condition).values_list("pk", flat=True)[: bulk_decisions.MOST])
    transaction.on_commit(partial(announce_incidents, (), triage=True))
    return bulk_decisions.propose(
        ids,
        actor,
        query=given.condition,
        action=given.action,
        reason=required_reason(given),
        canary=given.first,
        two_above=conf.get().kill_needs_two_above,
    )


def _read_proposal(given: QueryDict, actor: Actor) -> BulkDecisionProposal:
    decision = read_decision(given, actor)
    canary = given.get("first", "")
    try:
        first = UUID(canary) if canary else None
    except ValueError:
        raise BadParameter(_("Choose one of the listed incidents as the canary, or none.")) from None
    return BulkDecisionProposal(decision.action, given.get("q", ""), decision.reason or "", first)


def _show_refusal(refused: Refused) -> HttpResponse:
    """Show a refused proposal in its form."""
    if refused.operation.has_key:
        return refuse(refused.request, translated(refused.error), status=refused.status)
    notice = "" if isinstance(refused.error, QueryError) else translated(refused.error)
    return preview(refused.request, refused.request.POST.get("q", ""), notice=notice)


def _approve(key: int, given: None, actor: Actor) -> BulkDecision:
    bulk, decided = bulk_decisions.approve(key, actor)
    transaction.on_commit(partial(announce_incidents, decided, triage=True))
    return bulk


def _approve_canary(key: int, given: None, actor: Actor) -> BulkDecision:
    bulk, decided = group_decisions.approve_canary(key, actor, watch_s=conf.get().canary_watch_s)
    transaction.on_commit(partial(announce_incidents, decided, triage=True))
    return bulk


def _shown(work: Callable[[int, Actor], BulkDecision]) -> Callable[[int, None, Actor], BulkDecision]:
    """``work``, and the triage shows its result."""

    def handle(key: int, given: None, actor: Actor) -> BulkDecision:
        bulk = work(key, actor)
        transaction.on_commit(partial(announce_incidents, (), triage=True))
        return bulk

    return handle


def _reject(key: int, given: BulkDecisionRejection, actor: Actor) -> BulkDecision:
    bulk = bulk_decisions.reject(key, actor, given.reason.replace("\0", "").strip())
    transaction.on_commit(partial(announce_incidents, (), triage=True))
    return bulk


_CANNOT_BULK = Refusal(
    error=CannotBulk,
    codes=(
        "wrong_state",
        "proposal_expired",
        "needs_second_person",
        "proposer_may_not_decide",
        "has_canary",
        "has_no_canary",
        "canary_failed",
        "canary_watched",
        "deadlines_held",
    ),
)


BULK_DECISION = Resource(
    address="bulk-decisions",
    noun="bulk decision",
    page="bulk-decision",
    item=BulkDecisionStatus,
    encode=lambda row: bulk_decision_status(row, timezone.now()),
    missing=BulkDecision.DoesNotExist,
    show_refusal=_show_refusal,
)


def _operation(verb: str, name: str, summary: str, handler: Any) -> Operation[Any]:
    return Operation(
        name=name,
        summary=summary,
        resource=BULK_DECISION,
        verb=verb,
        permission=DECIDE,
        handler=handler,
        done="How far it is",
        refusals=(_CANNOT_BULK,),
        form=Form(),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="proposeBulkDecision",
        summary="Propose one decision for many incidents",
        resource=BULK_DECISION,
        has_key=False,
        audit_verb="propose",
        permission=DECIDE,
        request=BulkDecisionProposal,
        example={"action": "continue", "condition": "process:copy-files", "reason": "The disk is back."},
        handler=_propose,
        status=201,
        done="These incidents are kept; nothing is decided yet",
        refusals=(
            Refusal(error=QueryError, codes=("invalid_search",), field="condition"),
            Refusal(error=RuleError, codes=("invalid_field",)),
            Refusal(error=CannotBulk, codes=("no_incident_matches", "canary_not_matched")),
        ),
        form=Form(
            read=_read_proposal,
            fields=(*DECISION_FIELDS, "q", "first"),
            page="new-bulk-decision",
            after=lambda done: HttpResponseRedirect(reverse("bulk-decision", args=[done.result.pk])),
        ),
    ),
    Operation(
        name="getBulkDecision",
        summary="How far a bulk decision is",
        resource=BULK_DECISION,
        method="GET",
        permission=VIEW,
        handler=lambda key, given, actor: BulkDecision.objects.get(pk=key),
        done="How far it is",
        changes_something=False,
    ),
    _operation("approve", "approveBulkDecision", "Decide all incidents of a proposal", _approve),
    _operation("approve-canary", "approveCanary", "Decide the canary of a proposal, and watch it", _approve_canary),
    _operation(
        "apply-rest",
        "applyRest",
        "Decide the other incidents once the canary has done well",
        _shown(bulk_decisions.apply_rest),
    ),
    Operation(
        name="rejectBulkDecision",
        summary="Decide no more of its incidents",
        resource=BULK_DECISION,
        verb="reject",
        permission=DECIDE,
        request=BulkDecisionRejection,
        example={"reason": "The disks are replaced at noon."},
        handler=_reject,
        done="How far it is",
        refusals=(_CANNOT_BULK,),
        form=Form(),
    ),
)
