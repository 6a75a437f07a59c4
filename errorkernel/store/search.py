"""Translates a query tree (``errorkernel.domain.query``) into a condition on stored rows."""

from datetime import UTC, datetime
from typing import Any, assert_never

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, BooleanField, Count, F, Func, Q, QuerySet, TextField, Value
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce
from django.db.models.lookups import In
from django.db.models.sql.compiler import SQLCompiler

from errorkernel.domain.incident_state import State
from errorkernel.domain.problem_state import LISTED, ProblemState
from errorkernel.domain.query.fields import TAG
from errorkernel.domain.query.predicate import COMPARISONS, fold, matcher
from errorkernel.domain.query.tree import And, Compare, Identity, Not, OfType, Or, Text, Time, Tree, spread
from errorkernel.domain.values import LEVEL_RANK
from errorkernel.models import ErrorState, Incident, Node, Problem, Process

RELEASES_KNOWN = 200
"""So many different releases are looked at, at most, before a search for one."""
# The next larger release each time: the index has one entry per event.
_KNOWN_RELEASES = (
    "WITH RECURSIVE known(release) AS (SELECT MIN(release) FROM errorkernel_errorevent WHERE release > ''"
    " UNION ALL SELECT (SELECT MIN(e.release) FROM errorkernel_errorevent e WHERE e.release > known.release)"
    " FROM known WHERE known.release IS NOT NULL)"
    " SELECT release FROM known WHERE release IS NOT NULL LIMIT %s"
)


class Like(Func):
    """``text LIKE pattern`` with A–Z in either case and nothing else folded, the same on SQLite and PostgreSQL.

    Django's ``icontains`` and similar lookups fold by the database's own rules and support no pattern with two stars.
    """

    template = "(%(expressions)s ESCAPE '\\')"
    arg_joiner = " LIKE "
    arity = 2
    output_field = BooleanField()

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        text, pattern = self.source_expressions
        # lower() with the collation "C" folds ASCII only; the pattern is folded already.
        plain = Func(text, template='LOWER(%(expressions)s COLLATE "C")', output_field=TextField())
        return Like(plain, pattern).as_sql(compiler, connection, **context)


class TagText(Func):
    """The value of the tag ``name`` of an event; NULL without one. Django's own lookup takes a name of digits for the
    place in a list."""

    arity = 2
    output_field = TextField()

    def __init__(self, name: str) -> None:
        super().__init__(F("tags"), Value(name))
        self.name = name

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        tags, _ = self.source_expressions
        path = Value(f'$."{self.name}"')  # the syntax of searches allows no quotes in a name
        return Func(tags, path, function="JSON_EXTRACT", output_field=TextField()).as_sql(compiler, connection)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s::text)", arg_joiner=" ->> ")


class _Plain(Func):
    """A column that SQLite must not read through an index (unary plus); PostgreSQL's planner needs no hint."""

    template = "+%(expressions)s"
    arity = 1

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> Any:
        return compiler.compile(self.source_expressions[0])


def incident_q(tree: Tree) -> Q:
    """The condition on ``Incident`` that finds what a rule's ``tree`` matches, exactly as ``domain.rule_policy`` does.

    It is written for scanning a range of ``seq``: SQLite uses no other index.
    """
    match tree:
        case And(parts=parts):
            return Q(*(incident_q(part) for part in parts))
        case Or(parts=parts):
            return Q(*(incident_q(part) for part in parts), _connector=Q.OR)
        case Not(part=part):
            return ~incident_q(part)
        case Compare(field="level", op=op, value=value):
            return Q(level__in=[word for word, rank in LEVEL_RANK.items() if COMPARISONS[op](rank, value)])
        case Text(field="fingerprint"):
            named = Problem.objects.filter(_like(F("fingerprint"), spread(tree.field, tree.pattern)))
            return Q(In(_Plain(F("problem_id"), output_field=BigIntegerField()), named.order_by().values("pk").query))
        case _:
            return _condition(tree, _NO_TIME)


def to_q(tree: Tree, now: datetime) -> Q:
    """The condition on ``ErrorEvent`` that finds what ``tree`` matches; relative times count back from ``now``.

    ``now`` is timezone-aware. It finds exactly the events for which ``compile_predicate(tree, now)`` is true. Names of
    nodes and processes, and what is merged, are looked up at once, so call it where queries may be run, right before
    its use. It is made for reading the newest events first (``order_by("-seq")`` and a limit).
    """
    if isinstance(tree, And):
        return Q(*(_condition(part, now, outermost=True) for part in tree.parts))
    return _condition(tree, now, outermost=True)


def problem_q(tree: Tree, now: datetime, me: int | None) -> Q:
    """The condition on ``Problem`` that finds what ``tree``, made of PROBLEM_FIELDS, matches. ``me``: the key of the
    requesting user. Nodes and processes are those of the problem and of its parts."""
    match tree:
        case And(parts=parts):
            return Q(*(problem_q(part, now, me) for part in parts))
        case Or(parts=parts):
            return Q(*(problem_q(part, now, me) for part in parts), _connector=Q.OR)
        case Not(part=part):
            return ~problem_q(part, now, me)
        case Compare(field="pending", op=op, value=value):
            return _with_pending(op, value)
        case Compare(field=field, op=op, value=value):
            return Q(**{f"{_PROBLEM_COLUMNS[field]}__{_LOOKUPS[op]}": value})
        case Time(field=field):
            return Q(**{"last_seen__gte" if field == "since" else "last_seen__lt": tree.moment(now)})
        case Text(field="state", pattern=pattern) if pattern.parts == (ProblemState.OPEN,):
            return Q(state__in=[name.value for name in LISTED])
        case Text(field="assigned", pattern=pattern) if pattern.parts == ("me",):
            return Q(assignee=me) if me is not None else Q(pk__in=[])
        case Text(field="assigned", pattern=pattern) if pattern.parts == ("nobody",):
            return Q(assignee__isnull=True)
        case Text(field="assigned"):
            people = get_user_model().objects.filter(_like(F("username"), spread(tree.field, tree.pattern)))
            return Q(assignee__isnull=False, assignee__in=people.order_by().values("pk"))
        case Text(field="taken"):
            return _taken_q(tree, now, me)
        case Text(field="node" | "process" | "release" as field):
            column = {"node": "process__node__name", "process": "process__name", "release": "release"}[field]
            met = ErrorState.objects.filter(_like(F(column), spread(field, tree.pattern))).order_by()
            return Q(pk__in=met.values(whole=Coalesce("problem__merged_into", "problem")))
        case Text(field=field):
            wanted = spread(field, tree.pattern)
            columns = [_PROBLEM_TEXTS[field]] if field in _PROBLEM_TEXTS else ["title", "kind"]
            return Q(*(_like(F(column), wanted) for column in columns), _connector=Q.OR)
        case _:
            raise TypeError(f"problems have no field for {tree}")


def _with_pending(op: str, wanted: int) -> Q:
    """Problems by the number of pending incidents, those of their parts included."""
    pending = Incident.objects.filter(state=State.OPEN).order_by()
    by_problem = pending.annotate(whole=Coalesce("problem__merged_into", "problem")).values("whole")
    counted = by_problem.annotate(number=Count("pk")).filter(**{f"number__{_LOOKUPS[op]}": wanted})
    found = Q(pk__in=counted.values("whole"))
    return found | ~Q(pk__in=by_problem.values("whole")) if COMPARISONS[op](0, wanted) else found


def _taken_q(term: Text, now: datetime, me: int | None) -> Q:
    """Problems that are taken at ``now``, or of which a pending incident is; with those of their parts."""
    person = Q()
    if term.pattern.parts == ("me",):
        person = Q(taken_by=me) if me is not None else Q(pk__in=[])
    elif term.pattern.parts != ("nobody",):
        people = get_user_model().objects.filter(_like(F("username"), spread("taken", term.pattern)))
        person = Q(taken_by__in=people.order_by().values("pk"))
    lasting = Q(person, taken_until__gt=now, taken_by__is_active=True)
    own = Problem.objects.filter(lasting).order_by().values("pk")
    incidents = Incident.objects.filter(lasting, state=State.OPEN.value).order_by()
    found = Q(pk__in=own) | Q(pk__in=incidents.values(whole=Coalesce("problem__merged_into", "problem")))
    return ~found if term.pattern.parts == ("nobody",) else found


_PROBLEM_COLUMNS = {"level": "level_rank", "times": "count", "nodes": "nodes"}
_PROBLEM_TEXTS = {"kind": "kind", "text": "title", "state": "state"}


def _condition(tree: Tree, now: datetime, *, outermost: bool = False) -> Q:
    match tree:
        case And(parts=parts):
            return Q(*(_condition(part, now) for part in parts))
        case Or(parts=parts):
            return Q(*(_condition(part, now) for part in parts), _connector=Q.OR)
        case Not(part=part):
            return ~_condition(part, now)
        case Text():
            return _text(tree, outermost=outermost)
        case Compare(field="problem", value=value):
            together = Problem.objects.filter(Q(pk=value) | Q(merged_into=value))
            return _keyed("problem_id", together, outermost=outermost)
        case Compare(field=field, op=op, value=value):
            return Q(**{f"{_COLUMNS[field]}__{_LOOKUPS[op]}": value})
        case OfType(type=wanted):
            return Q(type=wanted.value)
        case Identity(field="id", value=event_id):
            return Q(id=event_id)
        case Identity(value=None):
            return Q(type="action")
        case Identity(value=incident_id):
            return Q(type="action", id=incident_id)
        case Time(field=field):
            return Q(**{"received_at__gte" if field == "since" else "received_at__lt": tree.moment(now)})
        case _:
            assert_never(tree)


_NO_TIME = datetime.min.replace(tzinfo=UTC)
"""Conditions of rules hold no times."""
_COLUMNS = {"level": "level_rank", "repeat": "repeat", "consecutive": "consecutive"}
_LOOKUPS = {"=": "exact", ">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}


def _text(term: Text, *, outermost: bool) -> Q:
    parts = spread(term.field, term.pattern)
    match term.field:
        case None:
            return _like(F("text"), parts) | _like(F("kind"), parts)
        case "node":
            return _keyed("node_id", Node.objects.filter(_like(F("name"), parts)), outermost=outermost)
        case "process":
            named = _keyed("process_id", Process.objects.filter(_like(F("name"), parts)), outermost=outermost)
            if not Node.objects.filter(names_folded__gt=0).exists():
                return named
            # A folded event keeps its own name, beside the process that it is counted on.
            return Q(named, process_name="") | Q(~Q(process_name=""), _like(F("process_name"), parts))
        case "method":
            # No message, or one without a method: "", so that a negation is true of it.
            return _like(Coalesce(KeyTextTransform("method", "message"), Value(""), output_field=TextField()), parts)
        case "release":
            return _of_release(term, outermost=outermost)
        case field if field.startswith(TAG):
            return _like(Coalesce(TagText(field.removeprefix(TAG)), Value(""), output_field=TextField()), parts)
        case field:
            return _like(F(field), parts)


def _of_release(term: Text, *, outermost: bool) -> Q:
    """One release that all events must have is worth an index: (release, seq) gives them newest first."""
    parts = spread(term.field, term.pattern)
    if outermost and not term.pattern.empty:
        known, like = known_releases(), matcher(parts)
        match [release for release in known if like(release)]:
            case [only] if len(known) < RELEASES_KNOWN:
                return Q(release=only)
    return _like(Coalesce(F("release"), Value(""), output_field=TextField()), parts)


def known_releases() -> list[str]:
    """The releases of stored events, at most RELEASES_KNOWN, each found by one step along the index."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_RELEASES, [RELEASES_KNOWN])
        return [release for (release,) in cursor.fetchall()]


def _keyed(column: str, wanted: QuerySet[Node] | QuerySet[Process] | QuerySet[Problem], *, outermost: bool) -> Q:
    """Events of these nodes, processes or problems.

    One that all events must have is worth an index: (node, seq) gives them newest first. With several, SQLite
    would fetch every event of them all and sort; passing over the others, newest first, finds a page far sooner.
    """
    keys = wanted.order_by().values("pk")
    match list(keys.values_list("pk", flat=True)[:2]):
        case []:
            return Q(pk__in=[])
        case [only] if outermost:
            return Q(**{column: only})
        case _:
            return Q(In(_Plain(F(column), output_field=BigIntegerField()), keys.query))


def _like(text: Combinable, parts: tuple[str, ...]) -> Q:
    return Q(Like(text, Value(_pattern(parts))))


def _pattern(parts: tuple[str, ...]) -> str:
    """``parts`` as a LIKE pattern: the wildcards of LIKE lose their meaning, a lone star needs one character."""
    if parts == ("", ""):
        return "_%"
    return "%".join(fold(part).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in parts)
