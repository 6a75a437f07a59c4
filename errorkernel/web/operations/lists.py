"""The lists of the operators' API, one declaration each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.query.parse import QueryError, parse
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
from errorkernel.store import nodes
from errorkernel.store.incidents import bulk_decisions, dead_letters
from errorkernel.store.ingest.event_rows import stored
from errorkernel.store.rules import changes
from errorkernel.store.search import to_q
from errorkernel.store.status import error_map
from errorkernel.web.auth.api_requests import ApiError
from errorkernel.web.auth.permissions import SEE_DEAD_LETTERS, SEE_RULES, VIEW
from errorkernel.web.operations.listing import (
    NUMBER_MAX,
    Filter,
    Listing,
    Page,
    Window,
    column,
    parse_number,
    states,
)
from errorkernel.web.schemas import common, items, messages, operations

SCAN_EVENTS = 100_000
"""Events that one request with a query searches, so that a search without matches does not read millions."""
QUERY_FORMAT = "steward-query"
"""Format of texts in the search syntax, not defined by JSON Schema."""
_NODE, _PROCESS = "Only of this node", "Only of this process"


def _search(rows: QuerySet[Any], query: str, page: Page, now: datetime) -> Window:
    try:
        found = rows.filter(to_q(parse(query), now))
    except QueryError as exc:
        raise ApiError(400, common.SearchError(str(exc), exc.position)) from None
    # One after the other: a query for both ends makes SQLite read everything between them.
    numbers = ErrorEvent.objects.order_by("seq").values_list("seq", flat=True)
    first, last = numbers.first() or 0, numbers.last() or 0
    if page.descending:
        start = last + 1 if page.after is None else min(page.after, last + 1)
        edge = start - SCAN_EVENTS
        return Window(found.filter(seq__gte=edge), edge if edge > first else None)
    start = max(page.after or 0, first - 1)
    edge = start + SCAN_EVENTS
    return Window(found.filter(seq__gt=start, seq__lte=edge), edge if edge < last else None)


def _incidents() -> QuerySet[Incident]:
    cut = ErrorEvent.objects.filter(seq=OuterRef("seq")).values("cut")
    return Incident.objects.select_related("node", "process", "decision").annotate(cut=Subquery(cut))


def _incarnations(process_id: int) -> QuerySet[Incarnation]:
    if not Process.objects.filter(pk=process_id).exists():
        raise ApiError(404, "There is no such process.")
    return Incarnation.objects.filter(process=process_id).select_related("incident__decision", "incident__node")


def _bulk_items(bulk_id: int) -> QuerySet[BulkDecisionItem]:
    found = BulkDecision.objects.filter(pk=bulk_id).first()
    if found is None:
        raise ApiError(404, "There is no such bulk decision.")
    return bulk_decisions.items(found)


def _error_states(values: Mapping[str, str]) -> QuerySet[ErrorState]:
    problem = parse_number(values["problem"], "problem") if "problem" in values else None
    return error_map.states(node=values.get("node", ""), process=values.get("process", ""), problem=problem)


def _liveness(of: Any) -> Filter:
    """``of``: liveness and time → condition."""

    def apply(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
        if value not in list(Liveness):
            raise ApiError(400, f"{value[:40]!r} is no liveness; there are {', '.join(Liveness)}.")
        return rows.filter(of(Liveness(value), now))

    return Filter("liveness", "Only those with this liveness", {"type": "string", "enum": list(Liveness)}, apply)


_PROBLEM = Filter(
    "problem",
    "Only of this problem",
    {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX},
    lambda rows, value, now: rows,
)
LISTS = (
    Listing(
        name="listEvents",
        summary="Stored events",
        route="events",
        permission="errorkernel.view_errorevent",
        item=items.EventItem,
        encode=lambda row, now: items.event(row),
        rows=lambda: stored(),
        order_by="seq",
        search=_search,
        search_schema={"type": "string", "format": QUERY_FORMAT},
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
        filters=(
            states(State, {"$ref": "#/components/schemas/State"}),
            column("node", "node__name", _NODE),
            column("process", "process__name", _PROCESS),
        ),
    ),
    Listing(
        name="listProblems",
        summary="Problems",
        route="problems",
        permission="errorkernel.view_problem",
        item=items.ProblemItem,
        encode=lambda row, now: items.problem(row),
        rows=lambda: Problem.objects.select_related("assignee"),
        filters=(column("kind", "kind", "Only of this kind"),),
    ),
    Listing(
        name="errorMap",
        summary="Error states by node and process",
        route="map",
        permission="errorkernel.view_errorstate",
        item=items.ErrorStateItem,
        encode=lambda row, now: items.error_state(row),
        rows=error_map.states,
        filters=(column("node", "", _NODE), column("process", "", _PROCESS), _PROBLEM),
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
            states(DeadLetter.State.values, {"type": "string", "enum": DeadLetter.State.values}),
            column("node", "process__node__name", _NODE),
            column("process", "process__name", _PROCESS),
        ),
    ),
)
