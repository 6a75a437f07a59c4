"""Operations on problems."""

import re
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from errorkernel.domain.problem_state import Mute, ProblemError, ProblemState
from errorkernel.models import Problem
from errorkernel.platform.parameters import BadParameter, number
from errorkernel.store import problems
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.permissions import DECIDE
from errorkernel.web.console.problems import opened
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Refused, Resource
from errorkernel.web.schemas import items
from errorkernel.web.schemas.operations import (
    ProblemAssignment,
    ProblemMerge,
    ProblemMute,
    ProblemReason,
    ProblemText,
)

SPANS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
_NAMED = re.compile(r"(?:\S*/problems/(\d+)(?:[/?#]\S*)?|problem[ :](\d+))", re.ASCII)


def _show_refusal(refused: Refused) -> HttpResponse:
    """The page of the problem with the typed values in its form; a merged problem redirects to its target."""
    request, error = refused.request, refused.error
    if isinstance(error, IsPart):
        messages.warning(request, translated(error))
        return HttpResponseRedirect(reverse("problem", args=[error.whole]))
    problem = get_object_or_404(problems.unmerged(), pk=refused.key)
    verb, why, typed = refused.operation.verb, translated(error), request.POST
    comment, reason = typed.get("text", ""), typed.get("reason", "")
    if reason and verb not in _forms_shown(problem):
        # Another user was faster and the form is gone: the typed text is proposed as a comment.
        comment = reason
        why += " " + _("Your text is below, as a comment that is not sent yet.")
    shown = {"refused": verb, "notice": why, "typed": typed, "comment": comment}
    return render(request, "errorkernel/problem.html", opened(problem, refused.at) | shown, status=400)


def _forms_shown(problem: Problem) -> tuple[str, ...]:
    """The operations with a form for a reason on the page in the present state."""
    muted, resolved = problem.state == ProblemState.MUTED, problem.state == ProblemState.RESOLVED
    return "unmute" if muted else "mute", "reopen" if resolved else "resolve", "merge"


PROBLEM = Resource(
    address="problems",
    noun="problem",
    page="problem",
    item=items.ProblemItem,
    encode=items.problem,
    missing=Problem.DoesNotExist,
    refusals=(
        Refusal(
            error=ProblemError,
            codes=(
                "invalid_field",
                "time_in_past",
                "problem_merged",
                "not_muted",
                "already_resolved",
                "not_resolved",
                "unknown_user",
                "cannot_merge",
                "not_merged",
            ),
        ),
    ),
    show_refusal=_show_refusal,
)


MUTE_FIELD = "for"


def read_mute_end(given: QueryDict, actor: Actor) -> ProblemMute:
    """``for``: ``1h``, ``100`` (more events), ``release``, or empty: until a user ends it."""
    wanted, reason = given.get(MUTE_FIELD, ""), given.get("reason", "")
    if wanted in SPANS:
        return ProblemMute(until=actor.at + SPANS[wanted], reason=reason)
    if wanted == "release":
        return ProblemMute(another_release=True, reason=reason)
    return ProblemMute(more=number({"for": wanted}, "for"), reason=reason)


def _read_merge(given: QueryDict, actor: Actor) -> ProblemMerge:
    into = read_problem(given.get("into", "").strip() or given.get("alike", ""))
    if into is None:
        raise BadParameter(_("Enter the number of the problem to merge into."))
    return ProblemMerge(into=into, reason=given.get("reason", ""))


def read_problem(named: str) -> int | None:
    """``47``, ``problem 47``, ``problem:47``, or the address of its page; None for other texts. Raises BadParameter."""
    known = _NAMED.fullmatch(named.strip())
    return number({"into": (known[1] or known[2]) if known else named}, "into")


def _mute(key: int, given: ProblemMute, actor: Actor) -> Problem:
    return problems.mute(key, Mute(given.until, given.more, given.another_release), given.reason, actor)


def _assigned(done: Done) -> str:
    to = done.given.to
    return _("Assigned to %(name)s.") % {"name": to} if to else _("No longer assigned.")


def _merged(done: Done) -> str:
    return _("Problem %(part)s is merged into this one. Its new events are counted here.") % {"part": done.key}


def _operation(verb: str, summary: str, **particular: Any) -> Operation[Any]:
    return Operation(
        name=f"{verb}Problem", summary=summary, resource=PROBLEM, permission=DECIDE, verb=verb, **particular
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    _operation(
        "mute",
        "Hide a problem from the list for a time",
        request=ProblemMute,
        example={"more": 100, "reason": "It is known."},
        handler=_mute,
        form=Form(
            read=read_mute_end,
            fields=(MUTE_FIELD, "reason"),
            message=gettext_lazy(
                "The problem is muted. Its events are still counted and its incidents stay visible; it is "
                "left out of the lists."
            ),
        ),
    ),
    _operation(
        "unmute",
        "End a mute",
        request=ProblemReason,
        example={"reason": "There are too many."},
        handler=lambda key, given, actor: problems.unmute(key, given.reason, actor),
        form=Form(message=gettext_lazy("The problem is no longer muted.")),
    ),
    _operation(
        "resolve",
        "Mark a problem as resolved",
        request=ProblemReason,
        example={"reason": "The disk was replaced."},
        handler=lambda key, given, actor: problems.resolve(key, given.reason, actor),
        form=Form(message=gettext_lazy("The problem is resolved. Its next event reopens it.")),
    ),
    _operation(
        "reopen",
        "Open a resolved problem again",
        request=ProblemReason,
        example={"reason": "It was another disk."},
        handler=lambda key, given, actor: problems.reopen(key, given.reason, actor),
        form=Form(message=gettext_lazy("The problem is open again.")),
    ),
    _operation(
        "assign",
        "Assign a problem to somebody",
        request=ProblemAssignment,
        example={"to": None},
        handler=lambda key, given, actor: problems.assign(key, given.to or "", actor),
        form=Form(message=_assigned),
    ),
    _operation(
        "comment",
        "Comment on a problem",
        request=ProblemText,
        example={"text": "Look at the cable."},
        handler=lambda key, given, actor: problems.comment(key, given.text, actor).problem,
        form=Form(message=gettext_lazy("Your comment is saved.")),
    ),
    _operation(
        "merge",
        "Merge a problem into another",
        request=ProblemMerge,
        example={"into": 1, "reason": "One disk."},
        handler=lambda key, given, actor: problems.merge(key, given.into, given.reason, actor),
        done="The problem that it is part of now",
        form=Form(
            read=_read_merge,
            fields=("into", "alike", "reason"),
            message=_merged,
            after=lambda done: HttpResponseRedirect(reverse("problem", args=[done.result.pk])),
        ),
    ),
    _operation(
        "split",
        "Take a problem out of the other again",
        request=ProblemReason,
        example={"reason": "Two disks."},
        handler=lambda key, given, actor: problems.split(key, given.reason, actor),
        form=Form(message=gettext_lazy("The problem is separate again, with all its events.")),
    ),
)
