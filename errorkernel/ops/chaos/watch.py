"""Observation of a running instance from outside: contents of pages and database with their times.

During faults the states in the database must follow the transition table, and *applied* must be true on the node. After
the last fault, the nodes and the kernel have two sync periods to agree and to apply pending decisions.
"""

from collections.abc import Callable
from uuid import UUID

from errorkernel.broker.connection import REQUEST_TIMEOUT_S
from errorkernel.domain.incident_state import ENDED, State
from errorkernel.ops.chaos import periods, requeue_checks, snapshot
from errorkernel.ops.chaos.evidence import Evidence, Incident, JournaledIncident
from errorkernel.ops.chaos.instance import Instance

LIMIT_S = 2 * periods.SYNC_S
ALLOWANCE_S = REQUEST_TIMEOUT_S + 4.0
"""The timeout of a request whose reply is lost, which is not shortened, and some time for a busy machine and for the
interval between looks."""


class Watch:
    def __init__(self, instance: Instance, evidence: Evidence, now: Callable[[], float]) -> None:
        self._instance = instance
        self._evidence = evidence
        self._now = now
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def look(self) -> dict[UUID, Incident]:
        """Record the rows of the database now."""
        shown = snapshot.incidents(self._instance.database)
        applied = []
        for incident in shown.values():
            state = incident.state, incident.decision.id if incident.decision else None
            history = self._evidence.history.setdefault(incident.id, [])
            if not history or history[-1] != state:
                history.append(state)
                if incident.state is State.APPLIED:
                    applied.append(incident)
        if applied:
            known = snapshot.journaled_incidents(self._instance.places)
            # A node may delete confirmed records, sooner than usual when its clock jumps.
            self._evidence.shown_early += [
                incident.id for incident in applied if incident.id in known and known[incident.id].outcome != "applied"
            ]
        return shown

    def judge(self) -> list[str]:
        """After contact has returned: the present violations. Those that last too long are recorded as overdue."""
        shown = self.look()
        known = snapshot.journaled_incidents(self._instance.places)
        wrong = [
            complaint for journaled in known.values() if (complaint := disagreement(journaled, shown.get(journaled.id)))
        ]
        wrong += [
            f"{incident.id} is shown as {incident.state.value}; {incident.node} does not have it"
            for incident in shown.values()
            if incident.id not in known and incident.state not in ENDED
        ]
        wrong += self._processes() + self._commands()
        now = self._now()
        self._since = {complaint: self._since.get(complaint, now) for complaint in wrong}
        for complaint, since in self._since.items():
            if now - since > LIMIT_S + ALLOWANCE_S and complaint not in self._reported:
                self._reported.add(complaint)
                self._evidence.overdue.append(complaint)
        return wrong

    def _commands(self) -> list[str]:
        theirs = snapshot.commands_of_nodes(self._instance.places)
        ours = snapshot.commands(self._instance.database).values()
        found = [requeue_checks.disagreement(command, theirs.get(command.id)) for command in ours]
        return [complaint for complaint in found if complaint]

    def _processes(self) -> list[str]:
        theirs = snapshot.processes_of_nodes(self._instance.places)
        ours = snapshot.processes_of_kernel(self._instance.database)
        return [
            f"{process} on {node} is {is_} and is shown as {ours.get((node, process))}"
            for (node, process), is_ in theirs.items()
            if ours.get((node, process)) != is_
        ]


def disagreement(journaled: JournaledIncident, incident: Incident | None) -> str:
    """How node and kernel differ on an incident; empty: they agree."""
    if incident is None:
        return f"{journaled.id} of {journaled.node} is not in the database"
    if journaled.state == "pending":
        if incident.decision:
            return f"{journaled.id} of {journaled.node} is blocked although the decision is {incident.decision.action}"
        agreed = incident.state is State.OPEN
    elif journaled.state == "ended":
        # A withdrawal that crossed a decision.
        crossed = journaled.outcome == "withdrawn" and incident.state is State.STALE
        agreed = crossed or incident.state.value == journaled.outcome
    else:
        agreed = incident.state not in ENDED and incident.state is not State.OPEN
    if agreed:
        return ""
    is_ = journaled.outcome or journaled.state
    return f"{journaled.id} of {journaled.node} is {is_} and is shown as {incident.state.value}"
