"""Looking at a running instance from the outside, again and again: what it shows, and when.

While faults happen, whatever the database shows must follow the transition table, and *applied* must be true on the
node by then. Once all is mended, whatever is still blocked with an answer, or not agreed upon, has two sync periods.
"""

from collections.abc import Callable
from uuid import UUID

from errorkernel.broker.connection import REQUEST_TIMEOUT_S
from errorkernel.domain.incident_state import ENDED, State
from errorkernel.ops.chaos import periods, requeues
from errorkernel.ops.chaos import snapshot as look
from errorkernel.ops.chaos.evidence import Evidence, Incident, Question
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
        for one in shown.values():
            state = one.state, one.answer.id if one.answer else None
            history = self._evidence.history.setdefault(one.id, [])
            if not history or history[-1] != state:
                history.append(state)
                if one.state is State.APPLIED:
                    applied.append(one)
        if applied:
            known = look.questions(self._instance.places)
            # What the kernel has confirmed, a node may forget: sooner than usual where its clock has jumped.
            self._evidence.shown_early += [
                one.id for one in applied if one.id in known and known[one.id].outcome != "applied"
            ]
        return shown

    def judge(self) -> list[str]:
        """Once contact has returned: what is not as it must be. What stays so for too long is kept as overdue."""
        shown = self.look()
        known = look.questions(self._instance.places)
        wrong = [said for one in known.values() if (said := disagreement(one, shown.get(one.id)))]
        wrong += [
            f"{one.id} is shown as {one.state.value}; {one.node} knows nothing of it"
            for one in shown.values()
            if one.id not in known and one.state not in ENDED
        ]
        wrong += self._processes() + self._commands()
        now = self._now()
        self._since = {said: self._since.get(said, now) for said in wrong}
        for said, since in self._since.items():
            if now - since > LIMIT_S + ALLOWANCE_S and said not in self._told:
                self._told.add(said)
                self._evidence.overdue.append(said)
        return wrong

    def _commands(self) -> list[str]:
        theirs = look.commands_of_nodes(self._instance.places)
        ours = look.commands(self._instance.database).values()
        return [said for one in ours if (said := requeues.disagreement(one, theirs.get(one.id)))]

    def _processes(self) -> list[str]:
        theirs = look.processes_of_nodes(self._instance.places)
        ours = look.processes_of_kernel(self._instance.database)
        return [
            f"{process} on {node} is {is_} and is shown as {ours.get((node, process))}"
            for (node, process), is_ in theirs.items()
            if ours.get((node, process)) != is_
        ]


def disagreement(question: Question, incident: Incident | None) -> str:
    """How node and kernel see a question differently; empty where they agree."""
    if incident is None:
        return f"{question.id} of {question.node} is not known to the kernel"
    if question.state == "pending":
        if incident.answer:
            return f"{question.id} of {question.node} is blocked, and has been answered {incident.answer.action}"
        agreed = incident.state is State.OPEN
    elif question.state == "ended":
        # A withdrawal that crossed an answer.
        crossed = question.outcome == "withdrawn" and incident.state is State.STALE
        agreed = crossed or incident.state.value == question.outcome
    else:
        agreed = incident.state not in ENDED and incident.state is not State.OPEN
    if agreed:
        return ""
    is_ = question.outcome or question.state
    return f"{question.id} of {question.node} is {is_} and is shown as {incident.state.value}"
