"""The single reads of the API: one item of a list, with everything that is known of it."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.utils import timezone

from errorkernel.domain.incident_state import State
from errorkernel.models import DeadLetter, ErrorEvent, Incident, Node, Problem, Process, Rule
from errorkernel.platform.parameters import LARGEST
from errorkernel.store import problems
from errorkernel.store.incidents import dead_letters
from errorkernel.store.ingest.event_rows import stored
from errorkernel.store.platform.actor import Actor
from errorkernel.store.rules import changes
from errorkernel.web.auth.permissions import SEE_DEAD_LETTERS, SEE_RULES, VIEW
from errorkernel.web.operations.operation import Operation, Resource
from errorkernel.web.schemas import details, items, messages


def _event(key: str) -> details.EventDetail:
    """By its ``id``, or by its ``seq``."""
    if key.isascii() and key.isdigit():
        chosen = {"seq": min(int(key[:20]), LARGEST)}
    else:
        try:
            chosen = {"id": UUID(key)}  # type: ignore[dict-item]
        except ValueError:
            raise ErrorEvent.DoesNotExist from None
    row = stored("stack").filter(**chosen).first()
    if row is None:
        raise ErrorEvent.DoesNotExist
    return details.event(row)


def _incident(key: UUID) -> details.IncidentDetail:
    row = Incident.objects.select_related("node", "process", "decision", "problem", "taken_by").get(pk=key)
    found = ErrorEvent.objects.filter(seq=row.seq).only("cut", "stack", "tags").first()
    return details.incident(row, found, problems.members(row.problem.merged_into_id or row.problem_id))


def _problem(key: int) -> details.ProblemDetail:
    row = Problem.objects.select_related("assignee", "taken_by").get(pk=key)
    members = problems.members(key)
    pending = Incident.objects.filter(problem__in=members, state=State.OPEN).count()
    return details.problem(row, members, pending)


class _Read(NamedTuple):
    name: str
    noun: str
    address: str
    permission: str
    item: type[msgspec.Struct]
    find: Callable[[Any], Any]
    missing: type[Exception]
    key: Any = int


_READS = (
    _Read(
        "getEvent",
        "event",
        "events",
        "errorkernel.view_errorevent",
        details.EventDetail,
        _event,
        ErrorEvent.DoesNotExist,
        str,
    ),
    _Read("getIncident", "incident", "incidents", VIEW, details.IncidentDetail, _incident, Incident.DoesNotExist, UUID),
    _Read(
        "getProblem",
        "problem",
        "problems",
        "errorkernel.view_problem",
        details.ProblemDetail,
        _problem,
        Problem.DoesNotExist,
    ),
    _Read(
        "getProcess",
        "process",
        "processes",
        "errorkernel.view_process",
        items.ProcessItem,
        lambda key: items.process(Process.objects.select_related("node").get(pk=key), timezone.now()),
        Process.DoesNotExist,
    ),
    _Read(
        "getNode",
        "node",
        "nodes",
        "errorkernel.view_node",
        items.NodeItem,
        lambda key: items.node(Node.objects.get(pk=key), timezone.now()),
        Node.DoesNotExist,
    ),
    _Read(
        "getRule",
        "rule",
        "rules",
        SEE_RULES,
        details.RuleDetail,
        lambda key: details.rule(changes.listed().get(pk=key)),
        Rule.DoesNotExist,
    ),
    _Read(
        "getDeadLetter",
        "dead letter",
        "dead-letters",
        SEE_DEAD_LETTERS,
        messages.DeadLetterItem,
        lambda key: messages.dead_letter(dead_letters.listed().get(pk=key)),
        DeadLetter.DoesNotExist,
    ),
)


def _operation(read: _Read) -> Operation[Any]:
    def handle(key: Any, given: None, actor: Actor) -> Any:
        return read.find(key)

    return Operation(
        name=read.name,
        summary=f"One {read.noun}",
        resource=Resource(
            address=read.address,
            noun=read.noun,
            item=read.item,
            encode=lambda found: found,
            missing=read.missing,
            key=read.key,
        ),
        method="GET",
        permission=read.permission,
        handler=handle,
        done=f"The {read.noun}",
        changes_something=False,
    )


OPERATIONS: tuple[Operation[Any], ...] = tuple(map(_operation, _READS))
