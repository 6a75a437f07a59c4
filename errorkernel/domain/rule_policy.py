"""Rules: an ordered policy that decides or escalates incidents without a person. The first match wins.

A rule's condition is a query (``errorkernel.domain.query``) over the fields of an incident. A rule can be out of use
in two ways:

* *Over*: disabled, expired, used up, or created after the incident. It is skipped.
* *Suspended*: a limit stopped it, and a person has to check it. It still matches, and its incidents are *held*: they
  wait for a person. No later rule decides them, since it was not meant for a storm.

Time is an argument, and nothing here counts or stores; ``errorkernel.store.rules.evaluation`` does both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from errorkernel.domain.limits import REASON_MAX_CHARS
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.query.fields import INCIDENT_FIELDS
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.predicate import Predicate, compile_predicate
from errorkernel.domain.query.tree import EVERYTHING, And, Compare, Pattern, Text, Tree
from errorkernel.domain.refusals import OperationRefused
from errorkernel.domain.sender_names import SUFFIX
from errorkernel.domain.values import Action

POISON_AFTER = 3
"""Consecutive failures of one process on one message, for the same reason, that make the message poison."""

STORM_WINDOW_S = 60
STORM_LIMIT = 50
LOOP_LIMIT = 5
SUGGESTED_LIFETIME_S = 24 * 3600
SUGGESTED_USES = 10
"""Defaults of *Create rule from this…*: a rule that expires."""

GUARD_DAYS = 7
"""A rule that is enabled is tried on the incidents of so many days."""

RULES_MAX = 200
NAME_MAX_CHARS = 100
COUNT_MAX = 1_000_000
CONTROLLED_NODES_MAX = 100
"""Steward/ctrl nodes that a rule may name."""
NODE_NAME_MAX_CHARS = 80
_NO_TIME = datetime.min.replace(tzinfo=UTC)


class RuleAction(StrEnum):
    """``escalate`` marks the incident; ``ask`` leaves it to a person; both keep it open."""

    CONTINUE = "continue"
    KILL = "kill"
    STOP = "stop"
    ESCALATE = "escalate"
    ASK = "ask"

    @property
    def decision(self) -> Action | None:
        return None if self in (RuleAction.ESCALATE, RuleAction.ASK) else Action(self.value)

    @property
    def ends(self) -> bool:
        """It ends a process, which needs approval from a number of processes on."""
        return self in (RuleAction.KILL, RuleAction.STOP)


class RuleError(OperationRefused):
    """An invalid rule. ``field``: the invalid part; the message is a sentence for its author."""

    def __init__(self, field: str, message: str, position: int | None = None, *, code: str = "invalid_field") -> None:
        super().__init__(message, code, field, position)


@dataclass(frozen=True, slots=True)
class RuleDefinition:
    """A rule as a person writes it. ``controlled_nodes``: Steward/ctrl nodes on which it may act."""

    name: str
    condition: str
    action: RuleAction
    reason: str
    enabled: bool = False
    expires_at: datetime | None = None
    max_uses: int | None = None
    storm_limit: int = STORM_LIMIT
    loop_limit: int = LOOP_LIMIT
    controlled_nodes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises RuleError for the first invalid field."""
        parse_condition(self.condition)
        if not self.name.strip():
            raise RuleError("name", _("A rule needs a name. It is shown with every decision of the rule."))
        if not self.reason.strip():
            raise RuleError("reason", _("A rule needs a reason. It is shown with every decision of the rule."))
        for field, text, most in (("name", self.name, NAME_MAX_CHARS), ("reason", self.reason, REASON_MAX_CHARS)):
            if len(text) > most:
                message = _("The text has {count} characters; the maximum is {most}.", count=len(text), most=most)
                raise RuleError(field, message)
            if "\0" in text:
                raise RuleError(field, _("The text must not contain a NUL character."))
        limits = {"max_uses": self.max_uses, "storm_limit": self.storm_limit, "loop_limit": self.loop_limit}
        for field, number in limits.items():
            if number is not None and not 1 <= number <= COUNT_MAX:
                raise RuleError(field, _("{field} must be between 1 and {most}.", field=field, most=COUNT_MAX))
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise RuleError("expires_at", _("The expiry time needs a time zone."))
        _check_nodes(self.controlled_nodes)


def _check_nodes(names: tuple[str, ...]) -> None:
    """Complete names only: a new node must not match by accident. Raises RuleError."""
    if len(names) > CONTROLLED_NODES_MAX:
        raise RuleError("controlled_nodes", _("A rule can name at most {most} nodes.", most=CONTROLLED_NODES_MAX))
    for name in names:
        if name == SUFFIX or not name.endswith(SUFFIX) or "\0" in name or len(name) > NODE_NAME_MAX_CHARS:
            message = _("Write the names of Steward/ctrl nodes as shown here: NAME{suffix}.", suffix=SUFFIX)
            raise RuleError("controlled_nodes", message)
        if "*" in name:
            raise RuleError("controlled_nodes", _("Write each node's name in full; * is not a wildcard here."))


def parse_condition(text: str) -> Tree:
    """The tree of a rule's condition. Raises RuleError, with the position of the mistake."""
    try:
        tree = parse(text, INCIDENT_FIELDS)
    except QueryError as exc:
        raise RuleError("condition", exc.message, exc.position) from None
    if tree == EVERYTHING:
        raise RuleError("condition", _("A rule needs a condition. process:* matches every process."), 0)
    return tree


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """An incident as rules see it, or (``type`` error) an error of a node that opens no incidents.

    ``whole``: the problem that its problem is merged into, or the problem itself.
    """

    id: UUID
    seq: int
    node: str
    process: str
    kind: str
    text: str
    level: str
    message: dict[str, Any] | None
    problem: int
    whole: int
    fingerprint: str
    repeat: int
    consecutive: int
    received_at: datetime
    type: str = "action"
    release: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """No condition asks for tags: an incident keeps none."""
        return {}

    @property
    def incident(self) -> UUID:
        return self.id


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is evaluated. It ignores incidents up to number ``after_seq``, which are older than the rule, and
    errors of ``controlled_nodes`` up to ``acts_after_seq``, which are older than its present revision."""

    id: int
    revision: int
    condition: Tree
    action: RuleAction
    enabled: bool = True
    after_seq: int = 0
    expires_at: datetime | None = None
    uses: int = 0
    max_uses: int | None = None
    suspended: bool = False
    controlled_nodes: frozenset[str] = frozenset()
    acts_after_seq: int = 0

    def is_over(self, now: datetime) -> bool:
        """It is expired or used up."""
        return (self.expires_at is not None and now >= self.expires_at) or (
            self.max_uses is not None and self.uses >= self.max_uses
        )

    def matches(self, incident: IncidentFacts) -> bool:
        return _compiled(self.condition)(incident)


@lru_cache(maxsize=2 * RULES_MAX)
def _compiled(condition: Tree) -> Predicate:
    return compile_predicate(condition, _NO_TIME)


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """The first matching rule. ``held``: the rule is suspended, so the incident waits for a person."""

    rule: Rule
    held: bool


def decide(rules: Iterable[Rule], incident: IncidentFacts, now: datetime) -> RuleMatch | None:
    """The first of ``rules`` that matches; None: none does."""
    for rule in rules:
        if rule.enabled and not rule.is_over(now) and incident.seq > rule.after_seq and rule.matches(incident):
            return RuleMatch(rule, held=rule.suspended)
    return None


def storm(decided_lately: int, limit: int) -> str | None:
    """Why a rule with so many decisions within STORM_WINDOW_S must not decide again; None: it may."""
    if decided_lately < limit:
        return None
    return f"A storm: {decided_lately} decisions of this rule within {STORM_WINDOW_S} s."


def too_many(ended_lately: int, two_above: int) -> str | None:
    """Why no rule may kill or stop another process; None: it may. ``ended_lately``: by all rules within STORM_WINDOW_S,
    so that another rule or a new revision does not raise the limit; ``two_above``: more need approval (0: never)."""
    if not two_above or ended_lately < two_above:
        return None
    return (
        f"Too many for a rule: rules have killed or stopped {ended_lately} processes within {STORM_WINDOW_S} s. "
        "More need approval by a second person."
    )


def loop(decisions_in_a_row: int, limit: int) -> str | None:
    """Why a rule with so many consecutive decisions on one message of a process must stop; None: it may go on."""
    if decisions_in_a_row < limit:
        return None
    return (
        f"A loop: it decided {decisions_in_a_row} times in a row for one process, which failed on that message again."
    )


def matches_most(matched: int, incidents: int) -> bool:
    """Whether so many of ``incidents`` are so many that a person must confirm the rule. A single one never is."""
    return matched > 1 and 2 * matched > incidents


def is_confirmed(confirm: int | None, matched: int) -> bool:
    """Whether a person has seen that the rule matches so many. Incidents open meanwhile, so a tenth more or fewer is
    confirmed too."""
    return confirm is not None and abs(confirm - matched) <= matched // 10


def is_poison(consecutive: int) -> bool:
    return consecutive >= POISON_AFTER


def remembered(node: str, process: str, problem: int) -> str:
    """The condition that *Create rule from this…* proposes: this process on this node, this problem."""
    return str(
        And((Text("node", Pattern((node,))), Text("process", Pattern((process,))), Compare("problem", "=", problem)))
    )
