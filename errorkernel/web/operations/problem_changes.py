"""The same change of many problems at once: assign, mute, resolve, merge.

Each problem is changed in a transaction of its own with its own audit row. So one that cannot be changed stops no
other; the response names it with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from errorkernel.domain.problem_state import Mute, NoMergeTarget, PendingIncidents, ProblemError, UnknownProblem
from errorkernel.models import Problem
from errorkernel.platform.parameters import BadParameter, number
from errorkernel.store import facets, problems
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.permissions import DECIDE
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Refused, Resource
from errorkernel.web.operations.problems import MUTE_FIELD, read_mute_end
from errorkernel.web.schemas.operations import PROBLEMS_AT_ONCE, ProblemChange, ProblemChangeResult, ProblemChanges

FIELDS = ("problem", "action", "to", MUTE_FIELD, "into", "reason", "confirmed")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one problem. ``error``: why it is not changed, or None."""

    problem: int
    error: ProblemError | None = None


def change_all(key: None, given: ProblemChanges, actor: Actor) -> list[Change]:
    """Raises ProblemError, without any change, for a request that fits no problem."""
    change = _CHANGES[given.action](given, actor)
    found = set(Problem.objects.filter(pk__in=given.problems).values_list("pk", flat=True))
    done = []
    for problem in dict.fromkeys(given.problems):
        error: ProblemError | None = None
        try:
            if problem not in found:
                raise UnknownProblem(problem)
            change(problem)
        except ProblemError as exc:
            error = exc
        except Problem.DoesNotExist:  # removed meanwhile
            error = UnknownProblem(problem)
        done.append(Change(problem, error))
    return done


def _assign(given: ProblemChanges, actor: Actor) -> Callable[[int], object]:
    problems.assignee_of(given.to or "")
    return lambda problem: problems.assign(problem, given.to or "", actor)


def _mute(given: ProblemChanges, actor: Actor) -> Callable[[int], object]:
    wanted = Mute(given.until, given.more, given.another_release)
    wanted.check(actor.at)
    return lambda problem: problems.mute(problem, wanted, given.reason, actor)


def _resolve(given: ProblemChanges, actor: Actor) -> Callable[[int], object]:
    if not given.confirmed:
        pending = facets.pending_by_problem()
        blocked = [pending[problem] for problem in set(given.problems) if problem in pending]
        if blocked:
            raise PendingIncidents(sum(blocked), len(blocked))
    return lambda problem: problems.resolve(problem, given.reason, actor)


def _merge(given: ProblemChanges, actor: Actor) -> Callable[[int], object]:
    into = given.into
    if into is None or not set(given.problems) - {into}:
        raise NoMergeTarget
    given.problems = [problem for problem in given.problems if problem != into]
    return lambda problem: problems.merge(problem, into, given.reason, actor)


_CHANGES = {"assign": _assign, "mute": _mute, "resolve": _resolve, "merge": _merge}


def _read(given: QueryDict, actor: Actor) -> ProblemChanges:
    """Raises BadParameter."""
    chosen = [number({"problem": text}, "problem") for text in given.getlist("problem")[:PROBLEMS_AT_ONCE]]
    keys = [key for key in chosen if key is not None]
    if not keys:
        raise BadParameter(_("Select at least one problem."))
    action = given.get("action", "")
    if action not in _CHANGES:
        raise BadParameter(_("Choose what to do with the selected problems."))
    wanted = read_mute_end(given, actor) if action == "mute" else None
    return ProblemChanges(
        problems=keys,
        action=action,  # type: ignore[arg-type]
        to=given.get("to") or None,
        until=wanted.until if wanted else None,
        more=wanted.more if wanted else None,
        another_release=bool(wanted and wanted.another_release),
        into=number(given, "into"),
        confirmed=given.get("confirmed") == "on",
        reason=given.get("reason", ""),
    )


def _show_refusal(refused: Refused) -> HttpResponse:
    """The page that asks for what is missing: the target of a merge, or that pending incidents are known."""
    request = refused.request
    keys = [
        int(text) for text in request.POST.getlist("problem") if text.isascii() and text.isdigit() and len(text) < 19
    ]
    shown = problems.unmerged().filter(pk__in=keys[:PROBLEMS_AT_ONCE]).order_by("-last_seen")
    context = {
        "section": "problems",
        "why": translated(refused.error),
        "action": request.POST.get("action", ""),
        "problems": shown,
        "reason": request.POST.get("reason", ""),
        "return_to": request.POST.get("next", ""),
        "can_confirm": isinstance(refused.error, PendingIncidents),
    }
    return render(request, "errorkernel/problem_changes.html", context, status=refused.status)


def _message(done: Done) -> str:
    changed = [result for result in done.result if result.error is None]
    refused = [result for result in done.result if result.error is not None]
    names = {
        "assign": ngettext("%(count)s problem is assigned.", "%(count)s problems are assigned.", len(changed)),
        "mute": ngettext("%(count)s problem is muted.", "%(count)s problems are muted.", len(changed)),
        "resolve": ngettext("%(count)s problem is resolved.", "%(count)s problems are resolved.", len(changed)),
        "merge": ngettext("%(count)s problem is merged.", "%(count)s problems are merged.", len(changed)),
    }
    message = names[done.given.action] % {"count": len(changed)}
    for result in refused[:3]:
        why = translated(result.error)
        message += " " + _("Problem %(number)s is unchanged: %(why)s") % {"number": result.problem, "why": why}
    if refused[3:]:
        more = ngettext("%(count)s more is unchanged.", "%(count)s more are unchanged.", len(refused[3:]))
        message += " " + more % {"count": len(refused[3:])}
    return message


def _to_list(done: Done) -> HttpResponse:
    """The list as it was: ``next`` is its search."""
    query = done.request.POST.get("next", "")
    return HttpResponseRedirect(reverse("problems") + (query if query.startswith("?") else ""))


def _encode(done: list[Change]) -> ProblemChangeResult:
    return ProblemChangeResult(
        [
            ProblemChange(change.problem, change.error.code, str(change.error))
            if change.error
            else ProblemChange(change.problem)
            for change in done
        ]
    )


PROBLEMS = Resource(
    address="problems",
    noun="problem",
    page="problems",
    has_item_page=False,
    item=ProblemChangeResult,
    encode=_encode,
    missing=Problem.DoesNotExist,
    refusals=(
        Refusal(error=PendingIncidents, codes=("pending_incidents",)),
        Refusal(error=ProblemError, codes=("invalid_field", "time_in_past", "unknown_user")),
    ),
    show_refusal=_show_refusal,
)
OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="changeProblems",
        summary="Assign, mute, resolve or merge many problems",
        resource=PROBLEMS,
        permission=DECIDE,
        verb="change-many",
        audit_verb="<action>",
        request=ProblemChanges,
        example={"problems": [42, 43], "action": "resolve", "reason": "The disk was replaced."},
        has_key=False,
        handler=change_all,
        done="The problems, and why some are unchanged",
        form=Form(read=_read, fields=FIELDS, message=_message, after=_to_list),
    ),
)
