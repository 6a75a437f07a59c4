"""The lists of the operators' API: keyset pages over one unique growing number each.

``after`` is the last number that a client has seen, ``next`` what to give as ``after`` for the following page, or
null at the end. Oldest first unless ``order=desc``. Events go by ``seq``; incidents by the number of their last change,
so that asking again after the last one gives exactly what has changed since; everything else by its primary key.

A page is bounded three ways: by ``limit``, by its size in bytes, and for a query by how many events are looked at. So
a page may hold fewer items than the limit, or none, with ``next`` set all the same: go on until ``next`` is null.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import timezone

from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.query.predicate import QueryError, parse
from errorkernel.models import BulkDecision, DeadLetter, ErrorEvent, Incarnation, Incident, Node, Problem, Process
from errorkernel.senders.steward.store import actions as steward_actions
from errorkernel.store import nodes as fleet
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.incidents.dead_letters import listed as listed_letters
from errorkernel.store.ingest.event_rows import stored
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules.changes import listed as listed_rules
from errorkernel.store.search import to_q
from errorkernel.store.status.error_map import states
from errorkernel.web.api.authentication import ApiError, as_json, needs
from errorkernel.web.api.schemas import common, messages, operations
from errorkernel.web.api.schemas import items as shapes_listed

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
PAGE_BYTES = 8 * 1024 * 1024
SCAN_EVENTS = 100_000
"""Events that one request with a query looks at: a search for what is not there must not read millions at once."""
NUMBER_MAX = 2**63 - 1
_READ_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked for; ``after`` None: from the start."""

    after: int | None
    limit: int
    descending: bool


def _page(given: QueryDict) -> Page:
    """Raises ApiError (400)."""
    limit = _number(given, "limit")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise ApiError(400, f"limit is from 1 to {LIMIT_MAX}.")
    order = _one(given, "order", "asc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "order is asc or desc.")
    return Page(_number(given, "after"), limit or LIMIT_DEFAULT, order == "desc")


@needs("errorkernel.view_errorevent")
def events(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``q``: the query language."""
    page = _page(request.GET)
    rows = stored(guess=KT("tags__process"))
    query = _one(request.GET, "q").strip()
    if not query:
        return _answer(rows, "seq", page, shapes_listed.event)
    try:
        rows = rows.filter(to_q(parse(query), timezone.now()))
    except QueryError as exc:
        raise ApiError(400, common.BadRequest(str(exc), exc.position)) from None
    rows, scanned_to = _window(rows, page)
    return _answer(rows, "seq", page, shapes_listed.event, scanned_to)


def _window(rows: QuerySet[ErrorEvent], page: Page) -> tuple[QuerySet[ErrorEvent], int | None]:
    """The part of the events that this request looks at, and where it ends if there is more behind it."""
    # One after the other: asked for both ends at once, SQLite reads everything between them.
    numbers = ErrorEvent.objects.order_by("seq").values_list("seq", flat=True)
    first, last = numbers.first() or 0, numbers.last() or 0
    if page.descending:
        start = last + 1 if page.after is None else min(page.after, last + 1)
        edge = start - SCAN_EVENTS
        return rows.filter(seq__gte=edge), edge if edge > first else None
    start = max(page.after or 0, first - 1)
    edge = start + SCAN_EVENTS
    return rows.filter(seq__gt=start, seq__lte=edge), edge if edge < last else None


@needs("errorkernel.view_incident")
def incidents(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``state`` (one or several with commas), ``node``, ``process``."""
    _no_query(request.GET, "state, node and process")
    rows = _in_states(Incident.objects.select_related("node", "process", "decision"), request.GET, list(State))
    rows = _named(rows, request.GET, node="node__name", process="process__name")
    rows = rows.annotate(cut=Subquery(ErrorEvent.objects.filter(seq=OuterRef("seq")).values("cut")))
    return _answer(rows, "change", _page(request.GET), lambda row: shapes_listed.incident(row, row.cut))


@needs("errorkernel.view_problem")
def problems(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``kind``."""
    _no_query(request.GET, "kind")
    return _answer(
        _named(Problem.objects.select_related("assignee"), request.GET, kind="kind"),
        "id",
        _page(request.GET),
        shapes_listed.problem,
    )


@needs("errorkernel.view_errorstate")
def error_map(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``node``, ``process``, ``problem``: the error states of the fleet, of a node, of a process."""
    _no_query(request.GET, "node, process and problem")
    node, process = _one(request.GET, "node"), _one(request.GET, "process")
    rows = states(node=node, process=process, problem=_number(request.GET, "problem"))
    return _answer(rows, "id", _page(request.GET), shapes_listed.error_state)


@needs("errorkernel.view_process")
def processes(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``node``, ``process``, ``liveness``."""
    _no_query(request.GET, "node, process and liveness")
    now = timezone.now()
    rows = _named(Process.objects.select_related("node"), request.GET, node="node__name", process="name")
    if wanted := _liveness(request.GET):
        rows = rows.filter(fleet.processes_by_liveness(wanted, now))
    return _answer(rows, "id", _page(request.GET), partial(shapes_listed.process, now=now))


@needs("errorkernel.view_incarnation")
def incarnations(request: HttpRequest, actor: Actor, process_id: int) -> HttpResponse:
    """Of one process, by their numbers."""
    _no_query(request.GET, "nothing")
    if not Process.objects.filter(pk=min(process_id, NUMBER_MAX)).exists():
        raise ApiError(404, "There is no such process.")
    rows = Incarnation.objects.filter(process=process_id).select_related("incident__decision", "incident__node")
    return _answer(rows, "number", _page(request.GET), shapes_listed.incarnation)


@needs("errorkernel.view_node")
def nodes(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``node``, ``liveness``."""
    _no_query(request.GET, "node and liveness")
    now = timezone.now()
    rows = _named(Node.objects.all(), request.GET, node="name")
    if wanted := _liveness(request.GET):
        rows = rows.filter(fleet.nodes_by_liveness(wanted, now))
    return _answer(rows, "id", _page(request.GET), partial(shapes_listed.node, now=now))


@needs("errorkernel.view_node")
def actions(request: HttpRequest, actor: Actor, node_id: int) -> HttpResponse:
    """Of one node, by their numbers."""
    _no_query(request.GET, "nothing")
    if not Node.objects.filter(pk=min(node_id, NUMBER_MAX)).exists():
        raise ApiError(404, "There is no such node.")
    return _answer(steward_actions.with_lines().filter(node=node_id), "id", _page(request.GET), shapes_listed.action)


@needs("errorkernel.view_rule")
def rules(request: HttpRequest, actor: Actor) -> HttpResponse:
    """By number, not in their order: ``position`` says that."""
    _no_query(request.GET, "nothing")
    return _answer(listed_rules(), "id", _page(request.GET), shapes_listed.rule)


@needs("errorkernel.view_incident")
def answers(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Answers to many questions."""
    _no_query(request.GET, "nothing")
    told = partial(operations.answer_to_many, now=timezone.now())
    return _answer(BulkDecision.objects.all(), "id", _page(request.GET), told)


@needs("errorkernel.view_incident")
def answered_questions(request: HttpRequest, actor: Actor, number: int) -> HttpResponse:
    """The questions of one answer to many."""
    _no_query(request.GET, "nothing")
    found = BulkDecision.objects.filter(pk=min(number, NUMBER_MAX)).first()
    if found is None:
        raise ApiError(404, "There is no such answer to many.")
    return _answer(bulk_decisions.items(found), "id", _page(request.GET), operations.question_of_many)


@needs("errorkernel.view_deadletter")
def dead_letters(request: HttpRequest, actor: Actor) -> HttpResponse:
    """``state`` (one or several with commas), ``node``, ``process``."""
    _no_query(request.GET, "state, node and process")
    rows = _in_states(listed_letters(), request.GET, DeadLetter.State.values)
    rows = _named(rows, request.GET, node="process__node__name", process="process__name")
    return _answer(rows, "id", _page(request.GET), messages.dead_letter)


def _answer(
    rows: QuerySet[Any], key: str, page: Page, item: Callable[[Any], Any], scanned_to: int | None = None
) -> HttpResponse:
    if page.after is not None:
        rows = rows.filter(**{f"{key}__{'lt' if page.descending else 'gt'}": page.after})
    # One more than is shown: whether there is a next page is known without counting.
    found = rows.order_by(f"-{key}" if page.descending else key)[: page.limit + 1]
    items, more = _bounded(found.iterator(chunk_size=_READ_AT_ONCE), page.limit, item)
    following = scanned_to
    if more:
        following = getattr(items[-1][0], key)
    return as_json(200, {"items": [encoded for _, encoded in items], "next": following})


def _bounded(rows: Iterable[Any], limit: int, item: Callable[[Any], Any]) -> tuple[list[tuple[Any, msgspec.Raw]], bool]:
    """Rows and their JSON up to limit and size, at least one; whether something follows."""
    taken: list[tuple[Any, msgspec.Raw]] = []
    size = 0
    for row in rows:
        if len(taken) == limit or size >= PAGE_BYTES:
            return taken, True
        encoded = msgspec.json.encode(item(row))
        size += len(encoded)
        taken.append((row, msgspec.Raw(encoded)))
    return taken, False


def _one(given: QueryDict, name: str, otherwise: str = "") -> str:
    """The parameter, ``otherwise`` where it is not given. Raises ApiError (400) where it is given twice."""
    values = given.getlist(name)
    if len(values) > 1:
        raise ApiError(400, f"{name} is given {len(values)} times.")
    return values[0] if values else otherwise


def _number(given: QueryDict, name: str) -> int | None:
    text = _one(given, name).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= NUMBER_MAX):
        raise ApiError(400, f"{name} is a whole number.")
    return int(text)


def _named(rows: QuerySet[Any], given: QueryDict, **columns: str) -> QuerySet[Any]:
    """Only rows whose columns are what was given; a NUL, which no database holds, finds nothing."""
    for name, column in columns.items():
        if text := _one(given, name):
            rows = rows.none() if "\0" in text else rows.filter(**{column: text})
    return rows


def _in_states(rows: QuerySet[Any], given: QueryDict, known: list[str]) -> QuerySet[Any]:
    """Only rows in one of the states that were given, if any were. Raises ApiError (400)."""
    wanted = [one for one in _one(given, "state").split(",") if one]
    if unknown := [one for one in wanted if one not in known]:
        raise ApiError(400, f"{unknown[0][:40]!r} is no state; there are {', '.join(known)}.")
    return rows.filter(state__in=wanted) if wanted else rows


def _liveness(given: QueryDict) -> Liveness | None:
    """Raises ApiError (400)."""
    text = _one(given, "liveness")
    try:
        return Liveness(text) if text else None
    except ValueError:
        raise ApiError(400, f"{text[:40]!r} is no liveness; there are {', '.join(Liveness)}.") from None


def _no_query(given: QueryDict, instead: str) -> None:
    """A filter that is silently ignored would look like an answer."""
    if given.get("q", "").strip():
        raise ApiError(400, f"q is for events; this list is filtered by {instead}.")
