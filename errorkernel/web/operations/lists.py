"""The lists of the operators' API, one declaration each."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.query.fields import INCIDENT_FIELDS, PROBLEM_FIELDS
from errorkernel.domain.query.parse import parse
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import EventType, Level
from errorkernel.models import (
    BulkDecision,
    BulkDecisionItem,
    DeadLetter,
    ErrorEvent,
    ErrorState,
    Incarnation,
    Incident,
    Node,
    Problem,
    Process,
)
from errorkernel.store import nodes, problems
from errorkernel.store.incidents import bulk_decisions, dead_letters
from errorkernel.store.ingest.event_rows import stored
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from errorkernel.store.search import incident_q, problem_q, to_q
from errorkernel.store.status import error_map
from errorkernel.web.auth.permissions import SEE_DEAD_LETTERS, SEE_RULES, VIEW
from errorkernel.web.operations.filters import Filter, column, number, time, words
from errorkernel.web.operations.listing import Listing, Page, Sort, Window
from errorkernel.web.schemas import items, messages, operations

SCAN_EVENTS = 100_000
"""Events that one request with a query searches, so that a search without matches does not read millions."""
QUERY_FORMAT = "steward-query"
"""Of texts in the search syntax, which JSON Schema has no word for."""
_QUERY = {"type": "string", "format": QUERY_FORMAT}
_NODE, _PROCESS, _PROBLEM = "Only of this node", "Only of this process", "Only of this problem and its parts"
_SINCE, _UNTIL = (
    "Only {what} within this duration, such as `2h`, or at or after this time in UTC",
    "Only {what} before this duration, such as `2h`, or before this time in UTC",
)


def _near(rows: QuerySet[Any], page: Page) -> Window:
    """The part of the events that one request looks at."""
    # One after the other: asked for both ends at once, SQLite reads everything between them.
    numbers = ErrorEvent.objects.order_by("seq").values_list("seq", flat=True)
    first, last = numbers.first() or 0, numbers.last() or 0
    counted, counts_all = rows.filter(seq__gt=last - SCAN_EVENTS), last - first < SCAN_EVENTS
    if page.descending:
        start = last + 1 if page.after is None else min(page.after, last + 1)
        edge = start - SCAN_EVENTS
        scanned_to = edge if edge > first else None
        return Window(rows.filter(seq__gte=edge), scanned_to, None, counted, counts_all)
    start = max(page.after or 0, first - 1)
    edge = min(start + SCAN_EVENTS, max(last, start))
    found = rows.filter(seq__gt=start, seq__lte=edge)
    return Window(found, edge if edge < last else None, edge, counted, counts_all)


def _incidents() -> QuerySet[Incident]:
    cut = ErrorEvent.objects.filter(seq=OuterRef("seq")).values("cut")
    return Incident.objects.select_related("node", "process", "decision", "taken_by").annotate(cut=Subquery(cut))


def _find_problems(query: str, now: datetime, actor: Actor) -> Q:
    return problem_q(parse(query, PROBLEM_FIELDS), now, actor.user_id)


def _incarnations(process_id: int) -> QuerySet[Incarnation]:
    if not Process.objects.filter(pk=process_id).exists():
        raise OperationRefused("There is no such process.", "not_found")
    return Incarnation.objects.filter(process=process_id).select_related("incident__decision", "incident__node")


def _bulk_items(bulk_id: int) -> QuerySet[BulkDecisionItem]:
    found = BulkDecision.objects.filter(pk=bulk_id).first()
    if found is None:
        raise OperationRefused("There is no such bulk decision.", "not_found")
    return bulk_decisions.items(found)


def _error_states(values: Mapping[str, Any]) -> QuerySet[ErrorState]:
    return error_map.states(
        node=values.get("node", ""), process=values.get("process", ""), problem=values.get("problem")
    )


def _liveness(of: Callable[[Liveness, datetime], Q]) -> Filter:
    """``of``: the condition that a liveness is."""

    def apply(rows: QuerySet[Any], values: list[str], now: datetime) -> QuerySet[Any]:
        return rows.filter(Q(*(of(Liveness(value), now) for value in values), _connector=Q.OR))

    return words("liveness", Liveness, "Only those with one of these", apply)


def _choice(name: str, known: Any, path: str, schema: dict[str, Any] | None = None) -> Filter:
    return words(
        name,
        known,
        "Only those with one of these",
        lambda rows, values, now: rows.filter(**{f"{path}__in": values}),
        schema,
    )


def _flag(name: str, path: str, description: str) -> Filter:
    def apply(rows: QuerySet[Any], values: list[str], now: datetime) -> QuerySet[Any]:
        return rows.filter(**{f"{path}__in": [value == "true" for value in values]})

    return words(name, ("true", "false"), description, apply)


def _of_problem(rows: QuerySet[Any], value: int, now: datetime) -> QuerySet[Any]:
    return rows.filter(problem__in=problems.members(value))


def _of_node(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
    """Its number first: then the index finds its events."""
    known = list(Node.objects.filter(name=value).values_list("pk", flat=True)) if "\0" not in value else []
    return rows.filter(node__in=known)


def _of_process(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
    """``process_name``: of an event whose process is counted among the others of its node."""
    if "\0" in value:
        return rows.none()
    return rows.filter(Q(process_name=value) | Q(process_name="", process__name=value))


def _assigned(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
    if value == "nobody":
        return rows.filter(assignee__isnull=True)
    return rows.none() if "\0" in value else rows.filter(assignee__username=value)


_LEVEL = {"$ref": "#/components/schemas/Level"}
_STATE = {"$ref": "#/components/schemas/State"}
LISTS = (
    Listing(
        name="listEvents",
        summary="Stored events",
        route="events",
        permission="errorkernel.view_errorevent",
        item=items.EventItem,
        encode=lambda row, now: items.event(row),
        rows=stored,
        order_by="seq",
        search=lambda query, now, actor: to_q(parse(query), now),
        search_schema=_QUERY,
        bound=_near,
        filters=(
            _choice("type", EventType, "type"),
            _choice("level", Level, "level", _LEVEL),
            Filter("node", _NODE, {"type": "string", "minLength": 1}, _of_node),
            Filter("process", _PROCESS, {"type": "string", "minLength": 1}, _of_process),
            number("problem", _PROBLEM, _of_problem),
            time("since", _SINCE.format(what="received"), "received_at__gte"),
            time("until", _UNTIL.format(what="received"), "received_at__lt"),
        ),
    ),
    Listing(
        name="listIncidents",
        summary="Incidents",
        route="incidents",
        permission=VIEW,
        item=items.IncidentItem,
        encode=lambda row, now: items.incident(row, row.cut),
        rows=_incidents,
        order_by="change",
        sorts={"opened": Sort("seq", "seq")},
        filters=(
            _choice("state", State, "state", _STATE),
            _choice("level", Level, "level", _LEVEL),
            column("node", "node__name", _NODE),
            column("process", "process__name", _PROCESS),
            number("problem", _PROBLEM, _of_problem),
            column("kind", "kind", "Only of this kind"),
            time("since", _SINCE.format(what="opened"), "opened_at__gte"),
            time("until", _UNTIL.format(what="opened"), "opened_at__lt"),
        ),
        search=lambda query, now, actor: incident_q(parse(query, INCIDENT_FIELDS)),
        search_schema={"type": "string", "format": operations.CONDITION_FORMAT},
    ),
    Listing(
        name="listProblems",
        summary="Problems",
        route="problems",
        permission="errorkernel.view_problem",
        item=items.ProblemItem,
        encode=lambda row, now: items.problem(row),
        rows=lambda: Problem.objects.select_related("assignee", "taken_by"),
        sorts={
            name: Sort(path, "id")
            for name, path in (
                ("last_seen", "last_seen"),
                ("count", "count"),
                ("nodes", "nodes"),
                ("level", "level_rank"),
            )
        },
        filters=(
            _choice("state", ProblemState, "state"),
            _choice("level", Level, "level", _LEVEL),
            Filter(
                "assignee",
                "Only those assigned to this user; `nobody`: to no one",
                {"type": "string", "minLength": 1},
                _assigned,
            ),
            column("kind", "kind", "Only of this kind"),
            column("fingerprint", "fingerprint", "Only the one with this fingerprint"),
            time("since", _SINCE.format(what="last seen"), "last_seen__gte"),
            time("until", _UNTIL.format(what="last seen"), "last_seen__lt"),
        ),
        search=_find_problems,
        search_schema=_QUERY,
    ),
    Listing(
        name="errorMap",
        summary="Error states by node and process",
        route="map",
        permission="errorkernel.view_errorstate",
        item=items.ErrorStateItem,
        encode=lambda row, now: items.error_state(row),
        rows=error_map.states,
        filters=(column("node", "", _NODE), column("process", "", _PROCESS), number("problem", _PROBLEM, _of_problem)),
        filter_together=_error_states,
    ),
    Listing(
        name="listProcesses",
        summary="Processes",
        route="processes",
        permission="errorkernel.view_process",
        item=items.ProcessItem,
        encode=items.process,
        rows=lambda: Process.objects.select_related("node"),
        filters=(
            column("node", "node__name", _NODE),
            column("process", "name", _PROCESS),
            _liveness(nodes.processes_by_liveness),
        ),
    ),
    Listing(
        name="listIncarnations",
        summary="The incarnations of a process",
        route="processes/<str:number>/incarnations",
        permission="errorkernel.view_incarnation",
        item=items.IncarnationItem,
        encode=lambda row, now: items.incarnation(row),
        rows=_incarnations,
        order_by="number",
    ),
    Listing(
        name="listNodes",
        summary="Nodes",
        route="nodes",
        permission="errorkernel.view_node",
        item=items.NodeItem,
        encode=items.node,
        rows=Node.objects.all,
        filters=(column("node", "name", _NODE), _liveness(nodes.nodes_by_liveness)),
    ),
    Listing(
        name="listRules",
        summary="Rules, by number; they are evaluated in the order of `position`",
        route="rules",
        permission=SEE_RULES,
        item=items.RuleItem,
        encode=lambda row, now: items.rule(row),
        rows=changes.listed,
        filters=(
            _choice("action", RuleAction, "action"),
            _flag("enabled", "enabled", "Only those that are switched on, or off"),
        ),
    ),
    Listing(
        name="listBulkDecisions",
        summary="Bulk decisions",
        route="bulk-decisions",
        permission=VIEW,
        item=operations.BulkDecisionStatus,
        encode=operations.bulk_decision_status,
        rows=BulkDecision.objects.all,
    ),
    Listing(
        name="listBulkDecisionIncidents",
        summary="The incidents of a bulk decision, and the result of each",
        route="bulk-decisions/<str:number>/incidents",
        permission=VIEW,
        item=operations.BulkDecisionIncident,
        encode=lambda row, now: operations.bulk_decision_incident(row),
        rows=_bulk_items,
    ),
    Listing(
        name="listDeadLetters",
        summary="Messages kept as dead letters",
        route="dead-letters",
        permission=SEE_DEAD_LETTERS,
        item=messages.DeadLetterItem,
        encode=lambda row, now: messages.dead_letter(row),
        rows=dead_letters.listed,
        filters=(
            _choice("state", DeadLetter.State.values, "state"),
            column("node", "process__node__name", _NODE),
            column("process", "process__name", _PROCESS),
        ),
    ),
)
