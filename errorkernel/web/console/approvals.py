"""The page of pending approvals: what a second person reads and presses."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from errorkernel.models import BulkDecision
from errorkernel.platform import conf
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import approvals as store
from errorkernel.store.status.approvals import Proposal
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import VIEW, needs


@needs(VIEW)
def approvals(request: HttpRequest) -> HttpResponse:
    """Proposals that can still be approved, and how the latest ones ended."""
    actor = actor_of(request)
    found = store.open_proposals(actor.at)
    context = {
        "section": "approvals",
        "proposals": [proposal_context(proposal, actor) for proposal in found],
        "ended": store.ended(),
        "two_above": conf.get().kill_needs_two_above,
    }
    return render(request, "errorkernel/approvals.html", context)


def proposal_context(proposal: Proposal, actor: Actor) -> dict[str, Any]:
    """Context of ``_approval.html``. ``may_approve``: the actor is not the proposer of one that needs two people."""
    bulk = proposal.bulk
    is_own = bulk_decisions.is_proposer(bulk, actor)
    return {
        "bulk": bulk,
        "proposal": proposal,
        "is_own": is_own,
        "may_approve": actor.at < bulk.expires_at and not (is_own and bulk.needs_approval),
        "is_expired": bulk.state != BulkDecision.State.PROPOSED or actor.at >= bulk.expires_at,
        "has_canary": bulk_decisions.has_canary(bulk),
        "watch_s": conf.get().canary_watch_s,
        "lasts_s": round((bulk.expires_at - bulk.proposed_at).total_seconds()),
        "left_s": max(0, round((bulk.expires_at - actor.at).total_seconds())),
        "rest": bulk.count - 1,
    }
