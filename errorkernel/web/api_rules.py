"""Rules over HTTP: to read, to write, to try. Errors name the field; what somebody else has changed is a 409."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from errorkernel.core import rules as policy
from errorkernel.core.rules import RuleAction, RuleError, Wording
from errorkernel.models import Rule
from errorkernel.store import rules as store
from errorkernel.store.rules import RuleChanged
from errorkernel.web import api_lists
from errorkernel.web.access import CHANGE_RULES
from errorkernel.web.api_access import ApiError, Operator, as_json, needs, not_allowed
from errorkernel.web.api_lists import rule_item
from errorkernel.web.dry_run import Tried, before, dry_run

T = TypeVar("T")
BODY_MAX_BYTES = 64 * 1024
DAYS_MAX = 3650


class _Written(msgspec.Struct):
    name: str
    condition: str
    action: RuleAction
    reason: str
    enabled: bool = False
    expires_at: datetime | None = None
    max_uses: int | None = None
    storm_limit: int = policy.STORM_LIMIT
    loop_limit: int = policy.LOOP_LIMIT
    also_waiting: bool = False
    revision: int = 0
    """Of the rule that is replaced; a new one has none."""

    def wording(self) -> Wording:
        given = msgspec.structs.asdict(self)
        return Wording(**{name: value for name, value in given.items() if name not in ("also_waiting", "revision")})


class _Act(msgspec.Struct):
    reason: str = ""
    also_waiting: bool = False
    steps: int = 0


class _Try(msgspec.Struct):
    condition: str
    days: float = 7
    rule: int | None = None
    """Rules before this one come first; without, all that speak."""
    start: int | None = None


@csrf_exempt
def rules(request: HttpRequest) -> HttpResponse:
    """GET: the list. POST: a new rule, 201."""
    if request.method in ("GET", "HEAD"):
        return api_lists.rules(request)
    return _add(request) if request.method == "POST" else not_allowed("GET", "HEAD", "POST")


@csrf_exempt
def rule(request: HttpRequest, rule_id: str) -> HttpResponse:
    """PUT: the rule written anew."""
    return _change(request, rule_id) if request.method == "PUT" else not_allowed("PUT")


@csrf_exempt
def dry(request: HttpRequest) -> HttpResponse:
    """POST: what a condition would have had the word on."""
    return _dry(request) if request.method == "POST" else not_allowed("POST")


def acting(name: str) -> Callable[[HttpRequest, str], HttpResponse]:
    """The address of one of ACTS: POST."""

    @csrf_exempt
    def view(request: HttpRequest, rule_id: str) -> HttpResponse:
        return _act(request, rule_id, name) if request.method == "POST" else not_allowed("POST")

    return view


@needs(CHANGE_RULES)
def _add(request: HttpRequest, operator: Operator) -> HttpResponse:
    given = _read(request, _Written)
    try:
        made = store.add(given.wording(), also_waiting=given.also_waiting, **_actor(operator))
    except RuleError as exc:
        raise _wrong(exc) from None
    return as_json(201, rule_item(made))


@needs(CHANGE_RULES)
def _change(request: HttpRequest, operator: Operator, rule_id: str) -> HttpResponse:
    given = _read(request, _Written)
    try:
        changed = store.change(
            _number(rule_id), given.revision, given.wording(), also_waiting=given.also_waiting, **_actor(operator)
        )
    except RuleError as exc:
        raise _wrong(exc) from None
    except RuleChanged as exc:
        raise ApiError(409, str(exc), revision=exc.rule.revision, author=exc.rule.author) from None
    except Rule.DoesNotExist:
        raise _unknown() from None
    return as_json(200, rule_item(changed))


@needs(CHANGE_RULES)
def _act(request: HttpRequest, operator: Operator, rule_id: str, name: str) -> HttpResponse:
    given = _read(request, _Act)
    reason = given.reason.replace("\0", "").strip()
    if name != "move" and not 1 <= len(reason) <= policy.REASON_MAX_CHARS:
        raise ApiError(400, f"This needs a reason of at most {policy.REASON_MAX_CHARS} characters.", field="reason")
    try:
        return as_json(200, rule_item(ACTS[name](_number(rule_id), reason, given, _actor(operator))))
    except Rule.DoesNotExist:
        raise _unknown() from None


ACTS: dict[str, Callable[[int, str, _Act, dict[str, Any]], Rule]] = {
    "move": lambda pk, reason, given, who: store.move(pk, given.steps, **who),
    "suspend": lambda pk, reason, given, who: store.suspend(pk, reason, **who),
    "resume": lambda pk, reason, given, who: store.resume(pk, reason, also_waiting=given.also_waiting, **who),
    "delete": lambda pk, reason, given, who: store.remove(pk, reason, **who),
}


@needs("errorkernel.view_rule")
def _dry(request: HttpRequest, operator: Operator) -> HttpResponse:
    given = _read(request, _Try)
    if not 0 < given.days <= DAYS_MAX:
        raise ApiError(400, f"days is more than 0 and at most {DAYS_MAX}.", field="days")
    now = timezone.now()
    try:
        condition = policy.parse_condition(given.condition)
    except RuleError as exc:
        raise _wrong(exc) from None
    place = Rule.objects.filter(pk=given.rule).first() if given.rule is not None else None
    since = now - timedelta(days=given.days)
    return as_json(200, _tried(dry_run(condition, before(place, now), since=since, start=given.start), now))


def _tried(found: Tried, now: datetime) -> dict[str, Any]:
    return {
        "looked_at": found.looked_at,
        "matched": found.matched,
        "taken": found.taken,
        "ended": found.ended,
        "items": [api_lists.incident_item(one) for one in found.shown],
        "since": found.since,
        "back_to": found.back_to,
        "done": round(found.done(now), 4),
        "next": found.next,
    }


def _read(request: HttpRequest, kind: type[T]) -> T:
    """The body as ``kind``. Raises ApiError (400, 413)."""
    try:
        body = request.body
    except RequestDataTooBig:
        raise ApiError(413, "The body is too large for a rule.") from None
    except UnreadablePostError:
        raise ApiError(400, "The body ended too early.") from None
    if len(body) > BODY_MAX_BYTES:
        raise ApiError(413, "The body is too large for a rule.")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
        raise ApiError(400, f"The body cannot be read: {exc}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise _unknown()
    return int(text)


def _actor(operator: Operator) -> dict[str, Any]:
    user = operator.user
    return {"actor": f"user:{user.get_username()}", "user": user, "origin": operator.origin, "now": timezone.now()}


def _unknown() -> ApiError:
    return ApiError(404, "There is no such rule.")


def _wrong(exc: RuleError) -> ApiError:
    where: dict[str, Any] = (
        {"field": exc.field} if exc.position is None else {"field": exc.field, "position": exc.position}
    )
    return ApiError(400, str(exc), **where)
