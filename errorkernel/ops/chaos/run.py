"""One run: start an instance, carry out the plan of faults, heal, and check the invariants."""

import heapq
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from errorkernel.domain.incident_state import State
from errorkernel.ops.chaos import faults, invariants, plan, requeue_checks, snapshot
from errorkernel.ops.chaos.api_user import ApiUser
from errorkernel.ops.chaos.evidence import Evidence
from errorkernel.ops.chaos.instance import ChaosError, Instance, monotonic
from errorkernel.ops.chaos.operators import Operator
from errorkernel.ops.chaos.plan import Fault, Kind
from errorkernel.ops.chaos.policy import RuleEditor
from errorkernel.ops.chaos.requeue_operators import RequeueOperator
from errorkernel.ops.chaos.watch import ALLOWANCE_S, LIMIT_S, Watch

OPERATORS = ("anna", "bert", "cleo")
REQUEUE_OPERATORS = ("dora", "emil")
RULE_EDITOR = "fred"
TEND_S = 0.1
LOOK_S = 0.3
START_S = 60.0
CONTACT_S = 60.0
SETTLE_S = 90.0
STUCK_S = LIMIT_S + ALLOWANCE_S + 2.0
"""A state that has not changed for this long will not change."""
BEAT = timedelta(seconds=1)
"""A heartbeat at least this much later than a moment reports the state after it."""
STEADY_LOOKS = 3
"""Consecutive looks without a violation that end the run."""


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    faults: int = 60
    nodes: int = 3
    every_s: float = 1.0
    """Average time between faults."""
    off: str = ""
    """The disabled protection; empty: none."""


@dataclass(slots=True)
class Result:
    """``broken``: invariant → its violations."""

    options: Options
    directory: Path
    broken: dict[str, list[str]] = field(default_factory=dict)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    took_s: float = 0.0
    incidents: int = 0
    decisions: int = 0
    by_rules: int = 0
    requeued: int = 0
    events: int = 0
    lost_with_wipes: int = 0
    contact_s: float = 0.0
    settled_s: float = 0.0


class Run:
    def __init__(self, options: Options, directory: Path) -> None:
        self._options = options
        nodes = [f"ship{number}" for number in range(1, options.nodes + 1)]
        self._plan = plan.make(options.seed, options.faults, nodes, options.every_s)
        self._instance = Instance(
            directory, nodes, (*OPERATORS, *REQUEUE_OPERATORS, RULE_EDITOR), seed=options.seed, off=options.off
        )
        self._evidence = Evidence()
        self._watch = Watch(self._instance, self._evidence, monotonic)
        self._operators: list[Operator] = []
        self._requeue_operators: list[RequeueOperator] = []
        self._users: list[ApiUser] = []
        """All of them."""
        self._began = monotonic()
        self.result = Result(options, directory)

    def play(self) -> Result:
        """Carry out the run. Raises ChaosError when it could not take place."""
        try:
            self._start()
            self._faults()
            self._heal()
            self._settle()
        finally:
            for user in self._users:
                user.stop()
            self._instance.close()
        self._judge()
        return self.result

    def _start(self) -> None:
        self._instance.start()
        self._note("started")
        self._wait(self._ready, START_S, "The scratch instance did not become ready")
        self._invite()
        self._began = monotonic()
        self._note("ready")

    def _invite(self) -> None:
        tokens, url, seed = self._instance.tokens, self._instance.http_url, self._options.seed
        self._operators = [Operator(name, tokens[name], url, seed) for name in OPERATORS]
        self._requeue_operators = [RequeueOperator(name, tokens[name], url, seed) for name in REQUEUE_OPERATORS]
        self._users = [
            *self._operators,
            *self._requeue_operators,
            RuleEditor(RULE_EDITOR, tokens[RULE_EDITOR], url, seed),
        ]
        for user in self._users:
            user.start()

    def _faults(self) -> None:
        """Begin and end the faults of the plan, which may overlap."""
        order = itertools.count()
        due: list[tuple[float, int, Fault | faults.Undo]] = [(fault.at_s, next(order), fault) for fault in self._plan]
        heapq.heapify(due)
        for _ in self._rounds():
            while due and due[0][0] <= self._now():
                _, _, what = heapq.heappop(due)
                if not isinstance(what, Fault):
                    what()
                    continue
                self._note(str(what))
                undo = faults.begin(self._instance, what)
                heapq.heappush(due, (self._now() + what.lasts_s, next(order), self._undo(what, undo)))
            if not due:
                return

    def _undo(self, fault: Fault, undo: faults.Undo) -> faults.Undo:
        def end() -> None:
            if fault.kind in (Kind.BROKER_WIPE, Kind.BROKER_WIPE_LIVE):
                self._evidence.wiped_at.append(monotonic())
            undo()
            self._note(f"over: {fault.kind} {fault.target}")

        return end

    def _heal(self) -> None:
        """Stop new work; return when the kernel and all nodes have contact."""
        for place in self._instance.places.values():
            place.quiet.touch()
        for user in self._users:
            user.wind_down()
        healed = datetime.now(UTC)
        self._note("all is mended")
        since = monotonic()

        def contact() -> bool:
            heard = snapshot.heard_at(self._instance.database)
            return all(heard.get(node, healed) > healed for node in self._instance.nodes)

        self._wait(contact, CONTACT_S, "Contact did not return")
        self.result.contact_s = monotonic() - since
        self._note("contact has returned")

    def _settle(self) -> None:
        """Wait until nothing is open, unsent or in disagreement, at most SETTLE_S."""
        since = changed = monotonic()
        steady = 0
        before: list[str] = []
        empty = datetime.now(UTC)
        for _ in self._rounds():
            left = self._watch.judge() + self._unfinished()
            if left:
                empty = datetime.now(UTC)
            elif snapshot.lag(self._instance.database, empty + BEAT) != 0:
                # The broker delivers messages of a killed kernel to another one later.
                left = ["messages are in the stream"]
            if left != before:
                before, changed = left, monotonic()
            steady = 0 if left else steady + 1
            if steady >= STEADY_LOOKS or monotonic() - changed > STUCK_S or monotonic() - since > SETTLE_S:
                break
        self.result.settled_s = monotonic() - since
        self._note("settled" if steady else f"not settled: {'; '.join(before[:3])}")

    def _unfinished(self) -> list[str]:
        left = {
            "incidents are open": sum(states[-1][0] is State.OPEN for states in self._evidence.history.values()),
            "requests wait for a reply": sum(user.unanswered for user in self._users),
            "messages are on their way": sum(
                command.state in requeue_checks.UNDER_WAY
                for command in snapshot.commands(self._instance.database).values()
            ),
            "messages are in journals": snapshot.waiting(self._instance.places),
            "decisions are in the outbox": snapshot.unpublished(self._instance.database),
        }
        return [f"{count} {what}" for what, count in left.items() if count]

    def _judge(self) -> None:
        evidence = self._evidence
        for operator in self._operators:
            evidence.decision_replies += operator.decision_replies
            evidence.sent |= {(operator.actor, incident): sent for incident, sent in operator.sent.items()}
        for requeue_operator in self._requeue_operators:
            evidence.requeue_replies += requeue_operator.requeue_replies
        for user in self._users:
            evidence.unexpected += user.unexpected
        snapshot.collect(evidence, self._instance.database, self._instance.places)
        for check in invariants.CHECKS:
            if broken := check(evidence):
                self.result.broken[(check.__doc__ or "").partition("\n")[0]] = broken
        result = self.result
        result.took_s = monotonic() - self._began
        result.incidents = len(evidence.incidents)
        decisions = [incident.decision for incident in evidence.incidents.values() if incident.decision]
        result.decisions = len(decisions)
        result.by_rules = sum(decision.by.startswith("rule:") for decision in decisions)
        result.requeued = len(evidence.commands)
        result.events = len(evidence.stored)
        result.lost_with_wipes = invariants.lost_with_wipes(evidence)

    def _ready(self) -> bool:
        heard = snapshot.heard_at(self._instance.database)
        return all(node in heard for node in self._instance.nodes)

    def _wait(self, what: Callable[[], bool], timeout_s: float, failure: str) -> None:
        since = monotonic()
        for _ in self._rounds():
            if what():
                return
            if monotonic() - since > timeout_s:
                raise ChaosError(f"{failure} within {timeout_s:g} s; see {self._instance.directory}.")

    def _rounds(self) -> Iterator[None]:
        """Endless rounds: restart ended parts, and look at the shown states."""
        looked = 0.0
        while True:
            self._instance.tend()
            for part in self._instance.parts.values():
                while part.unordered_ends:
                    self._note(f"{part.name} ended by itself, status {part.unordered_ends.pop()}")
            if monotonic() - looked > LOOK_S:
                looked = monotonic()
                self._watch.look()
            yield
            time.sleep(TEND_S)

    def _now(self) -> float:
        return monotonic() - self._began

    def _note(self, text: str) -> None:
        self.result.timeline.append((self._now(), text))


@contextmanager
def scratch(keep: bool) -> Iterator[Path]:
    """A directory for a run. ``keep``: do not remove it."""
    if keep:
        yield Path(tempfile.mkdtemp(prefix="steward-chaos-"))
        return
    with tempfile.TemporaryDirectory(prefix="steward-chaos-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
