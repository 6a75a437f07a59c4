"""What is done with problems over HTTP: each act a POST, answered with the problem as the list shows it."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from errorkernel.domain.problem_state import Mute, ProblemError
from errorkernel.models import Problem
from errorkernel.store import problems as store
from errorkernel.store.platform.actor import Actor
from errorkernel.web.api.authentication import ApiError, as_json, needs, not_allowed, read_body
from errorkernel.web.api.schemas import common, items, operations
from errorkernel.web.auth.permissions import ANSWER

_TEXTS = frozenset({"reason", "text"})


def acting(name: str) -> Callable[[HttpRequest, int], HttpResponse]:
    """The address of one of ACTS."""

    @csrf_exempt
    def view(request: HttpRequest, problem_id: int) -> HttpResponse:
        return _act(request, problem_id, name) if request.method == "POST" else not_allowed("POST")

    return view


@needs(ANSWER)
def _act(request: HttpRequest, actor: Actor, problem_id: int, name: str) -> HttpResponse:
    shape, do = ACTS[name]
    given = read_body(request, msgspec.json.Decoder(shape), "what is to be done")
    try:
        if not 0 <= problem_id <= common.WHOLE_MAX:
            raise Problem.DoesNotExist
        changed = do(problem_id, given, actor)
    except Problem.DoesNotExist:
        raise ApiError(404, "There is no such problem.") from None
    except ProblemError as exc:
        raise ApiError(400 if exc.field in _TEXTS else 409, str(exc)) from None
    return as_json(200, items.problem(changed))


def _mute(pk: int, given: operations.ProblemMute, actor: Actor) -> Problem:
    return store.mute(pk, Mute(given.until, given.more, given.another_release), given.reason, actor)


def _merge(pk: int, given: operations.ProblemMerge, actor: Actor) -> Problem:
    return store.merge(pk, given.into, given.reason, actor)


def _comment(pk: int, given: operations.ProblemRemark, actor: Actor) -> Problem:
    return store.comment(pk, given.text, actor).problem


ACTS: dict[str, tuple[type[msgspec.Struct], Callable[[int, Any, Actor], Problem]]] = {
    "mute": (operations.ProblemMute, _mute),
    "unmute": (operations.ProblemAct, lambda pk, given, actor: store.unmute(pk, given.reason, actor)),
    "resolve": (operations.ProblemAct, lambda pk, given, actor: store.resolve(pk, given.reason, actor)),
    "reopen": (operations.ProblemAct, lambda pk, given, actor: store.reopen(pk, given.reason, actor)),
    "assign": (operations.ProblemAssignment, lambda pk, given, actor: store.assign(pk, given.to or "", actor)),
    "comment": (operations.ProblemRemark, _comment),
    "merge": (operations.ProblemMerge, _merge),
    "split": (operations.ProblemAct, lambda pk, given, actor: store.split(pk, given.reason, actor)),
}
