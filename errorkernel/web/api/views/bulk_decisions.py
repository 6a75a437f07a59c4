"""One answer to many questions over HTTP: proposed, confirmed, followed. What cannot be done now is a 409."""

from collections.abc import Callable

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.query.predicate import QueryError
from errorkernel.models import BulkDecision
from errorkernel.store.incidents.bulk_decisions import CannotBulk
from errorkernel.store.platform.actor import Actor
from errorkernel.web.api.authentication import ApiError, as_json, needs, not_allowed, read_body
from errorkernel.web.api.schemas import operations
from errorkernel.web.api.schemas.operations import BadRule, ManyAnswer
from errorkernel.web.api.views import lists
from errorkernel.web.auth.permissions import ANSWER, VIEW
from errorkernel.web.console.bulk_decisions import ACTS, propose

_proposals = msgspec.json.Decoder(ManyAnswer)


@csrf_exempt
def answers(request: HttpRequest) -> HttpResponse:
    """GET: the list. POST: a proposal, 201."""
    if request.method in ("GET", "HEAD"):
        return lists.answers(request)
    return _propose(request) if request.method == "POST" else not_allowed("GET", "HEAD", "POST")


@csrf_exempt
def answer(request: HttpRequest, number: str) -> HttpResponse:
    """GET: one of them, with how far it is."""
    return _one(request, number) if request.method in ("GET", "HEAD") else not_allowed("GET", "HEAD")


def acting(act: str) -> Callable[[HttpRequest, str], HttpResponse]:
    """The address of one of ACTS: POST, without a body."""

    @csrf_exempt
    def view(request: HttpRequest, number: str) -> HttpResponse:
        return _act(request, number, act) if request.method == "POST" else not_allowed("POST")

    return view


@needs(VIEW)
def _one(request: HttpRequest, actor: Actor, number: str) -> HttpResponse:
    return as_json(200, operations.answer_to_many(_found(number), timezone.now()))


@needs(ANSWER)
def _propose(request: HttpRequest, actor: Actor) -> HttpResponse:
    given = read_body(request, _proposals, "an action, a condition and a reason")
    reason = given.reason.replace("\0", "").strip()
    if not reason or len(given.reason) > REASON_MAX_CHARS:
        raise ApiError(400, BadRule(f"This needs a reason of at most {REASON_MAX_CHARS} characters.", "reason"))
    try:
        made = propose(given.condition, given.action, reason, actor, first=given.first)
    except QueryError as exc:
        raise ApiError(400, BadRule(str(exc), "condition", exc.position)) from None
    except CannotBulk as exc:
        raise ApiError(409, str(exc)) from None
    return as_json(201, operations.answer_to_many(made, timezone.now()))


@needs(ANSWER)
def _act(request: HttpRequest, actor: Actor, number: str, act: str) -> HttpResponse:
    try:
        done = ACTS[act](_found(number).pk, actor)
    except CannotBulk as exc:
        raise ApiError(409, str(exc)) from None
    return as_json(200, operations.answer_to_many(done, timezone.now()))


def _found(number: str) -> BulkDecision:
    known = number.isascii() and number.isdigit() and len(number) <= 18
    found = BulkDecision.objects.filter(pk=int(number)).first() if known else None
    if found is None:
        raise ApiError(404, "There is no such answer to many.")
    return found
