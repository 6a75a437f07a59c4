"""Rules over HTTP: to read, to write, to try. Errors name the field; what somebody else has changed is a 409."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from errorkernel.domain import rule_policy as policy
from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.rule_policy import RuleDefinition, RuleError
from errorkernel.models import ErrorEvent, Rule
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes as store
from errorkernel.store.rules.changes import NotSuspended, RuleChanged, TooManyAtOnce
from errorkernel.web.api.authentication import ApiError, as_json, needs, not_allowed, read_body
from errorkernel.web.api.schemas import items as shapes_listed
from errorkernel.web.api.schemas import operations
from errorkernel.web.api.schemas.common import of_row
from errorkernel.web.api.schemas.operations import (
    DAYS_MAX,
    BadRule,
    DryRun,
    RuleAct,
    RuleHasChanged,
    RuleMove,
    RuleWording,
)
from errorkernel.web.api.views import lists
from errorkernel.web.auth.permissions import CHANGE_RULES
from errorkernel.web.console.bulk_decisions import two_above
from errorkernel.web.console.dry_run import Tried, before, dry_run

_wordings = msgspec.json.Decoder(RuleWording)
_moves = msgspec.json.Decoder(RuleMove)
_acts = msgspec.json.Decoder(RuleAct)
_dry_runs = msgspec.json.Decoder(DryRun)


@csrf_exempt
def rules(request: HttpRequest) -> HttpResponse:
    """GET: the list. POST: a new rule, 201."""
    if request.method in ("GET", "HEAD"):
        return lists.rules(request)
    return _add(request) if request.method == "POST" else not_allowed("GET", "HEAD", "POST")


@csrf_exempt
def rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """PUT: the rule written anew."""
    return _change(request, rule_id) if request.method == "PUT" else not_allowed("PUT")


@csrf_exempt
def dry(request: HttpRequest) -> HttpResponse:
    """POST: what a condition would have decided."""
    return _dry(request) if request.method == "POST" else not_allowed("POST")


def acting(name: str) -> Callable[[HttpRequest, str], HttpResponse]:
    """The address of one of ACTS: POST, with a reason."""

    @csrf_exempt
    def view(request: HttpRequest, rule_id: str) -> HttpResponse:
        return _act(request, rule_id, name) if request.method == "POST" else not_allowed("POST")

    return view


@csrf_exempt
def move(request: HttpRequest, rule_id: str) -> HttpResponse:
    """POST: so many places down, or up."""
    return _move(request, rule_id) if request.method == "POST" else not_allowed("POST")


@needs(CHANGE_RULES)
def _add(request: HttpRequest, actor: Actor) -> HttpResponse:
    given = read_body(request, _wordings, "a rule")
    try:
        made = store.add(_wording(given), actor, also_waiting=given.also_waiting, two_above=two_above())
    except RuleError as exc:
        raise _wrong(exc) from None
    return as_json(201, shapes_listed.rule(made))


@needs(CHANGE_RULES)
def _change(request: HttpRequest, actor: Actor, rule_id: str) -> HttpResponse:
    given = read_body(request, _wordings, "a rule")
    try:
        changed = store.change(
            _number(rule_id), given.revision, _wording(given), actor,
            also_waiting=given.also_waiting, two_above=two_above(),
        )  # fmt: skip
    except RuleError as exc:
        raise _wrong(exc) from None
    except RuleChanged as exc:
        raise ApiError(409, RuleHasChanged(str(exc), exc.rule.revision, exc.rule.author)) from None
    except Rule.DoesNotExist:
        raise _unknown() from None
    return as_json(200, shapes_listed.rule(changed))


@needs(CHANGE_RULES)
def _act(request: HttpRequest, actor: Actor, rule_id: str, name: str) -> HttpResponse:
    given = read_body(request, _acts, "a reason", empty=RuleAct())
    reason = given.reason.replace("\0", "").strip()
    if not reason or len(given.reason) > REASON_MAX_CHARS:
        told = f"This needs a reason of at most {REASON_MAX_CHARS} characters."
        raise ApiError(400, BadRule(told, "reason"))
    try:
        return as_json(200, shapes_listed.rule(ACTS[name](_number(rule_id), reason, given, actor)))
    except NotSuspended as exc:
        raise ApiError(409, BadRule(str(exc))) from None
    except TooManyAtOnce as exc:
        raise _wrong(exc) from None
    except Rule.DoesNotExist:
        raise _unknown() from None


def _resume(rule_id: int, reason: str, given: RuleAct, actor: Actor) -> Rule:
    return store.resume(rule_id, reason, actor, also_waiting=given.also_waiting, two_above=two_above())


ACTS: dict[str, Callable[[int, str, RuleAct, Actor], Rule]] = {
    "suspend": lambda pk, reason, given, actor: store.suspend(pk, reason, actor),
    "resume": _resume,
    "delete": lambda pk, reason, given, actor: store.remove(pk, reason, actor),
}


@needs(CHANGE_RULES)
def _move(request: HttpRequest, actor: Actor, rule_id: str) -> HttpResponse:
    given = read_body(request, _moves, "steps")
    try:
        return as_json(200, shapes_listed.rule(store.move(_number(rule_id), given.steps, actor=actor)))
    except Rule.DoesNotExist:
        raise _unknown() from None


@needs("errorkernel.view_rule")
def _dry(request: HttpRequest, actor: Actor) -> HttpResponse:
    given = read_body(request, _dry_runs, "a condition")
    if not 0 < given.days <= DAYS_MAX:
        raise ApiError(400, BadRule(f"days is more than 0 and at most {DAYS_MAX}.", "days"))
    now = timezone.now()
    try:
        condition = policy.parse_condition(given.condition)
    except RuleError as exc:
        raise _wrong(exc) from None
    place = Rule.objects.filter(pk=given.rule).first() if given.rule is not None else None
    since = now - timedelta(days=given.days)
    return as_json(200, _tried(dry_run(condition, before(place, now), since=since, start=given.start), now))


def _tried(found: Tried, now: datetime) -> operations.Tried:
    events = ErrorEvent.objects.filter(seq__in=[one.seq for one in found.shown])
    cut = dict(events.values_list("seq", "cut"))
    items = [shapes_listed.incident(one, cut.get(one.seq)) for one in found.shown]
    return of_row(operations.Tried, found, items=items, done=round(found.done(now), 4))


def _wording(given: RuleWording) -> RuleDefinition:
    fields = msgspec.structs.asdict(given)
    return RuleDefinition(**{name: value for name, value in fields.items() if name not in ("also_waiting", "revision")})


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _unknown()
    return int(text)


def _unknown() -> ApiError:
    return ApiError(404, "There is no such rule.")


def _wrong(exc: RuleError) -> ApiError:
    return ApiError(409 if isinstance(exc, TooManyAtOnce) else 400, BadRule(str(exc), exc.field, exc.position))
