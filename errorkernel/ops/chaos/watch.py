"""Looking at a running instance from the outside, again and again: what it shows, and when.

While faults happen, whatever the database shows must follow the transition table, and *applied* must be true on the
node by then. Once all is mended, whatever is still blocked with an answer, or not agreed upon, has two sync periods.
"""

from collections.abc import Callable
from uuid import UUID

from errorkernel.broker.connection import REQUEST_TIMEOUT_S
from errorkernel.domain.incident_state import ENDED, State
from errorkernel.ops.chaos import periods, requeue_checks
from errorkernel.ops.chaos import snapshot as look
from errorkernel.ops.chaos.evidence import Evidence, Incident, JournaledIncident
from errorkernel.ops.chaos.instance import Instance

LIMIT_S = 2 * periods.SYNC_S
ALLOWANCE_S = REQUEST_TIMEOUT_S + 4.0
"""A request whose reply was lost is given up after as long as ever: that period is not shortened. The rest is for a
busy machine, and for our own looks, which are some tenths of a second apart."""


class Watch:
    def __init__(self, instance: Instance, evidence: Evidence, now: Callable[[], float]) -> None:
        self._instance = instance
        self._evidence = evidence
        self._now = now
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self) -> dict[UUID, Incident]:
        """Note what the database shows now."""
        shown = look.incidents(self._instance.database)
        applied = []
        for incident in shown.values():
            state = incident.state, incident.answer.id if incident.answer else None
            history = self._evidence.history.setdefault(incident.id, [])
            if not history or history[-1] != state:
                history.append(state)
                if incident.state is State.APPLIED:
                    applied.append(incident)
        if applied:
            known = look.journaled_incidents(self._instance.places)
            # What the kernel has confirmed, a node may forget: sooner than usual where its clock has jumped.
            self._evidence.shown_early += [
                incident.id for incident in applied if incident.id in known and known[incident.id].outcome != "applied"
            ]
        return shown

    def judge(self) -> list[str]:
        """Once contact has returned: what is not as it must be. What stays so for too long is kept as overdue."""
        shown = self.look()
        known = look.journaled_incidents(self._instance.places)
        wrong = [
            complaint for journaled in known.values() if (complaint := disagreement(journaled, shown.get(journaled.id)))
        ]
        wrong += [
            f"{incident.id} is shown as {incident.state.value}; {incident.node} knows nothing of it"
            for incident in shown.values()
            if incident.id not in known and incident.state not in ENDED
        ]
        wrong += self._processes() + self._commands()
        now = self._now()
        self._since = {complaint: self._since.get(complaint, now) for complaint in wrong}
        for complaint, since in self._since.items():
            if now - since > LIMIT_S + ALLOWANCE_S and complaint not in self._told:
                self._told.add(complaint)
                self._evidence.overdue.append(complaint)
        return wrong

    def _commands(self) -> list[str]:
        theirs = look.commands_of_nodes(self._instance.places)
        ours = look.commands(self._instance.database).values()
        found = [requeue_checks.disagreement(command, theirs.get(command.id)) for command in ours]
        return [complaint for complaint in found if complaint]

    def _processes(self) -> list[str]:
        theirs = look.processes_of_nodes(self._instance.places)
        ours = look.processes_of_kernel(self._instance.database)
        return [
            f"{process} on {node} is {is_} and is shown as {ours.get((node, process))}"
            for (node, process), is_ in theirs.items()
            if ours.get((node, process)) != is_
        ]


def disagreement(journaled: JournaledIncident, incident: Incident | None) -> str:
    """How node and kernel see a question differently; empty where they agree."""
    if incident is None:
        return f"{journaled.id} of {journaled.node} is not known to the kernel"
    if journaled.state == "pending":
        if incident.answer:
            return f"{journaled.id} of {journaled.node} is blocked, and has been answered {incident.answer.action}"
        agreed = incident.state is State.OPEN
    elif journaled.state == "ended":
        # A withdrawal that crossed an answer.
        crossed = journaled.outcome == "withdrawn" and incident.state is State.STALE
        agreed = crossed or incident.state.value == journaled.outcome
    else:
        agreed = incident.state not in ENDED and incident.state is not State.OPEN
    if agreed:
        return ""
    is_ = journaled.outcome or journaled.state
    return f"{journaled.id} of {journaled.node} is {is_} and is shown as {incident.state.value}"
