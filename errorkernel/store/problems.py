"""The only place where people change a problem. Each change is one transaction: the row, and the audit row.

Every change locks the counter of events, as the intake does. So a mute, resolution or merge applies from an exact event
on, and no batch is stored in between.

A merge moves no rows: the part refers to its target, whose totals include the part's, and lists read both. So a split
is exact at any time, except for the level: the target keeps the highest level of the merged time.
"""

from collections.abc import Callable

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, Min, QuerySet

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.problem_state import (
    STATE_WORDS,
    TEXT_MAX_CHARS,
    ActiveMute,
    Mute,
    ProblemError,
    ProblemState,
    validated_text,
)
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import AuditEntry, Comment, Counter, ErrorEvent, ErrorState, Problem
from errorkernel.store import ingest_sql
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.problem_maintenance import put

RELEASES_READ = 1000
"""The releases of this many latest events are read when a problem is muted until another release."""
_DECIDE_PERMISSION = "errorkernel.decide_incident"


class IsPart(ProblemError):
    """The problem is merged into ``whole``, which must be changed instead."""

    def __init__(self, whole: int) -> None:
        super().__init__(
            _("The problem is merged into problem {number}. Use that problem.", number=str(whole)),
            code="problem_merged",
        )
        self.whole = whole


def unmerged() -> QuerySet[Problem]:
    """The problems that are not merged into another."""
    return Problem.objects.filter(merged_into__isnull=True)


def members(problem_id: int) -> list[int]:
    """The problem and those merged into it, whose events, states and incidents count as its own."""
    return [problem_id, *Problem.objects.filter(merged_into=problem_id).order_by("pk").values_list("pk", flat=True)]


def together(problem: Problem) -> list[int]:
    """All problems that are merged with ``problem``, itself included, whether it is the target or a part."""
    return members(problem.merged_into_id or problem.pk)


def deciders() -> QuerySet[User]:
    """The people that a problem can be assigned to: those with the permission to decide."""
    found = get_user_model().objects.with_perm(_DECIDE_PERMISSION)
    return found.order_by("username")


def mute(problem_id: int, wanted: Mute, reason: str, actor: Actor) -> Problem:
    """Take it out of the default lists until ``wanted`` ends. Raises ProblemError or Problem.DoesNotExist."""
    wanted.check(actor.at)

    def write(problem: Problem, reason: str) -> AuditEntry:
        muted = ActiveMute(
            wanted.until,
            problem.count + wanted.more if wanted.more is not None else None,
            _releases(problem) if wanted.another_release else None,
        )
        return put(problem, ProblemState.MUTED, reason, action="mute", mute=muted, actor=actor)

    return _change(problem_id, reason, write)


def unmute(problem_id: int, reason: str, actor: Actor) -> Problem:
    """Show it in the lists again. Raises ProblemError or Problem.DoesNotExist."""

    def write(problem: Problem, reason: str) -> AuditEntry:
        if problem.state != ProblemState.MUTED:
            raise ProblemError(
                _("The problem is not muted; its state is {state}.", state=STATE_WORDS[ProblemState(problem.state)]),
                code="not_muted",
            )
        return put(problem, ProblemState.OPEN, reason, action="unmute", actor=actor)

    return _change(problem_id, reason, write)


def resolve(problem_id: int, reason: str, actor: Actor) -> Problem:
    """Mark it as corrected; its next event reopens it. Raises ProblemError or Problem.DoesNotExist."""

    def write(problem: Problem, reason: str) -> AuditEntry:
        if problem.state == ProblemState.RESOLVED:
            raise ProblemError(_("The problem is already resolved."), code="already_resolved")
        return put(problem, ProblemState.RESOLVED, reason, action="resolve", actor=actor)

    return _change(problem_id, reason, write)


def reopen(problem_id: int, reason: str, actor: Actor) -> Problem:
    """Undo a resolution. Raises ProblemError or Problem.DoesNotExist."""

    def write(problem: Problem, reason: str) -> AuditEntry:
        if problem.state != ProblemState.RESOLVED:
            raise ProblemError(
                _("The problem is not resolved; its state is {state}.", state=STATE_WORDS[ProblemState(problem.state)]),
                code="not_resolved",
            )
        return put(problem, ProblemState.REOPENED, reason, action="reopen", actor=actor)

    return _change(problem_id, reason, write)


def assignee_of(name: str) -> User | None:
    """The person with this name and the permission to decide; None without a name. Raises ProblemError."""
    found = deciders().filter(username=name).first() if name and "\0" not in name else None
    if name and found is None:
        raise ProblemError(
            _("There is no user “{name}” with the permission to decide.", name=name[:150]), "to", code="unknown_user"
        )
    return found


def assign(problem_id: int, to: str, actor: Actor) -> Problem:
    """Assign it to a person with the permission to decide; empty: to nobody. Raises ProblemError or
    Problem.DoesNotExist."""
    assignee = assignee_of(to)

    def write(problem: Problem, reason: str) -> AuditEntry:
        before = {"assignee": problem.assignee.get_username() if problem.assignee else None}
        problem.assignee = assignee
        problem.save(update_fields=["assignee"])
        after = {"assignee": to or None}
        return audit.entry(action="assign", target=f"problem:{problem.pk}", before=before, after=after, actor=actor)

    return _change(problem_id, "", write)


def comment(problem_id: int, text: str, actor: Actor) -> Comment:
    """Add a comment. Raises ProblemError or Problem.DoesNotExist."""
    text = validated_text(text, "text", TEXT_MAX_CHARS)
    if not text:
        raise ProblemError(_("A comment needs a text."), "text")
    made = Comment(user_id=actor.user_id, author=actor.id, text=text, at=actor.at)

    def write(problem: Problem, reason: str) -> AuditEntry:
        made.problem = problem
        made.save()
        after = {"comment": made.pk, "text": text}
        return audit.entry(action="comment", target=f"problem:{problem.pk}", before={}, after=after, actor=actor)

    _change(problem_id, "", write)
    return made


def merge(problem_id: int, into: int, reason: str, actor: Actor) -> Problem:
    """Merge it, with its parts, into ``into``, which is returned. Raises ProblemError or Problem.DoesNotExist."""
    if problem_id == into:
        raise ProblemError(_("A problem cannot be merged into itself."), "into", code="cannot_merge")

    def write(part: Problem, reason: str) -> AuditEntry:
        whole = Problem.objects.select_for_update().filter(pk=into).first()
        if whole is None:
            raise ProblemError(_("There is no problem {number}.", number=str(into)), "into", code="cannot_merge")
        if whole.merged_into_id is not None:
            raise ProblemError(
                _(
                    "Problem {number} is itself merged into problem {whole}.",
                    number=str(into),
                    whole=str(whole.merged_into_id),
                ),
                "into",
                code="cannot_merge",
            )
        before = {"count": whole.count}
        _add(whole, part.count)
        if LEVEL_RANK[part.level] > LEVEL_RANK[whole.level]:
            whole.level, whole.level_rank = part.level, part.level_rank
        part.count -= sum(part.parts.values_list("count", flat=True))
        part.parts.update(merged_into=whole)
        part.merged_into = whole
        _save(part, whole)
        after = {"merged_into": whole.pk, "count": whole.count}
        return audit.entry(
            action="merge", target=f"problem:{part.pk}", reason=reason, before=before, after=after, actor=actor
        )

    return _change(problem_id, reason, write).merged_into or Problem.objects.get(pk=into)


def split(problem_id: int, reason: str, actor: Actor) -> Problem:
    """Undo the merge of a part, which takes all events of its own fingerprint with it and is open then. Raises
    ProblemError or Problem.DoesNotExist."""
    reason = validated_text(reason, "reason", REASON_MAX_CHARS)
    with transaction.atomic():
        counters.lock(Counter.EVENTS)
        part = Problem.objects.select_for_update().get(pk=problem_id)
        if part.merged_into_id is None:
            raise ProblemError(_("The problem is not merged into another problem."), code="not_merged")
        whole = Problem.objects.select_for_update().get(pk=part.merged_into_id)
        before = {"merged_into": whole.pk, "count": whole.count}
        _add(whole, -part.count)
        part.merged_into = None
        _save(part, whole)
        entry = put(part, ProblemState.OPEN, reason, action="split", actor=actor)
        entry.before |= before
        entry.after |= {"merged_into": None}
        audit.record(entry)
    return part


def _change(problem_id: int, reason: str, write: Callable[[Problem, str], AuditEntry]) -> Problem:
    reason = validated_text(reason, "reason", REASON_MAX_CHARS)
    with transaction.atomic():
        counters.lock(Counter.EVENTS)
        problem = Problem.objects.select_for_update().get(pk=problem_id)
        if problem.merged_into_id is not None:
            raise IsPart(problem.merged_into_id)
        audit.record(write(problem, reason))
    return problem


def _add(whole: Problem, count: int) -> None:
    """Change the total by ``count`` merged or split events: they end no mute and do not count since the resolution."""
    whole.count += count
    if whole.muted_until_count is not None:
        whole.muted_until_count += count
    if whole.resolved_count is not None:
        whole.resolved_count += count


def _save(*problems: Problem) -> None:
    for problem in problems:
        problem.save(
            update_fields=["count", "level", "level_rank", "muted_until_count", "resolved_count", "merged_into"]
        )
    for problem in problems:
        states = ErrorState.objects.filter(problem__in=members(problem.pk)).order_by()
        seen = states.aggregate(first=Min("first_seen"), last=Max("last_seen"))
        if seen["first"]:
            problem.first_seen, problem.last_seen = seen["first"], seen["last"]
            problem.save(update_fields=["first_seen", "last_seen"])
    ingest_sql.count_problem_nodes(problem.pk for problem in problems)


def _releases(problem: Problem) -> list[str]:
    found = set()
    for member in members(problem.pk):  # one by one: each reads the end of its index
        latest = ErrorEvent.objects.filter(problem=member).order_by("-seq").values_list("release", flat=True)
        found |= {release for release in latest[:RELEASES_READ] if release}
    return sorted(found)
