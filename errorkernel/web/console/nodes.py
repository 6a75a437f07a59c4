"""Pages of nodes and processes: liveness, state, access denials."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from errorkernel.domain.incarnations import Ending
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import QUARANTINED, Liveness, of_node, of_process
from errorkernel.domain.query.tree import And, Pattern, Text
from errorkernel.models import AccessDenial, ErrorState, Incarnation, Incident, Node, Process, RejectedEvent
from errorkernel.platform import conf
from errorkernel.platform.parameters import LARGEST, number
from errorkernel.store import incarnations
from errorkernel.store.incidents import quarantined_processes
from errorkernel.store.incidents.decisions import with_relations
from errorkernel.web.auth.permissions import SEE_REFUSED, VIEW, needs
from errorkernel.web.console import heat_map
from errorkernel.web.console.contributions import contributed
from errorkernel.web.console.events import rows, stored
from errorkernel.web.console.node_processes import RESTARTS_OF, processes_of
from errorkernel.web.console.pager import Pager, first_row
from errorkernel.web.console.pending import PART_ROWS, ROWS_A_PAGE, STATES_SHOWN, waiting_by, waiting_part

GROUP_MAX_CHARS = 200
ATTEMPTS_SHOWN = 5
UNKNOWN_SENDERS_SHOWN = 10


def hearing(node: Node, now: datetime) -> str:
    """Its liveness, or ``disabled``."""
    return of_node(node.heard, now).value if node.enabled else "disabled"


def _urgent_first(now: datetime) -> QuerySet[Node]:
    """Nodes in the order of urgency: gone, late, with pending incidents; each group by name."""
    asking = Incident.objects.filter(state=State.OPEN).order_by().values("node")
    urgency = Case(
        When(enabled=True, gone_at__lte=now, then=0),
        When(enabled=True, late_at__lte=now, then=1),
        When(pk__in=asking, then=2),
        default=3,
    )
    return Node.objects.order_by(urgency, "name")


def _nodes_page(first: int, now: datetime) -> list[tuple[Node, str, int, int]]:
    found = list(_urgent_first(now)[first : first + ROWS_A_PAGE])
    keys = [row.pk for row in found]
    processes = dict(Process.objects.filter(node__in=keys).order_by().values_list("node").annotate(Count("pk")))
    asking = waiting_by("node", keys)
    return [(row, hearing(row, now), processes.get(row.pk, 0), asking.get(row.pk, 0)) for row in found]


@needs(VIEW, "page")
def nodes(request: HttpRequest) -> HttpResponse:
    """All nodes, urgent ones first, with their liveness, and access denials of unknown senders."""
    page = number(request.GET, "page") or 1
    found = _nodes_page(first_row(page, ROWS_A_PAGE), timezone.now())
    context = {
        "section": "nodes",
        "nodes": found,
        "pager": Pager.numbered({}, page, ROWS_A_PAGE, Node.objects.count()),
        "heat": heat_map.of_fleet(timezone.now()) if page == 1 else None,
        "strangers": AccessDenial.objects.filter(node="")[:UNKNOWN_SENDERS_SHOWN],
    }
    return render(request, "errorkernel/nodes.html", context)


def node_named(name: str) -> Node:
    """Raises Http404."""
    found = Node.objects.filter(name=name).first() if "\x00" not in name else None
    if found is None:
        raise Http404
    return found


@needs(VIEW, "group", "page")
def node(request: HttpRequest, name: str) -> HttpResponse:
    """One node: its processes by name, their error states, pending incidents and access denials."""
    found, now = node_named(name), timezone.now()
    page = number(request.GET, "page") or 1
    met = ErrorState.objects.filter(node=found).select_related("process", "problem").order_by("-last_seen")
    context = {
        "section": "nodes",
        "node": found,
        "hearing": hearing(found, now),
        "processes": processes_of(found, now, chosen=request.GET.get("group", "")[:GROUP_MAX_CHARS], page=page),
        "lives_kept": incarnations.KEPT,
        "heat": heat_map.of_fleet(now, found.processes.values_list("pk", flat=True)),
        "states": met[:STATES_SHOWN],
        "states_total": met.count(),
        "quarantines": quarantines(found),
        **waiting_part(with_relations().filter(node=found), _named(found)),
        "events": rows(stored().filter(node=found)[:PART_ROWS]),
        **contributed("node", found, now),
        "attempts": AccessDenial.objects.filter(node=found.name)[:ATTEMPTS_SHOWN],
        "node_names": conf.get().node_names,
        "rejected_total": _rejected_total(found) if request.user.has_perm(SEE_REFUSED) else 0,
    }
    return render(request, "errorkernel/node.html", context)


def _rejected_total(node: Node) -> int:
    """The number of stored rejected events of this node."""
    return RejectedEvent.objects.filter(node=node.name).count()


def _named(node: Node) -> Text:
    return Text("node", Pattern((node.name,)))


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Processes that are quarantined until ``incident`` is decided, the failing one first."""

    incident: Incident
    processes: list[Process]


def quarantines(node: Node) -> list[Quarantined]:
    """The quarantined processes of ``node``, as it reports them."""
    standing = {row.name: row for row in node.processes.filter(state=QUARANTINED)}
    found = quarantined_processes.quarantines(node.pk) if standing else []
    shown = [Quarantined(incident, [standing[name] for name in names if name in standing]) for incident, names in found]
    return [row for row in shown if row.processes]


def _incarnations(process: Process) -> list[tuple[Incarnation, Incident | None]]:
    """The stored incarnations, newest first, each with the decision on a quarantine that started it."""
    kept = list(incarnations.of_process(process.pk))
    began_by: dict[int, Incident] = {}
    if any(incarnation.ending == Ending.CRASHED for incarnation in kept):
        for incident in quarantined_processes.restart_decisions(process, kept[-1].first_seen):
            later = [incarnation for incarnation in kept if incarnation.first_seen >= incident.decision.decided_at]
            began_by |= {later[-1].pk: incident} if later else {}
    return [(incarnation, began_by.get(incarnation.pk)) for incarnation in kept]


def _liveness(process: Process, node: Node, now: datetime) -> Liveness:
    return of_process(node.heard, node.heartbeat_at, process.state, process.last_seen, now)


@needs(VIEW)
def process(request: HttpRequest, name: str, process_id: int) -> HttpResponse:
    """One process: its incarnations, its error states, its pending incidents."""
    found = node_named(name)
    row = Process.objects.filter(node=found, pk=min(process_id, LARGEST)).first()
    if row is None:
        raise Http404
    now = timezone.now()
    met = ErrorState.objects.filter(process=row).select_related("process", "problem").order_by("-last_seen")
    context = {
        "section": "nodes",
        "node": found,
        "hearing": hearing(found, now),
        "process": row,
        "liveness": _liveness(row, found, now),
        "lives": _incarnations(row),
        "restarts": incarnations.restarts([row.pk], now - RESTARTS_OF).get(row.pk, 0),
        "lives_kept": incarnations.KEPT,
        "states": met[:STATES_SHOWN],
        "states_total": met.count(),
        "quarantines": [shown for shown in quarantines(found) if row in shown.processes],
        **waiting_part(
            with_relations().filter(process=row), And((_named(found), Text("process", Pattern((row.name,)))))
        ),
        "events": rows(stored().filter(process=row)[:PART_ROWS]),
    }
    return render(request, "errorkernel/process.html", context)
