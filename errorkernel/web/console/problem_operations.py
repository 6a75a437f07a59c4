"""What a person does with a problem on its page: forms that work without script, each one act, one audit row."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from errorkernel.domain.problem_state import Mute, ProblemError, ProblemState
from errorkernel.models import Problem
from errorkernel.platform.parameters import LARGEST, BadParameter, number
from errorkernel.store import problems as store
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problems import IsPart
from errorkernel.templatetags.sentences import said
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ANSWER, needs
from errorkernel.web.console.problems import opened

SPANS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
WITH_REASON = ("mute", "unmute", "resolve", "reopen", "merge")
"""Acts whose forms take a reason."""
_NAMED = re.compile(r"(?:\S*/problems/(\d+)(?:[/?#]\S*)?|problem[ :](\d+))", re.ASCII)


@require_http_methods(["GET", "POST"])
@needs(ANSWER)
def act(request: HttpRequest, problem_id: int, act: str) -> HttpResponse:
    """One of ACTS, then back to the page. 400: it cannot be; 404: there is no such problem or act."""
    if request.method == "GET":  # somebody went to the address of a page that said no
        return HttpResponseRedirect(reverse("problem", args=[problem_id]))
    if act not in ACTS:
        raise Http404
    actor = actor_of(request)
    try:
        told, shown = ACTS[act](min(problem_id, LARGEST), request.POST, actor)
    except Problem.DoesNotExist:
        raise Http404 from None
    except IsPart as exc:
        messages.warning(request, said(exc))
        return HttpResponseRedirect(reverse("problem", args=[exc.whole]))
    except (ProblemError, BadParameter) as exc:
        found = get_object_or_404(store.wholes(), pk=min(problem_id, LARGEST))
        context = opened(found, actor.at) | _refused(act, said(exc), request.POST, found)
        return render(request, "errorkernel/problem.html", context, status=400)
    messages.success(request, told)
    return HttpResponseRedirect(reverse("problem", args=[shown]))


def _refused(act: str, why: str, given: QueryDict, problem: Problem) -> dict[str, Any]:
    """What the page says of an act that could not be, with what was typed still in its form."""
    comment, reason = given.get("text", ""), given.get("reason", "")
    if act in WITH_REASON and act not in _offered(problem) and reason:
        # Somebody was quicker, and the form is gone: what was written may help the next one all the same.
        comment = reason
        why += " " + _("What you wrote stands below as a comment that is not sent yet.")
    return {"refused": act, "notice": why, "typed": given, "comment": comment}


def _offered(problem: Problem) -> tuple[str, ...]:
    """The acts whose forms with a reason are on the page of the problem as it is."""
    muted, resolved = problem.state == ProblemState.MUTED, problem.state == ProblemState.RESOLVED
    return "unmute" if muted else "mute", "reopen" if resolved else "resolve", "merge"


def _mute(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.mute(problem_id, read_mute(given.get("for", ""), actor.at), given.get("reason", ""), actor)
    return _("It is muted: still counted, and its questions wait as before, but no longer in the list."), problem_id


def read_mute(wanted: str, now: datetime) -> Mute:
    """``1h``, ``100`` (more events), ``release``, or nothing: until somebody ends it. Raises BadParameter."""
    if wanted in SPANS:
        return Mute(until=now + SPANS[wanted])
    if wanted == "release":
        return Mute(another_release=True)
    return Mute(more=number({"for": wanted}, "for"))


def _unmute(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.unmute(problem_id, given.get("reason", ""), actor)
    return _("It is no longer muted."), problem_id


def _resolve(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.resolve(problem_id, given.get("reason", ""), actor)
    return _("It is resolved. The next event of it opens it again."), problem_id


def _reopen(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.reopen(problem_id, given.get("reason", ""), actor)
    return _("It is open again."), problem_id


def _assign(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    to = given.get("to", "")
    store.assign(problem_id, to, actor)
    return (_("It is assigned to %(name)s.") % {"name": to} if to else _("It is assigned to nobody.")), problem_id


def _comment(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.comment(problem_id, given.get("text", ""), actor)
    return _("Your comment is kept."), problem_id


def read_problem(named: str) -> int | None:
    """``47``, ``problem 47``, ``problem:47``, or the address of its page; None: none is named. Raises BadParameter."""
    known = _NAMED.fullmatch(named.strip())
    return number({"into": (known[1] or known[2]) if known else named}, "into")


def _merge(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    into = read_problem(given.get("into", "").strip() or given.get("alike", ""))
    if into is None:
        raise BadParameter(_("Say the number of the problem that it is to be part of."))
    whole = store.merge(problem_id, into, given.get("reason", ""), actor)
    told = _("Problem %(part)s is part of this one now; what comes of it is counted here.") % {"part": problem_id}
    return told, whole.pk


def _split(problem_id: int, given: QueryDict, actor: Actor) -> tuple[str, int]:
    store.split(problem_id, given.get("reason", ""), actor)
    return _("It stands for itself again, with all its events."), problem_id


ACTS: dict[str, Callable[[int, QueryDict, Actor], tuple[str, int]]] = {
    "mute": _mute,
    "unmute": _unmute,
    "resolve": _resolve,
    "reopen": _reopen,
    "assign": _assign,
    "comment": _comment,
    "merge": _merge,
    "split": _split,
}
